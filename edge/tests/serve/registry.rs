//! Applications in a registry: pushed, pulled, served, and refused where somebody changed
//! them on the way.

use crate::docker_registry::{Registry, digest_of, flip};
use crate::harness::{Edge, one, write};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const FILES: &str = "files = [{ source = \"static\", destination = \"/pages\" }]";

/// A developer's folder, an operator's folder, and a registry between them.
struct World {
    registry: Registry,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Registry::start())
    }

    fn with(registry: Registry) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for below in ["developer/static", "operator/state", "docker"] {
            std::fs::create_dir_all(folder.path().join(below)).unwrap();
        }
        Self { registry, folder }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn reference(&self, version: &str) -> String {
        format!("{}/app{version}", self.registry.address)
    }

    /// Writes the application, whose page says `text`.
    fn write(&self, text: &str) {
        write(&one(FILES), &self.path("developer"));
        std::fs::write(self.path("developer/static/page.txt"), text).unwrap();
        std::fs::write(self.path("developer/static/long.txt"), text.repeat(100)).unwrap();
    }

    fn edge(&self, arguments: &[&str]) -> Command {
        let mut edge = Command::new(env!("CARGO_BIN_EXE_edge"));
        edge.args(arguments)
            .current_dir(self.path("operator"))
            .env("DOCKER_CONFIG", self.path("docker"))
            .env("XDG_CACHE_HOME", self.path("operator/cache"))
            .stdin(Stdio::null());
        edge
    }

    /// Pushes what is written; its digest.
    fn push(&self, version: &str, options: &[&str]) -> String {
        let developer = self.path("developer").display().to_string();
        let reference = self.reference(version);
        let begin = [
            "registry",
            "push",
            "-f",
            &developer,
            "--insecure",
            &reference,
        ];
        let done = self
            .edge(&[begin.as_slice(), options].concat())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8(done.stdout).unwrap();
        let digest = said.trim().rsplit(' ').next().unwrap();
        digest.to_owned()
    }

    fn pull(&self, version: &str, options: &[&str]) -> Output {
        let reference = self.reference(version);
        let begin = ["registry", "pull", "-k", &reference, "--state", "state"];
        self.edge(&[begin.as_slice(), options].concat())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn pulls(&self, version: &str, options: &[&str]) {
        let done = self.pull(version, options);
        assert!(done.status.success(), "{done:?}");
    }

    /// Pulls with nothing kept of before; it must fail and say all of `words`.
    #[track_caller]
    fn refuses(&self, version: &str, options: &[&str], words: &[&str]) {
        let _ = std::fs::remove_dir_all(self.path("operator/cache"));
        let done = self.pull(version, options);
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success(), "{version} was taken");
        for word in words {
            assert!(said.contains(word), "{word} is not in {said}");
        }
        let applications = self.path("operator/cache/skerry/registry/applications-1");
        let laid_out = std::fs::read_dir(applications).map_or(0, Iterator::count);
        assert_eq!(laid_out, 0, "something was laid out: {said}");
    }

    fn up(&self, version: &str, options: &[&str]) -> Result<Edge, String> {
        let reference = self.reference(version);
        let cache = self.path("operator/cache").display().to_string();
        let begin = ["--from", &reference, "--insecure", "--cache-dir", &cache];
        let state = self.path("operator/state");
        let options = [begin.as_slice(), options].concat();
        Edge::launch_with_state(&self.path("operator"), &state, &options)
    }

    /// A new pair of keys: the files of the private and the public one.
    fn keys(&self, name: &str) -> (String, String) {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let (private, public) = (format!("{name}.key"), format!("{name}.pub"));
        let private = self.path(&private);
        let public = self.path(&public);
        std::fs::write(&private, pair.serialize_pem()).unwrap();
        std::fs::write(&public, pair.public_key_pem()).unwrap();
        (private.display().to_string(), public.display().to_string())
    }
}

