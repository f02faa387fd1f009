//! The applications of `tests/spin-apps`, each built, served and asked as its table says, and
//! its manifests that are refused.
#![expect(
    clippy::unwrap_used,
    reason = "a table that cannot be read is a failed test"
)]

use crate::harness::{Body, Edge, WAIT_MAX, client};
use crate::models::Models;
use crate::postgres::Postgres;
use crate::redis::Redis;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::sync::mpsc;

/// What a table may expect of an answer.
const EXPECTED: [&str; 10] = [
    "status", "header", "absent", "trailer", "is", "has", "lacks", "bytes", "only", "cut",
];
/// The fewest applications that are a corpus.
const APPLICATIONS_MIN: usize = 30;
/// Folders that hold no application.
const NO_APPLICATIONS: [&str; 5] = [
    "components",
    "components-js",
    "components-p2",
    "components-py",
    "refused",
];

/// One block of a table: a request and what must hold for its answer.
struct Case {
    line: usize,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    /// Parts of the body, each sent when the one before has come back.
    parts: Vec<String>,
    expected: Vec<(String, String)>,
}

/// What came back.
struct Came {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
    /// Did the body end with an error?
    cut: bool,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/spin-apps")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn applications() -> Vec<PathBuf> {
    let mut found = entries(&folder());
    found.retain(|path| path.is_dir() && !NO_APPLICATIONS.contains(&name(path)));
    found
}

fn pair(text: &str, by: &str) -> (String, String) {
    let (name, value) = text.split_once(by).unwrap_or((text, ""));
    (name.trim().to_owned(), value.trim().to_owned())
}

fn cases(table: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut open = false;
    for (number, line) in table.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        if line.is_empty() {
            open = false;
        } else if open {
            let case = cases.last_mut().unwrap();
            let (what, value) = pair(line, " ");
            match what.as_str() {
                "send" => case.headers.push(pair(&value, ":")),
                "body" => case.body = value.into_bytes(),
                "body-bytes" => case.body = vec![b'x'; value.parse().unwrap()],
                "send-trailer" => case.trailers.push(pair(&value, ":")),
                "echoes" => case.parts = value.split('|').map(str::to_owned).collect(),
                _ => {
                    assert!(EXPECTED.contains(&what.as_str()), "line {number}: {what:?}");
                    case.expected.push((what, value));
                }
            }
        } else {
            let (method, path) = pair(line, " ");
            open = true;
            cases.push(Case {
                line: number + 1,
                method: method.parse().unwrap(),
                path,
                headers: Vec::new(),
                body: Vec::new(),
                trailers: Vec::new(),
                parts: Vec::new(),
                expected: Vec::new(),
            });
        }
    }
    cases
}

type Frames = mpsc::UnboundedSender<Frame<Bytes>>;

/// A body that is sent frame by frame.
fn body_by_hand() -> (Frames, Body) {
    let (sender, mut frames) = mpsc::unbounded_channel();
    let frames = futures::stream::poll_fn(move |context| {
        frames
            .poll_recv(context)
            .map(|frame: Option<Frame<Bytes>>| frame.map(Ok::<_, Infallible>))
    });
    (sender, StreamBody::new(frames).boxed())
}

