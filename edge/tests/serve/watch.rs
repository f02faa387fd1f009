//! `edge watch` and `edge doctor`, from outside.

use crate::harness::{HEAD, WAIT_MAX, get, probe, until, write};
use crate::ports::free_port;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// A running `edge watch`.
struct Watch {
    child: Child,
    url: String,
}

impl Watch {
    fn start(folder: &Path) -> Self {
        let port = free_port();
        let said = std::fs::File::create(folder.join("said.txt")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_edge"))
            .args(["watch", "--debounce", "50", "--from"])
            .arg(folder)
            .args([
                "--",
                "--no-https",
                "--no-operator",
                "--http",
                &port.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(said)
            .spawn()
            .unwrap();
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Waits until the page says `words`.
    async fn until_page(&self, words: &str) {
        until(words, || async {
            let address = self.url.trim_start_matches("http://");
            let serves = std::net::TcpStream::connect(address).is_ok();
            serves && get(&format!("{}/page", self.url)).await.1 == words
        })
        .await;
    }

    /// Interrupts it, and sees that all of it ends.
    async fn ends(&mut self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        let end = Instant::now() + WAIT_MAX;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "edge watch does not end");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(self.child.wait().unwrap().success());
        let address = self.url.trim_start_matches("http://");
        assert!(
            std::net::TcpStream::connect(address).is_err(),
            "the application still runs"
        );
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

fn manifest(page: &str, command: &str) -> String {
    let keys = format!(
        "files = [\"built.txt\"]\nbuild = {{ command = {command:?}, watch = [\"source.txt\"] }}\n"
    );
    format!(
        "{HEAD}[[trigger.http]]\nroute = \"/page\"\nstatic_response = {{ body = {page:?} }}\n{}",
        probe("probe", "/...", &keys)
    )
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn a_change_builds_and_is_served_without_a_new_start() {
    let folder = tempfile::tempdir().unwrap();
    let (source, built) = (
        folder.path().join("source.txt"),
        folder.path().join("built.txt"),
    );
    let said = |words: &str| {
        let said = std::fs::read_to_string(folder.path().join("said.txt")).unwrap();
        said.matches(words).count()
    };
    let (starts, reloads) = (|| said("Ctrl-C stops it"), || said("Reloaded"));
    std::fs::write(&source, "one\n").unwrap();
    write(
        &manifest("one", "cat source.txt >> built.txt"),
        folder.path(),
    );
    let mut watch = Watch::start(folder.path());
    watch.until_page("one").await;
    assert_eq!((lines(&built), starts()), (1, 1));

    // A source: it is built, and served anew.
    std::fs::write(&source, "two\n").unwrap();
    until("a second build and a reload", || async { reloads() == 1 }).await;
    assert_eq!(lines(&built), 2);

    // An artifact: nothing is built.
    std::fs::write(&built, "by hand\n").unwrap();
    until("a second reload", || async { reloads() == 2 }).await;
    assert_eq!(lines(&built), 1);

    // The manifest.
    write(
        &manifest("two", "cat source.txt >> built.txt"),
        folder.path(),
    );
    watch.until_page("two").await;

    assert_eq!(starts(), 1);
    // What is done at a start alone asks for one.
    let first_run = "[component.probe.tool.edge]\nfirst_run = \"/first-run\"\n";
    let with_store = manifest("first run", "cat source.txt >> built.txt")
        .replace("files =", "key_value_stores = [\"default\"]\nfiles =");
    write(&format!("{with_store}{first_run}"), folder.path());
    watch.until_page("first run").await;
    until("a second start", || async { starts() == 2 }).await;

    // A build that fails: what was served before still is.
    write(&manifest("three", "exit 3"), folder.path());
    until("the failed build", || async {
        let said = std::fs::read_to_string(folder.path().join("said.txt")).unwrap();
        said.contains("still is")
    })
    .await;
    watch.until_page("first run").await;

    watch.ends().await;
}

fn doctor(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, .. } = Command::new(env!("CARGO_BIN_EXE_edge"))
        .args(["doctor", "--from"])
        .arg(folder)
        .args(arguments)
        .output()
        .unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned())
}

#[test]
fn the_doctor_says_what_is_wrong_and_treats_it() {
    let folder = tempfile::tempdir().unwrap();
    write(
        &format!("{HEAD}{}", probe("probe", "/...", "")),
        folder.path(),
    );
    let file = folder.path().join("spin.toml");
    let whole = std::fs::read_to_string(&file).unwrap();
    let (code, said) = doctor(folder.path(), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("No problems found"), "{said}");

    let source = whole
        .lines()
        .find(|line| line.starts_with("source"))
        .unwrap();
    let built = source.trim_start_matches("source = ").trim_matches('"');
    let ill = whole.replace("spin_manifest_version = 2\n", "").replace(
        source,
        &format!("source = \"one.wasm\"\nbuild = {{ command = \"cp {built} one.wasm\" }}"),
    );
    std::fs::write(&file, &ill).unwrap();
    let (code, said) = doctor(folder.path(), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("lacks the key \"spin_manifest_version\""),
        "{said}"
    );
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        ill,
        "nothing is treated unasked"
    );

    let (code, said) = doctor(folder.path(), &["--fix"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("one.wasm is missing"), "{said}");
    let treated = std::fs::read_to_string(&file).unwrap();
    assert_eq!(treated, format!("spin_manifest_version = 2\n{ill}"));
    assert!(folder.path().join("one.wasm").is_file());

    std::fs::write(&file, treated.replace("route =", "rout =")).unwrap();
    let (code, said) = doctor(folder.path(), &["--fix"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("is not valid") && said.contains("rout"),
        "{said}"
    );

    let (code, _) = doctor(&folder.path().join("nowhere"), &[]);
    assert_eq!(code, Some(64));
}
