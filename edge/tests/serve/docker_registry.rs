//! A registry for one test: Debian's `docker-registry`, on a port of its own, in a folder of
//! its own, gone with it. What it keeps can be changed behind its back.

use crate::ports::free_port;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the registry may take to listen.
const START_MAX: Duration = Duration::from_secs(20);
/// The user `user` with the password `pw`, as `htpasswd -B` writes it.
const LOGIN: &str = "user:$2y$05$abcdefghijklmnopqrstuuHIrMEWpUCQe2YqFR3sXwQ75u4od..9q\n";

/// A running registry.
pub(crate) struct Registry {
    child: Child,
    /// `HOST:PORT`.
    pub(crate) address: String,
    folder: tempfile::TempDir,
}

impl Registry {
    /// Starts one that anybody may use.
    pub(crate) fn start() -> Self {
        Self::run("")
    }

    /// Starts one that asks for a login.
    pub(crate) fn with_login() -> Self {
        Self::run("auth: { htpasswd: { realm: test, path: FOLDER/htpasswd } }\n")
    }

    fn run(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\n\
             storage: {{ filesystem: {{ rootdirectory: FOLDER/data }} }}\n\
             http: {{ addr: \"127.0.0.1:{port}\" }}\n{more}"
        );
        let config = config.replace("FOLDER", &folder.path().display().to_string());
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        std::fs::write(folder.path().join("htpasswd"), LOGIN).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        assert!(
            child.is_ok(),
            "docker-registry does not start; `tests/run setup` installs it: {child:?}"
        );
        let registry = Self {
            child: child.unwrap(),
            address: format!("127.0.0.1:{port}"),
            folder,
        };
        let end = Instant::now() + START_MAX;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// The file of a blob, or of a manifest.
    pub(crate) fn file(&self, digest: &str) -> PathBuf {
        let digits = digest.trim_start_matches("sha256:");
        let blobs = "data/docker/registry/v2/blobs/sha256";
        let folder = self.folder.path().join(blobs).join(&digits[..2]);
        folder.join(digits).join("data")
    }

    /// Leads a tag of the repository `app` to another manifest.
    pub(crate) fn lead(&self, tag: &str, digest: &str) {
        let tags = "data/docker/registry/v2/repositories/app/_manifests/tags";
        let link = self.folder.path().join(tags).join(tag).join("current/link");
        std::fs::write(link, digest).unwrap();
    }

    /// The manifest of a tag or a digest in the repository `app`.
    pub(crate) async fn manifest(&self, version: &str) -> Value {
        let url = format!("http://{}/v2/app/manifests/{version}", self.address);
        let request = Request::get(url).header(header::ACCEPT, MANIFEST_TYPE);
        let (_, bytes) = self.send(request, Vec::new()).await;
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Pushes an application of this locked text and these further layers, as nobody's tool
    /// would: to the repository `app`.
    pub(crate) async fn push(&self, tag: &str, locked: &Value, layers: &[(&str, Vec<u8>)]) {
        let application = "application/vnd.fermyon.spin.application.v1+config";
        let mut described = Vec::new();
        let locked = (application, locked.to_string().into_bytes());
        for (media_type, bytes) in layers
            .iter()
            .chain([&locked, &("text/plain", b"{}".into())])
        {
            let digest = digest_of(bytes);
            let url = format!("http://{}/v2/app/blobs/uploads/", self.address);
            let (headers, _) = self.send(Request::post(url), Vec::new()).await;
            let location = headers[header::LOCATION].to_str().unwrap();
            let url = format!("{location}&digest={digest}");
            self.send(Request::put(url), bytes.clone()).await;
            described
                .push(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }));
        }
        let config = described.pop().unwrap();
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": config, "layers": described });
        self.push_manifest(tag, manifest.to_string()).await;
    }

    /// Puts a manifest under a tag of the repository `app`.
    pub(crate) async fn push_manifest(&self, tag: &str, manifest: String) {
        let url = format!("http://{}/v2/app/manifests/{tag}", self.address);
        let request = Request::put(url).header(header::CONTENT_TYPE, MANIFEST_TYPE);
        self.send(request, manifest.into_bytes()).await;
    }

    async fn send(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> (http::HeaderMap, Bytes) {
        let request = request.body(Full::new(Bytes::from(body)).boxed()).unwrap();
        let method: Method = request.method().clone();
        let response = crate::harness::client().request(request).await.unwrap();
        assert!(response.status().is_success(), "{method} {response:?}");
        let headers = response.headers().clone();
        (
            headers,
            response.into_body().collect().await.unwrap().to_bytes(),
        )
    }
}

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes);
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// Flips one bit in the middle of a file.
pub(crate) fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