#[tokio::test]
async fn what_is_pushed_is_served_elsewhere() {
    let world = World::new();
    world.write("first");
    let digest = world.push(":v1", &[]);
    for version in [":v1".to_owned(), format!("@{digest}")] {
        let edge = world.up(&version, &[]).unwrap();
        assert!(edge.said().contains(&digest), "{}", edge.said());
        let page = edge.get("/file?/pages/page.txt").await;
        assert_eq!(page, (200, "first".to_owned()));
        let long = edge.get("/file?/pages/long.txt").await;
        assert_eq!(long, (200, "first".repeat(100)));
    }
    assert!(world.path("operator/state/tls").is_dir());
    world.write("second");
    world.push(":v1", &[]);
    let edge = world.up(":v1", &[]).unwrap();
    let page = edge.get("/file?/pages/page.txt").await;
    assert_eq!(page, (200, "second".to_owned()));
}

#[tokio::test]
async fn many_files_are_one_archive() {
    let world = World::new();
    world.write("archived");
    for number in 0..600 {
        let file = world.path("developer/static").join(format!("{number}.txt"));
        std::fs::write(file, format!("{number} ").repeat(100)).unwrap();
    }
    world.push(":v1", &[]);
    let manifest = world.registry.manifest("v1").await;
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(
        layers.len(),
        3,
        "the component, the archive, the application"
    );
    assert!(
        layers[1]["mediaType"]
            .as_str()
            .unwrap()
            .ends_with("tar+gzip")
    );
    let edge = world.up(":v1", &[]).unwrap();
    let page = edge.get("/file?/pages/599.txt").await;
    assert_eq!(page, (200, "599 ".repeat(100)));
    let page = edge.get("/file?/pages/page.txt").await;
    assert_eq!(page, (200, "archived".to_owned()));
}

#[tokio::test]
async fn a_signed_application_is_served_and_no_other() {
    let world = World::new();
    let (private, public) = world.keys("ours");
    let (_, other) = world.keys("theirs");
    world.write("unsigned");
    let unsigned = world.push(":unsigned", &[]);
    world.write("signed");
    let digest = world.push(":signed", &["--sign-key", &private]);
    let verify = ["--verify-key", &public];
    let edge = world.up(":signed", &verify).unwrap();
    let page = edge.get("/file?/pages/page.txt").await;
    assert_eq!(page, (200, "signed".to_owned()));
    drop(edge);
    assert!(world.up(":unsigned", &verify).is_err());
    let developer = world.path("developer").display().to_string();
    let local = ["up", "-f", &developer, "--verify-key", &public];
    let done = world.edge(&local).output().unwrap();
    assert_eq!(done.status.code(), Some(64), "a folder has no signature");
    world.refuses(":unsigned", &verify, &["is not signed"]);
    world.refuses(
        ":signed",
        &["--verify-key", &other],
        &[&digest, "--verify-key"],
    );
    // A signature of one artifact is none of another.
    world.registry.lead("signed", &unsigned);
    world.refuses(":signed", &verify, &["is not signed"]);
}

#[tokio::test]
async fn one_bit_that_the_registry_changed_is_enough() {
    let world = World::new();
    let (private, public) = world.keys("ours");
    world.write("signed");
    let digest = world.push(":v1", &["--sign-key", &private]);
    let verify = ["--verify-key", &public];
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let signature = world.registry.manifest(&tag).await;
    let manifest = world.registry.manifest(&digest).await;
    let mut changed = vec![
        signature["layers"][0]["digest"]
            .as_str()
            .unwrap()
            .to_owned(),
        digest.clone(),
    ];
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    changed.extend(
        layers
            .iter()
            .map(|l| l["digest"].as_str().unwrap().to_owned()),
    );
    for digest in changed {
        let file = world.registry.file(&digest);
        flip(&file);
        world.refuses(":v1", &verify, &[]);
        flip(&file);
    }
    // The signature itself stands in its manifest, which its tag leads to.
    let whole = signature.to_string();
    let text = signature["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"].clone();
    let mut bytes = BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let flipped = whole.replace(text.as_str().unwrap(), &BASE64_STANDARD.encode(bytes));
    assert_ne!(whole, flipped);
    world.registry.push_manifest(&tag, flipped).await;
    world.refuses(":v1", &verify, &["--verify-key"]);
    world.registry.push_manifest(&tag, whole).await;
    world.pulls(":v1", &verify);
}

