//! `edge watch`: build and serve, and do it again when files change.
//!
//! It runs `edge up` as a child and tells it to reload after a change; where a reload will not
//! do, the child ends and is started anew. A build goes on beside the old application, which
//! stays if the build fails. It does NOT know how to serve.

mod files;

use crate::backend_child::{end_with_parent, send, terminate};
use crate::build_step;
use crate::cli::{EXIT_RESTART, Failure, WatchOptions};
use crate::log::say;
use crate::manifest::Manifest;
use files::{Change, Watched};
use notify::{RecommendedWatcher, Watcher as _};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Changes that wait to be looked at; while they do, more of them say nothing new.
const CHANGES_MAX: usize = 1_024;
/// How long open streams may take to end before a new start.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long the child may take to end once it was told twice.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How often a child is looked at that should end.
const LOOK: Duration = Duration::from_millis(20);
/// How often a child is looked at that serves.
const LOOK_SERVING: Duration = Duration::from_millis(200);

/// `edge watch`.
pub(crate) fn watch(options: &WatchOptions) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(error.to_string()))?;
    let manifest = manifest_file(&options.source.from)?;
    let loop_ = Loop {
        options,
        manifest,
        child: None,
    };
    runtime.block_on(loop_.run())
}

/// The manifest's file, as the system names it: that is how changes are told.
fn manifest_file(from: &Path) -> Result<PathBuf, Failure> {
    let file = match from.is_dir() {
        true => from.join("spin.toml"),
        false => from.to_owned(),
    };
    file.canonicalize()
        .map_err(|error| Failure::Config(format!("{}: {error}", file.display())))
}

struct Loop<'a> {
    options: &'a WatchOptions,
    manifest: PathBuf,
    child: Option<Child>,
}

/// What was seen, and the watcher that sees it.
struct Eyes {
    changes: mpsc::Receiver<Change>,
    /// Sees until it is dropped.
    _watcher: RecommendedWatcher,
}

