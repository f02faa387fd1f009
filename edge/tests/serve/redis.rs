//! A Redis server for one test: on a port of its own, in a folder of its own, gone with it.

use super::ports::free_port;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Redis {
    child: Child,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Redis {
    /// Starts one, from the `redis-server` that is installed.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string()])
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        assert!(
            child.is_ok(),
            "redis-server does not start; `tests/run setup` installs it: {child:?}"
        );
        let redis = Self {
            child: child.unwrap(),
            url: format!("redis://127.0.0.1:{port}"),
            _folder: folder,
        };
        let end = Instant::now() + START_MAX;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
