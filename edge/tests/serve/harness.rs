//! Starts `edge` with fixture components, and speaks to it.
#![expect(clippy::unwrap_used, reason = "a harness that fails is a failed test")]

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long a start may take, components compiled or not.
const START_MAX: Duration = Duration::from_secs(240);
/// Of proc(5)'s clock: `USER_HZ` is 100 on every architecture that Rust's tier 1 has.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long anything else may take.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

/// The folder of the built fixture components.
fn fixtures() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../fixtures");
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--release",
                "--examples",
                "--target",
                "wasm32-wasip2",
                "--locked",
            ])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(source)
            .env_remove("RUSTFLAGS")
            .status()
            .unwrap();
        assert!(status.success(), "the fixtures do not build");
        let built = target
            .join("wasm32-wasip2/release/examples")
            .canonicalize()
            .unwrap();
        // Compiles each once into the cache that all tests share.
        let folder = tempfile::tempdir().unwrap();
        let warm = format!(
            "{HEAD}[[trigger.http]]\nroute = \"/root\"\ncomponent = \"root\"\n{}",
            probe("probe", "/...", "")
        );
        let warm = format!("{warm}{}", star(&built, ""));
        start(
            &warm.replace("FIXTURES", &built.display().to_string()),
            &folder,
            &[],
        )
        .unwrap();
        built
    })
}

pub(crate) const HEAD: &str = "spin_manifest_version = 2\n[application]\nname = \"test\"\n[variables]\ngreeting = { default = \"hello\" }\n";

/// A manifest's part for one `probe` under `route`, with further keys of the component.
pub(crate) fn probe(id: &str, route: &str, keys: &str) -> String {
    let route = if route.is_empty() {
        "{ private = true }".to_owned()
    } else {
        format!("{route:?}")
    };
    format!(
        "[[trigger.http]]\nroute = {route}\ncomponent = \"{id}\"\n\
         [component.{id}]\nsource = \"FIXTURES/probe.wasm\"\n{keys}\n"
    )
}

fn star(_: &Path, inherit: &str) -> String {
    format!(
        "[component.root]\nsource = \"FIXTURES/root.wasm\"\nkey_value_stores = [\"default\"]\n\
         sqlite_databases = [\"default\"]\nenvironment = {{ MODE = \"test\" }}\n\
         allowed_outbound_hosts = [\"http://127.0.0.1:*\"]\n\
         variables = {{ greeting = \"{{{{ greeting }}}}\" }}\n\
         [component.root.dependencies]\n\
         \"test:star/deeds@0.1.0\" = {{ component = \"leaf\"{inherit} }}\n\
         [component.leaf]\nsource = \"FIXTURES/leaf.wasm\"\n"
    )
}

/// A manifest of a star of two whose leaf inherits by `inherit`.
pub(crate) fn star_manifest(inherit: &str) -> String {
    format!(
        "{HEAD}[[trigger.http]]\nroute = \"/...\"\ncomponent = \"root\"\n{}",
        star(Path::new(""), inherit)
    )
}

/// A manifest of one `probe` on every path, with further keys.
pub(crate) fn one(keys: &str) -> String {
    format!("{HEAD}{}", probe("probe", "/...", keys))
}

/// A running `edge`.
pub(crate) struct Edge {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    pub(crate) http: String,
    pub(crate) https: String,
    pub(crate) operator: String,
    pub(crate) folder: PathBuf,
    _kept: Option<tempfile::TempDir>,
}

/// Writes a manifest into `folder`, its fixtures found.
pub(crate) fn write(manifest: &str, folder: &Path) {
    let manifest = manifest.replace("FIXTURES", &fixtures().display().to_string());
    std::fs::write(folder.join("spin.toml"), manifest).unwrap();
    share_cache(&folder.join(".skerry"));
}

/// Lets a state folder use the machine code that other tests have compiled.
fn share_cache(state: &Path) {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine-code");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::create_dir_all(state).unwrap();
    let _ = symlink(&cache, state.join("cache"));
}

/// Tests share the machine's cores with others: that is nothing to shed requests for. The
/// test of shedding asks for the default again.
const QUEUE_DELAY: &str = "queue-delay-ms=5000";

/// The program with arguments that serve on ports of its own.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge"));
    command.args(["up", "--http", "127.0.0.1:0"]);
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command
        .args(["--operator", "127.0.0.1:0"])
        .args(["--limit", QUEUE_DELAY])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

fn start(manifest: &str, folder: &tempfile::TempDir, arguments: &[&str]) -> Result<Edge, String> {
    std::fs::write(folder.path().join("spin.toml"), manifest).map_err(|e| e.to_string())?;
    Edge::launch(folder.path(), arguments)
}

