//! The applications of `tests/spin-apps`, each built, served and asked as its table says.
#![expect(
    clippy::unwrap_used,
    reason = "a table that cannot be read is a failed test"
)]

use crate::harness::{Body, Edge, WAIT_MAX, client};
use crate::models::Models;
use crate::postgres::Postgres;
use crate::redis::Redis;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use std::path::{Path, PathBuf};

/// What a table may expect of an answer.
const EXPECTED: [&str; 6] = ["status", "header", "trailer", "is", "has", "bytes"];

/// One block of a table: a request and what must hold for its answer.
struct Case {
    line: usize,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    expected: Vec<(String, String)>,
}

/// What came back.
struct Came {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

fn applications() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/spin-apps");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("spin.toml").is_file())
        .collect();
    found.sort();
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
        if line.is_empty() {
            open = false;
        } else if open {
            let case = cases.last_mut().unwrap();
            let (what, value) = pair(line, " ");
            match what.as_str() {
                "send" => case.headers.push(pair(&value, ":")),
                "body" => case.body = value.into_bytes(),
                "body-bytes" => case.body = vec![b'x'; value.parse().unwrap()],
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
                expected: Vec::new(),
            });
        }
    }
    cases
}

async fn ask(edge: &Edge, case: &Case) -> Came {
    let mut request = Request::builder()
        .method(case.method.clone())
        .uri(format!("{}{}", edge.http, case.path));
    for (name, value) in &case.headers {
        request = request.header(name, value);
    }
    let body: Body = Full::new(Bytes::from(case.body.clone())).boxed();
    let answered = async {
        let response = client().request(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let whole = body.collect().await.unwrap();
        Came {
            status: parts.status.as_u16(),
            headers: parts.headers,
            trailers: whole.trailers().cloned().unwrap_or_default(),
            body: whole.to_bytes(),
        }
    };
    tokio::time::timeout(WAIT_MAX, answered).await.unwrap()
}

/// What does not hold of `came`.
fn wrong(case: &Case, came: &Came) -> Vec<String> {
    let text = String::from_utf8_lossy(&came.body);
    let field = |headers: &HeaderMap, expected: &str| {
        let (name, value) = pair(expected, ":");
        headers
            .get(&name)
            .is_some_and(|v| v.as_bytes() == value.as_bytes())
    };
    let holds = |what: &str, value: &str| match what {
        "status" => came.status.to_string() == value,
        "header" => field(&came.headers, value),
        "trailer" => field(&came.trailers, value),
        // A table has one line for a text of several.
        "is" => text.replace('\n', "\\n") == value,
        "has" => text.contains(value),
        "bytes" => came.body.len().to_string() == value,
        _ => false,
    };
    let broken = |(what, value): &&(String, String)| !holds(what, value);
    let told: String = text.chars().take(300).collect();
    case.expected
        .iter()
        .filter(broken)
        .map(|(what, value)| {
            format!(
                "line {}: {} {}: expected {what} {value}, came {} {:?} {told}",
                case.line, case.method, case.path, came.status, came.headers
            )
        })
        .collect()
}

#[tokio::test]
async fn every_application_answers_as_its_table_says() {
    let mut all_wrong = Vec::new();
    let applications = applications();
    assert!(!applications.is_empty());
    let (redis, postgres, models) = (Redis::start(), Postgres::start(), Models::start());
    let fill = |text: &str| {
        text.replace("REDIS", &redis.url)
            .replace("MODELS_URL", &models.url)
            .replace("POSTGRES_URL", &postgres.url)
            .replace("POSTGRES_SERVER", &postgres.server)
            .replace("POSTGRES_CERTIFICATE", &postgres.certificate)
    };
    for application in applications {
        let state = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(application.join(name)).ok();
        let mut options = read("arguments").unwrap_or_default();
        if let Some(config) = read("runtime-config.toml") {
            let path = state.path().join("runtime-config.toml");
            std::fs::write(&path, fill(&config)).unwrap();
            let values = read("values.env").unwrap_or_default();
            std::fs::write(state.path().join("values.env"), values).unwrap();
            options.push_str(&format!("--runtime-config-file\n{}\n", path.display()));
        }
        let options = fill(&options);
        let options: Vec<&str> = options.lines().collect();
        let edge = Edge::launch_with_state(&application, state.path(), &options).unwrap();
        let table = std::fs::read_to_string(application.join("expected.txt")).unwrap();
        for case in cases(&table) {
            let came = ask(&edge, &case).await;
            for what in wrong(&case, &came) {
                all_wrong.push(format!("{}: {what}", application.display()));
            }
        }
    }
    assert!(all_wrong.is_empty(), "{}", all_wrong.join("\n"));
}