impl Loop<'_> {
    async fn run(mut self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::Run(error.to_string());
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut end = signal(SignalKind::terminate()).map_err(failed)?;
        // A manifest that is wrong at the very start is not waited for.
        let mut watched = self.watched()?;
        self.warn_of_silence();
        let mut eyes = self.open_eyes(&watched)?;
        let mut change = Some(Change::Source);
        loop {
            if let Some(asked) = change.take() {
                self.turn(asked);
                // What is to be seen may have changed, or may only be there now.
                watched = self.watched().unwrap_or(watched);
                let seen = std::mem::replace(&mut eyes, self.open_eyes(&watched)?);
                self.sweep(seen, &mut change);
                continue;
            }
            tokio::select! {
                seen = eyes.changes.recv() => change = match seen {
                    Some(first) => Some(self.settle(first, &mut eyes).await),
                    None => return Err(Failure::Run("files can no longer be watched".to_owned())),
                },
                () = tokio::time::sleep(LOOK_SERVING) => change = self.asked_for_restart(),
                _ = interrupt.recv() => break,
                _ = end.recv() => break,
            }
        }
        self.stop();
        Ok(())
    }

    fn watched(&self) -> Result<Watched, Failure> {
        let manifest = self.read()?;
        Watched::of(&manifest, &self.manifest, self.options.skip_build).map_err(Failure::Config)
    }

    fn read(&self) -> Result<Manifest, Failure> {
        Manifest::load(&self.manifest, self.options.source.profile.as_deref())
            .map_err(|error| Failure::Config(error.to_string()))
    }

    fn warn_of_silence(&self) {
        let Ok(manifest) = self.read() else { return };
        for (id, component) in &manifest.components {
            let silent = component.build.as_ref().is_some_and(|b| b.watch.is_empty());
            if silent && !self.options.skip_build {
                say(&format!(
                    "Component {id:?} does not say what to watch; component.{id}.build.watch \
                     lists its source files."
                ));
            }
        }
    }

    fn open_eyes(&self, watched: &Watched) -> Result<Eyes, Failure> {
        let failed =
            |error: notify::Error| Failure::Run(format!("files cannot be watched: {error}"));
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        let seen = watched.clone();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let Ok(event) = event else { return };
                if let Some(change) = seen.change(&event) {
                    // Where there is no room, changes wait already.
                    let _ = sender.try_send(change);
                }
            })
            .map_err(failed)?;
        for (folder, mode) in watched.folders() {
            watcher.watch(&folder, mode).map_err(failed)?;
        }
        Ok(Eyes {
            changes,
            _watcher: watcher,
        })
    }

    /// What was seen while the application was built: an artifact that the build made is no
    /// change, a source that was written meanwhile is.
    fn sweep(&self, mut seen: Eyes, change: &mut Option<Change>) {
        while let Ok(late) = seen.changes.try_recv() {
            if late == Change::Source {
                *change = Some(late);
            }
        }
    }

    /// Waits until nothing changed for the time of `--debounce`.
    async fn settle(&self, first: Change, eyes: &mut Eyes) -> Change {
        let quiet = Duration::from_millis(self.options.debounce);
        let mut change = first;
        while let Ok(Some(next)) = tokio::time::timeout(quiet, eyes.changes.recv()).await {
            change = change.max(next);
        }
        change
    }

    /// Builds if sources changed, and starts anew.
    fn turn(&mut self, change: Change) {
        if self.options.clear {
            clear_screen();
        }
        if change == Change::Source && !self.options.skip_build {
            let built = self
                .read()
                .and_then(|manifest| build_step::build_components(&manifest));
            if let Err(error) = built {
                say(&format!("error: {error}"));
                say("Watching for changes; what was served before still is.");
                return;
            }
        }
        if self.reload() {
            return;
        }
        match self.start() {
            Ok(child) => self.child = Some(child),
            Err(error) => say(&format!("error: edge up does not start: {error}")),
        }
    }

    /// Tells the child, if there is one, to reload.
    fn reload(&mut self) -> bool {
        let Some(child) = &mut self.child else {
            return false;
        };
        match (child.try_wait(), i32::try_from(child.id())) {
            (Ok(None), Ok(pid)) => send(pid, libc::SIGHUP),
            _ => self.child = None,
        }
        self.child.is_some()
    }

    /// Has the child ended to be started anew? One that ended otherwise waits for a change.
    fn asked_for_restart(&mut self) -> Option<Change> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        // A child that is told before it listens for the signal is ended by it.
        let asked = |status: ExitStatus| {
            status.code() == Some(i32::from(EXIT_RESTART)) || status.signal() == Some(libc::SIGHUP)
        };
        asked(status).then_some(Change::Artifact)
    }

    fn start(&self) -> std::io::Result<Child> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["up", "--no-build", "--ends-to-restart", "--from"])
            .arg(&self.manifest);
        if let Some(profile) = &self.options.source.profile {
            command.arg("--profile").arg(profile);
        }
        if self.options.quiet {
            command.arg("--quiet");
        }
        // Ctrl-C at the terminal is ours to pass on.
        command
            .args(&self.options.up_arguments)
            .stdin(Stdio::null())
            .process_group(0);
        end_with_parent(&mut command);
        command.spawn()
    }

    /// Ends the child: it may let streams end for a moment.
    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        for patience in [DRAIN_MAX, STOP_MAX] {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            if let Ok(pid) = i32::try_from(child.id()) {
                terminate(pid);
            }
            let end = Instant::now() + patience;
            while Instant::now() < end {
                match child.try_wait() {
                    Ok(None) => std::thread::sleep(LOOK),
                    _ => return,
                }
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn clear_screen() {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        // ECMA-48: the cursor goes home, and all is erased.
        let _ = out.write_all(b"\x1b[H\x1b[2J\x1b[3J");
        let _ = out.flush();
    }
}