impl Edge {
    /// Starts `edge` on this manifest in a folder of its own.
    pub(crate) fn start(manifest: &str) -> Self {
        Self::start_with(manifest, &[])
    }

    pub(crate) fn start_with(manifest: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(manifest, folder.path());
        let mut edge = Self::launch(folder.path(), arguments).unwrap();
        edge._kept = Some(folder);
        edge
    }

    /// Starts `edge` on this manifest, with further variables in its environment.
    pub(crate) fn start_in(
        environment: &[(&str, &str)],
        manifest: &str,
        arguments: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(manifest, folder.path());
        let mut edge = Self::spawn_in(environment, folder.path(), arguments).unwrap();
        edge._kept = Some(folder);
        edge
    }

    /// Starts `edge` on the manifest in `folder`.
    pub(crate) fn launch(folder: &Path, arguments: &[&str]) -> Result<Self, String> {
        share_cache(&folder.join(".skerry"));
        Self::spawn(folder, arguments)
    }

    /// Starts `edge` on the manifest in `folder`, which stays as it is: what is kept is
    /// kept in `state`.
    pub(crate) fn launch_with_state(
        folder: &Path,
        state: &Path,
        arguments: &[&str],
    ) -> Result<Self, String> {
        share_cache(state);
        let state = state.display().to_string();
        Self::spawn(folder, &[&["--state", &state], arguments].concat())
    }

    fn spawn(folder: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::spawn_in(&[], folder, arguments)
    }

    fn spawn_in(
        environment: &[(&str, &str)],
        folder: &Path,
        arguments: &[&str],
    ) -> Result<Self, String> {
        let mut command = command(folder, arguments);
        command.envs(environment.iter().copied());
        Self::run(command, folder)
    }

    /// Starts a command that serves the manifest in `folder`.
    pub(crate) fn run(mut command: Command, folder: &Path) -> Result<Self, String> {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let end = Instant::now() + START_MAX;
        while !said
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains("Ctrl-C stops it"))
        {
            if let Some(status) = child.try_wait().unwrap() {
                return Err(format!("edge ended with {status}"));
            }
            if Instant::now() > end {
                let _ = child.kill();
                return Err("edge does not start".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let url = |words: &str| {
            let lines = said.lock().unwrap();
            let line = lines.iter().find(|line| line.contains(words)).unwrap();
            let url = line
                .split_whitespace()
                .find(|word| word.starts_with("http"))
                .unwrap();
            url.trim_end_matches(',')
                .trim_end_matches("/healthz")
                .trim_end_matches('/')
                .to_owned()
        };
        let (http, https, operator) = (url("Plain HTTP"), url("Open"), url("Operator"));
        let http = http.replace("localhost", "127.0.0.1");
        let folder = folder.to_owned();
        Ok(Self {
            child,
            said,
            http,
            https,
            operator,
            folder,
            _kept: None,
        })
    }

    /// What was said on standard output.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// The address of the plain listener.
    pub(crate) fn address(&self) -> String {
        self.http.trim_start_matches("http://").to_owned()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Seconds of CPU that the process has used (proc(5): `utime` and `stime`).
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split(' ').collect();
        let ticks = |field: usize| fields[field - 2].parse::<f64>().unwrap();
        (ticks(14) + ticks(15)) / TICKS_PER_SECOND
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_alive(&self) -> bool {
        Path::new(&format!("/proc/{}/exe", self.pid())).exists()
    }

    /// Memory of the process that is in use (proc(5): `VmRSS`).
    pub(crate) fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + WAIT_MAX;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "edge does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// GETs a path: status and text.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.http)).await
    }

    /// One figure of the operator's page, all of its series added up.
    pub(crate) async fn figure(&self, name: &str) -> f64 {
        let (_, text) = get(&format!("{}/metrics", self.operator)).await;
        let values = text.lines().filter(|line| line.starts_with(name));
        values
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) type Body = BoxBody<Bytes, std::convert::Infallible>;

/// A client with connections of its own.
pub(crate) fn client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) async fn get(url: &str) -> (u16, String) {
    let request = http::Request::get(url)
        .body(Full::default().boxed())
        .unwrap();
    send(request).await
}

pub(crate) async fn send(request: http::Request<Body>) -> (u16, String) {
    let response = tokio::time::timeout(WAIT_MAX, client().request(request))
        .await
        .unwrap()
        .unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits until `done` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let end = Instant::now() + WAIT_MAX;
    while !done().await {
        assert!(Instant::now() < end, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
