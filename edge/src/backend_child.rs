//! The supervised backend: started with the application, restarted when it dies, stopped
//! with it.
//!
//! It lives on a thread of its own: the kernel ends a child whose parent *thread* is gone,
//! so that thread must not belong to a runtime. It does NOT know what the backend does.

use crate::metrics::Metrics;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the backend may be silent before it listens: it tells how far it is while it
/// fetches its model, and then loads it.
const START_SILENCE_MAX: Duration = Duration::from_secs(300);
/// The first wait before a restart; each further one is twice as long.
const RESTART_WAIT_MIN: Duration = Duration::from_millis(200);
/// The longest wait before a restart.
const RESTART_WAIT_MAX: Duration = Duration::from_secs(30);
/// A backend that lived this long has recovered: the next wait is short again.
const STEADY: Duration = Duration::from_secs(60);
/// How often the child is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long the child may take to drain before it is killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// What the backend says when it listens, before the URL.
const LISTENING: &str = "listening on ";
/// Where the backend looks for the key that it asks for: not in its arguments, which every
/// user of the machine can read.
const KEY_VARIABLE: &str = "SKERRY_ENGINE_API_KEY";

/// How the backend is started.
#[derive(Debug, Clone)]
pub(crate) struct BackendCommand {
    pub(crate) program: PathBuf,
    pub(crate) model: PathBuf,
    /// What it asks of whoever calls it.
    pub(crate) api_key: Option<String>,
    pub(crate) silence_max: Duration,
}

impl BackendCommand {
    pub(crate) fn new(program: PathBuf, model: &Path) -> Self {
        Self {
            program,
            model: model.to_owned(),
            api_key: None,
            silence_max: START_SILENCE_MAX,
        }
    }
}

