//! A PostgreSQL server for one test: on a port of its own, in a folder of its own, gone with
//! it. It takes a password, and TLS with a certificate of its own.

use crate::ports::free_port;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to answer.
const START_MAX: Duration = Duration::from_secs(60);
const PASSWORD: &str = "sec/ret";

/// A running server.
pub(crate) struct Postgres {
    child: Child,
    /// `HOST:PORT`.
    pub(crate) server: String,
    pub(crate) url: String,
    /// What its certificate is checked by, PEM in one line.
    pub(crate) certificate: String,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Starts one, from the PostgreSQL that is installed.
    pub(crate) fn start() -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let certificate = write_certificate(folder.path());
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        let user = owner();
        for file in ["", "password", "key.pem", "certificate.pem"] {
            give(&folder.path().join(file), user);
        }
        let made = as_user(&mut Command::new(programs.join("initdb")), user)
            .args(["--auth", "scram-sha-256", "--username", "spin", "--no-sync"])
            .args(["--encoding", "UTF8", "--no-locale", "--pgdata"])
            .arg(&data)
            .arg("--pwfile")
            .arg(folder.path().join("password"))
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {made:?}");
        let port = free_port();
        let setting =
            |name: &str, file: &str| format!("{name}={}", folder.path().join(file).display());
        let child = as_user(&mut Command::new(programs.join("postgres")), user)
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", &setting("unix_socket_directories", "")])
            .args(["-c", "fsync=off", "-c", "ssl=on"])
            .args(["-c", &setting("ssl_cert_file", "certificate.pem")])
            .args(["-c", &setting("ssl_key_file", "key.pem")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = format!("127.0.0.1:{port}");
        let postgres = Self {
            child,
            url: format!("postgres://spin:sec%2Fret@{server}/postgres?sslmode=disable"),
            server,
            certificate,
            _folder: folder,
        };
        let end = Instant::now() + START_MAX;
        let ready = || {
            Command::new(programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status()
                .is_ok_and(|status| status.success())
        };
        while !ready() {
            assert!(Instant::now() < end, "postgres does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        postgres
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: it ends its children, at once.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.child.wait();
    }
}

/// The folder of the newest PostgreSQL's programs; Debian keeps them off the path.
fn programs() -> PathBuf {
    let found = glob::glob("/usr/lib/postgresql/*/bin").unwrap();
    let mut found: Vec<PathBuf> = found.map(Result::unwrap).collect();
    found.sort();
    found
        .pop()
        .expect("PostgreSQL is not installed; `tests/run setup` does it")
}

/// Whom the server runs as, where this is root: it refuses that.
fn owner() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let told = Command::new("id").args(arguments).output().unwrap();
        assert!(told.status.success(), "id {arguments:?}: {told:?}");
        String::from_utf8(told.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

fn give(path: &Path, user: Option<(u32, u32)>) {
    if let Some((user, group)) = user {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
    if let Some((user, group)) = user {
        command.uid(user).gid(group).current_dir("/");
    }
    command
}

fn write_certificate(folder: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = folder.join("key.pem");
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    made.cert.pem().replace('\r', "").replace('\n', "\\n")
}