fn fields(pairs: &[(String, String)]) -> HeaderMap {
    let field = |(name, value): &(String, String)| {
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(field).collect()
}

/// The request, and what the rest of its body is sent by.
fn request(edge: &Edge, case: &Case) -> (Option<Frames>, Request<Body>) {
    let mut request = Request::builder()
        .method(case.method.clone())
        .uri(format!("{}{}", edge.http, case.path));
    for (name, value) in &case.headers {
        request = request.header(name, value);
    }
    let whole = Bytes::from(case.body.clone());
    if case.trailers.is_empty() && case.parts.is_empty() {
        return (None, request.body(Full::new(whole).boxed()).unwrap());
    }
    let (frames, body) = body_by_hand();
    for (name, _) in &case.trailers {
        request = request.header("trailer", name);
    }
    if case.parts.is_empty() {
        frames.send(Frame::data(whole)).unwrap();
        let trailers = Frame::trailers(fields(&case.trailers));
        frames.send(trailers).unwrap();
        return (None, request.body(body).unwrap());
    }
    (Some(frames), request.body(body).unwrap())
}

async fn collect(response: Response<Incoming>, frames: Option<Frames>, parts: &[String]) -> Came {
    let (head, mut body) = response.into_parts();
    let mut came = Came {
        status: head.status.as_u16(),
        headers: head.headers,
        body: Vec::new(),
        trailers: HeaderMap::new(),
        cut: false,
    };
    // The first part was sent with the request.
    let mut due = parts.first().map_or(0, String::len);
    let mut rest = parts.iter().skip(1);
    let mut frames = frames;
    loop {
        if came.body.len() == due && frames.is_some() {
            match (rest.next(), &frames) {
                (Some(part), Some(sender)) => {
                    due += part.len();
                    let _ = sender.send(Frame::data(Bytes::from(part.clone())));
                }
                _ => frames = None,
            }
        }
        match body.frame().await {
            None => return came,
            Some(Err(_)) => {
                came.cut = true;
                return came;
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => came.body.extend_from_slice(&data),
                Err(frame) => came.trailers = frame.into_trailers().unwrap(),
            },
        }
    }
}

async fn ask(edge: &Edge, case: &Case) -> Result<Came, String> {
    let (frames, request) = request(edge, case);
    if let (Some(frames), Some(first)) = (&frames, case.parts.first()) {
        frames
            .send(Frame::data(Bytes::from(first.clone())))
            .unwrap();
    }
    let answered = async {
        let response = client().request(request).await;
        let response = response.map_err(|error| format!("{error:?}"))?;
        Ok(collect(response, frames, &case.parts).await)
    };
    tokio::time::timeout(WAIT_MAX, answered)
        .await
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// What does not hold of `came`.
fn wrong(case: &Case, came: &Came) -> Vec<String> {
    // A table has one line for a text of several.
    let text = String::from_utf8_lossy(&came.body).replace('\n', "\\n");
    let field = |headers: &HeaderMap, expected: &str| {
        let (name, value) = pair(expected, ":");
        headers
            .get(&name)
            .is_some_and(|v| v.as_bytes() == value.as_bytes())
    };
    let holds = |what: &str, value: &str| match what {
        "status" => came.status.to_string() == value,
        "header" => field(&came.headers, value),
        "absent" => !came.headers.contains_key(value),
        "trailer" => field(&came.trailers, value),
        "is" => text == value,
        "has" => text.contains(value),
        "lacks" => !text.contains(value),
        "bytes" => came.body.len().to_string() == value,
        "only" => came.body.iter().all(|byte| value.as_bytes() == [*byte]),
        "cut" => came.cut,
        _ => false,
    };
    let told: String = text.chars().take(600).collect();
    let mut broken: Vec<&(String, String)> = Vec::new();
    broken.extend(
        case.expected
            .iter()
            .filter(|(what, value)| !holds(what, value)),
    );
    let cut = ("whole".to_owned(), String::new());
    if came.cut && !case.expected.iter().any(|(what, _)| what == "cut") {
        broken.push(&cut);
    }
    let tell = |(what, value): &(String, String)| {
        format!(
            "line {}: {} {}: expected {what} {value}, came {} {:?} {told}",
            case.line, case.method, case.path, came.status, came.headers
        )
    };
    broken.into_iter().map(tell).collect()
}

/// The servers that applications call.
struct Servers {
    redis: Redis,
    postgres: Postgres,
    models: Models,
    upstream: Edge,
    _state: tempfile::TempDir,
}

impl Servers {
    fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let upstream = folder().join("upstream");
        Self {
            redis: Redis::start(),
            postgres: Postgres::start(),
            models: Models::start(),
            upstream: Edge::launch_with_state(&upstream, state.path(), &["--quiet"]).unwrap(),
            _state: state,
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("REDIS", &self.redis.url)
            .replace("MODELS_URL", &self.models.url)
            .replace("POSTGRES_URL", &self.postgres.url)
            .replace("POSTGRES_SERVER", &self.postgres.server)
            .replace("POSTGRES_CERTIFICATE", &self.postgres.certificate)
            .replace("UPSTREAM", &self.upstream.address())
    }

    /// Serves one application and asks it; what went wrong.
    async fn try_out(&self, application: &Path) -> Vec<String> {
        let state = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(application.join(name)).ok();
        let mut options = read("arguments").unwrap_or_default();
        if let Some(config) = read("runtime-config.toml") {
            let path = state.path().join("runtime-config.toml");
            std::fs::write(&path, self.fill(&config)).unwrap();
            let values = read("values.env").unwrap_or_default();
            std::fs::write(state.path().join("values.env"), values).unwrap();
            options.push_str(&format!("--runtime-config-file\n{}\n", path.display()));
        }
        let options = self.fill(&options);
        let options: Vec<&str> = options.lines().collect();
        let edge = match Edge::launch_with_state(application, state.path(), &options) {
            Ok(edge) => edge,
            Err(error) => return vec![error],
        };
        let table = read("expected.txt").unwrap_or_default();
        let table = self.fill(&table).replace("EDGE", &edge.address());
        let mut all_wrong = Vec::new();
        for case in cases(&table) {
            match ask(&edge, &case).await {
                Ok(came) => all_wrong.extend(wrong(&case, &came)),
                Err(error) => all_wrong.push(format!("line {}: {error}", case.line)),
            }
        }
        all_wrong
    }
}

#[tokio::test]
async fn every_application_answers_as_its_table_says() {
    let mut all_wrong = Vec::new();
    let servers = Servers::start();
    for application in applications() {
        for what in servers.try_out(&application).await {
            all_wrong.push(format!("{}: {what}", name(&application)));
        }
    }
    assert!(all_wrong.is_empty(), "{}", all_wrong.join("\n"));
}

#[test]
fn the_corpus_is_whole() {
    let listed = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let applications = applications();
    assert!(applications.len() >= APPLICATIONS_MIN);
    for application in &applications {
        let name = name(application);
        assert!(application.join("spin.toml").is_file(), "{name}");
        let table = std::fs::read_to_string(application.join("expected.txt")).unwrap();
        assert!(cases(&table).iter().all(|case| !case.expected.is_empty()));
        assert!(!cases(&table).is_empty(), "{name} asks nothing");
        assert!(table.starts_with("# Spin"), "{name} does not say why");
        assert!(
            listed.contains(&format!("| `{name}` |")),
            "{name} is not in the README's table"
        );
    }
    let count = format!("{} applications", applications.len());
    assert!(listed.contains(&count), "the README does not count {count}");
}

/// A manifest that Spin refuses is refused, with the key and the line.
#[test]
fn every_manifest_that_is_wrong_is_refused_with_its_key_and_line() {
    let manifests = entries(&folder().join("refused"));
    assert!(!manifests.is_empty());
    let mut all_wrong = Vec::new();
    for manifest in manifests {
        let output = Command::new(env!("CARGO_BIN_EXE_edge"))
            .args(["validate", "--from"])
            .arg(&manifest)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let text = std::fs::read_to_string(&manifest).unwrap();
        let words: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("# says "))
            .collect();
        assert!(!words.is_empty(), "{}", manifest.display());
        if output.status.code() != Some(64) || words.iter().any(|words| !said.contains(words)) {
            all_wrong.push(format!("{}: {}: {said}", name(&manifest), output.status));
        }
    }
    assert!(all_wrong.is_empty(), "{}", all_wrong.join("\n"));
}