/// The backend, as long as it is kept.
pub(crate) struct Backend {
    /// Where the backend listens, for all its restarts.
    pub(crate) url: String,
    stop: Arc<AtomicBool>,
    up: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Backend {
    /// Starts the backend and waits until it listens.
    pub(crate) fn start(command: BackendCommand, metrics: Arc<Metrics>) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let up = Arc::new(AtomicBool::new(false));
        let (started, listening) = mpsc::channel();
        let supervisor = Supervisor {
            command,
            stop: Arc::clone(&stop),
            up: Arc::clone(&up),
            metrics,
            address: "127.0.0.1:0".to_owned(),
        };
        let thread = std::thread::Builder::new()
            .name("backend".to_owned())
            .spawn(move || supervisor.run(&started))
            .map_err(|error| error.to_string())?;
        let url = listening
            .recv()
            .unwrap_or_else(|_| Err("the supervisor ended".to_owned()))?;
        Ok(Self {
            url,
            stop,
            up,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Does the backend run at the moment?
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// Stops the backend and waits for its end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Relaxed);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Supervisor {
    command: BackendCommand,
    stop: Arc<AtomicBool>,
    up: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    /// `127.0.0.1:0` at first, then the port that the first start got.
    address: String,
}

impl Supervisor {
    fn run(mut self, started: &Sender<Result<String, String>>) {
        let first = self.start();
        let mut child = match first {
            Ok((child, url)) => {
                self.address = url.strip_prefix("http://").unwrap_or(&url).to_owned();
                let _ = started.send(Ok(url));
                Some(child)
            }
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let mut wait = RESTART_WAIT_MIN;
        loop {
            if let Some(running) = child.take() {
                let since = Instant::now();
                self.mark(true);
                let ended = self.watch(running);
                self.mark(false);
                if !ended || self.stop.load(Relaxed) {
                    return;
                }
                if since.elapsed() >= STEADY {
                    wait = RESTART_WAIT_MIN;
                }
            }
            tracing::warn!(
                wait_ms = wait.as_millis() as u64,
                "backend ended; restarting"
            );
            if !self.pause(wait) {
                return;
            }
            wait = (wait * 2).min(RESTART_WAIT_MAX);
            self.metrics.backend_restarts.fetch_add(1, Relaxed);
            match self.start() {
                Ok((running, url)) => {
                    tracing::info!(url, "backend restarted");
                    child = Some(running);
                }
                Err(error) => tracing::error!(error, "backend does not start"),
            }
        }
    }

    fn mark(&self, up: bool) {
        self.up.store(up, Relaxed);
        self.metrics.backend_up.store(i64::from(up), Relaxed);
    }

    /// Sleeps; says whether to go on.
    fn pause(&self, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        while Instant::now() < end {
            if self.stop.load(Relaxed) {
                return false;
            }
            std::thread::sleep(LOOK.min(wait));
        }
        true
    }

    /// Starts the child and waits for its line.
    fn start(&self) -> Result<(Child, String), String> {
        let program = self.command.program.display().to_string();
        let mut command = Command::new(&self.command.program);
        command
            .arg("serve")
            .arg("--model")
            .arg(&self.command.model)
            .args(["--listen", &self.address])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C in the terminal is for this process, which drains first.
            .process_group(0);
        if let Some(key) = &self.command.api_key {
            command.env(KEY_VARIABLE, key);
        }
        end_with_parent(&mut command);
        let mut child = command
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let Some(output) = child.stdout.take() else {
            return Err(format!("{program}: no output"));
        };
        let (line_sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Reads to the end, so that a chatty child never blocks on a full pipe.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = line_sender.send(line);
            }
        });
        let silence_max = self.command.silence_max;
        let mut end = Instant::now() + silence_max;
        loop {
            match lines.recv_timeout(LOOK) {
                Ok(line) => {
                    if let Some(url) = line.strip_prefix(LISTENING) {
                        return Ok((child, url.trim().to_owned()));
                    }
                    end = Instant::now() + silence_max;
                }
                Err(RecvTimeoutError::Timeout)
                    if Instant::now() < end && !self.stop.load(Relaxed) => {}
                Err(_) => {
                    let status = stop_child(&mut child);
                    return Err(format!("{program} did not begin to listen ({status})"));
                }
            }
        }
    }

    /// Waits for the child's end; stops it when told to. Says whether it ended by itself.
    fn watch(&self, mut child: Child) -> bool {
        loop {
            if self.stop.load(Relaxed) {
                stop_child(&mut child);
                return false;
            }
            match child.try_wait() {
                Ok(None) => std::thread::sleep(LOOK),
                Ok(Some(status)) => {
                    tracing::warn!(%status, "backend ended");
                    return true;
                }
                Err(error) => {
                    tracing::error!(%error, "backend cannot be watched");
                    return true;
                }
            }
        }
    }
}

/// Asks the child to end, and ends it when it does not.
fn stop_child(child: &mut Child) -> String {
    if let Ok(pid) = i32::try_from(child.id()) {
        terminate(pid);
    }
    let end = Instant::now() + STOP_TIME_MAX;
    while Instant::now() < end {
        match child.try_wait() {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => return error.to_string(),
        }
    }
    let _ = child.kill();
    child
        .wait()
        .map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Asks a child, by its id, to end.
pub(crate) fn terminate(pid: i32) {
    send(pid, libc::SIGTERM);
}

/// Sends a signal to a child that is not reaped yet.
#[expect(unsafe_code, reason = "a signal is sent by a system call")]
pub(crate) fn send(pid: i32, signal: i32) {
    // SAFETY: `kill` has no memory preconditions; the child is not reaped yet, so the id
    // is still its own.
    unsafe { libc::kill(pid, signal) };
}

/// Lets the kernel end the child when this process dies, however it dies.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the hook runs between fork and exec")]
pub(crate) fn end_with_parent(command: &mut Command) {
    // SAFETY: `prctl` is async-signal-safe, and the hook touches no memory of the parent.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn end_with_parent(_: &mut Command) {}

#[cfg(test)]
mod tests;