#[tokio::test]
async fn an_older_application_does_not_come_back() {
    let world = World::new();
    let (private, public) = world.keys("ours");
    let sign = ["--sign-key", &private];
    let verify = ["--verify-key", &public];
    world.write("old");
    let old = world.push(":v1", &sign);
    world.write("new");
    let new = world.push(":v2", &sign);
    let edge = world.up(":v2", &verify).unwrap();
    drop(edge);
    world.pulls(":v2", &verify);
    // Whoever holds the registry leads the new tag to the old application.
    world.registry.lead("v2", &old);
    world.refuses(":v2", &verify, &[&old, &new, "older", "--allow-older"]);
    world.refuses(&format!("@{old}"), &verify, &[&old, "older"]);
    assert!(world.up(":v2", &verify).is_err());
    let allowed = [&verify[..], &["--allow-older"]].concat();
    let edge = world.up(":v2", &allowed).unwrap();
    let page = edge.get("/file?/pages/page.txt").await;
    assert_eq!(page, (200, "old".to_owned()));
    drop(edge);
    // It is what runs now, so it may start again.
    world.pulls(":v2", &verify);
    world.registry.lead("v2", &new);
    world.pulls(":v2", &verify);
}

#[tokio::test]
async fn a_login_is_dockers() {
    let world = World::with(Registry::with_login());
    world.write("secret");
    let login = |password: &str| {
        let auth = BASE64_STANDARD.encode(format!("user:{password}"));
        let auths = json!({ "auths": { world.registry.address.clone(): { "auth": auth } } });
        std::fs::write(world.path("docker/config.json"), auths.to_string()).unwrap();
    };
    login("pw");
    world.push(":v1", &[]);
    world.pulls(":v1", &[]);
    login("hunter2");
    world.refuses(":v1", &[], &["does not take the login", "config.json"]);
    let said = world.pull(":v1", &[]).stderr;
    assert!(!String::from_utf8(said).unwrap().contains("hunter2"));
    std::fs::remove_file(world.path("docker/config.json")).unwrap();
    world.refuses(":v1", &[], &["no login", "docker login"]);
}

impl World {
    /// `edge registry login` with a password on standard input.
    fn login(&self, password: &str, options: &[&str]) -> Output {
        let address = &self.registry.address;
        let begin = ["registry", "login", "-k", "--password-stdin", address];
        let mut edge = self.edge(&[begin.as_slice(), options].concat());
        let piped = edge.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut edge = piped.stderr(Stdio::piped()).spawn().unwrap();
        let mut input = edge.stdin.take().unwrap();
        // One that is refused at once reads nothing.
        let _ = input.write_all(format!("{password}\n").as_bytes());
        drop(input);
        edge.wait_with_output().unwrap()
    }
}

#[tokio::test]
async fn a_login_is_tried_and_then_kept() {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::with(Registry::with_login());
    world.write("secret");
    let file = world.path("docker/config.json");
    let kept = r#"{ "auths": { "other.example": { "auth": "eDp5" } } }"#;
    std::fs::write(&file, kept).unwrap();
    let refused = world.login("hunter2", &["--username", "user"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("does not take this login"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), kept);

    let taken = world.login("pw", &["--username", "user"]);
    assert!(taken.status.success(), "{taken:?}");
    let said = String::from_utf8(taken.stdout).unwrap();
    assert!(said.contains("config.json"), "{said}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("other.example"), "{text}");
    world.push(":v1", &[]);
    world.pulls(":v1", &[]);

    for (password, options) in [
        ("pw", &[][..]),
        ("", &["-u", "user"]),
        ("pw", &["-u", "a:b"]),
    ] {
        let wrong = world.login(password, options);
        assert_eq!(wrong.status.code(), Some(64), "{wrong:?}");
    }
    std::fs::write(&file, "not Docker's").unwrap();
    let wrong = world.login("pw", &["--username", "user"]);
    assert_eq!(wrong.status.code(), Some(64), "{wrong:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not Docker's");
}

#[tokio::test]
async fn what_cannot_be_had_is_said_at_once() {
    let world = World::new();
    world.write("first");
    world.push(":v1", &[]);
    world.refuses(":v2", &[], &["has no", "app:v2"]);
    let absent = format!("@{}", digest_of(b"nothing"));
    world.refuses(&absent, &[], &["has no"]);
    for wrong in ["ghcr.io/App", "ghcr.io/a@sha256:00", "app:v1"] {
        let done = world.edge(&["registry", "pull", wrong]).output().unwrap();
        assert_eq!(done.status.code(), Some(64), "{wrong}");
        assert!(String::from_utf8(done.stderr).unwrap().contains(wrong));
    }
    // A port that nobody has, and one at which nobody answers in HTTP.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let reference = format!("{address}/app:v1");
    for from in [
        ["registry", "pull", "-k", &reference].as_slice(),
        &["up", "-k", "-f", &reference],
    ] {
        let done = world.edge(from).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{done:?}");
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(
            said.contains(&reference) && said.contains("refused"),
            "{said}"
        );
    }
    // What speaks plain HTTP does not do so by itself.
    let done = world
        .edge(&["registry", "pull", &world.reference(":v1")])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    let up = world
        .edge(&["up", "-f", "absent/spin.toml"])
        .output()
        .unwrap();
    assert_eq!(up.status.code(), Some(64));
}

#[tokio::test]
async fn an_artifact_that_means_no_good_leaves_no_file() {
    let world = World::new();
    let component = |files: serde_json::Value| {
        json!({ "spin_lock_version": 0,
            "metadata": { "name": "evil", "trigger": { "type": "http" } },
            "triggers": [{ "id": "t", "trigger_type": "http",
                "trigger_config": { "route": "/...", "component": "one" } }],
            "components": [{ "id": "one", "files": files,
                "source": { "content_type": "application/wasm", "digest": digest_of(b"wasm") } }],
        })
    };
    let wasm = (
        "application/vnd.wasm.content.layer.v1+wasm",
        b"wasm".to_vec(),
    );
    let text = BASE64_STANDARD.encode("evil");
    for path in ["../../etc/passwd", "/tmp/evil", "a/../../../evil"] {
        let files = json!([{ "path": path, "inline": text }]);
        world
            .registry
            .push("evil", &component(files), std::slice::from_ref(&wasm))
            .await;
        world.refuses(":evil", &[], &["leaves the component's files", path]);
    }
    let files = json!([{ "path": "page", "digest": digest_of(b"nowhere") }]);
    world
        .registry
        .push("evil", &component(files), std::slice::from_ref(&wasm))
        .await;
    world.refuses(":evil", &[], &["no layer has"]);
    // An archive whose links and names lead out of it: none of them is followed.
    let made = world.path("made");
    std::fs::create_dir_all(&made).unwrap();
    std::os::unix::fs::symlink(world.path("outside"), made.join("link")).unwrap();
    std::fs::write(made.join("page"), "page").unwrap();
    let name = format!("s,^page,{}/escaped,", world.path("outside").display());
    let archive = Command::new("tar")
        .args(["-czPf", "-", "--transform", &name, "link", "page"])
        .current_dir(&made)
        .output()
        .unwrap();
    let archive = (
        "application/vnd.wasm.content.bundle.v1.tar+gzip",
        archive.stdout,
    );
    let files = json!([{ "path": "deep/page", "digest": digest_of(b"page") }]);
    world
        .registry
        .push("good", &component(files), &[wasm, archive])
        .await;
    world.pulls(":good", &[]);
    assert!(!world.path("outside").exists());
    let said = String::from_utf8(world.pull(":good", &[]).stdout).unwrap();
    let folder = Path::new(said.trim().rsplit(' ').next().unwrap());
    let page = std::fs::read_to_string(folder.join("files/one/deep/page")).unwrap();
    assert_eq!(page, "page");
}

/// `oci-client` reads a manifest whole, however long it is: the host gives up before it.
#[tokio::test]
async fn a_manifest_without_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || endless(stream));
        }
    });
    let world = World::new();
    let reference = format!("{address}/app:v1");
    let done = world
        .edge(&["registry", "pull", "-k", &reference])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("512 MiB of memory"), "{said}");
}

/// Answers `/v2/` with nothing, and everything else without end.
fn endless(mut stream: std::net::TcpStream) {
    let mut head = [0; 8_192];
    let part = vec![b' '; 1 << 20];
    while let Ok(1..) = stream.read(&mut head) {
        if head.starts_with(b"GET /v2/ ") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            continue;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n");
        while stream.write_all(&part).is_ok() {}
    }
}
