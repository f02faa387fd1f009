//! What others than the owner of this process could read: files, the operator's pages by way of
//! a browser, and the log.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::front::raw_to;
use crate::harness::{Edge, command, one, send, write};
use http_body_util::{BodyExt as _, Full};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Everything below a folder, with its mode. Links lead to what other tests share.
fn below(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            continue;
        }
        found.push((entry.path(), mode(&entry.path())));
        if kind.is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found
}

/// The same command, started by somebody who keeps nothing from anybody.
fn open_handed(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask 000; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .stdin(Stdio::null());
    shell
}

#[tokio::test]
async fn what_is_kept_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let keys = "key_value_stores = [\"default\", \"cache\"]\nsqlite_databases = [\"default\"]";
    write(&one(keys), folder.path());
    let state = folder.path().join(".skerry");
    let open = state.join("open");
    let place = open.display();
    let config = format!(
        "[key_value_store.cache]\ntype = \"sled\"\npath = \"{place}/sled\"\n\
         [key_value_store.default]\ntype = \"spin\"\npath = \"{place}/kv.db\"\n"
    );
    std::fs::write(folder.path().join("runtime-config.toml"), config).unwrap();
    // As an older version has left it.
    std::fs::create_dir_all(open.join("sled")).unwrap();
    std::fs::write(open.join("kv.db"), "").unwrap();
    for path in [&state, &open, &open.join("sled")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let db = open.join("kv.db");
    std::fs::set_permissions(&db, std::fs::Permissions::from_mode(0o666)).unwrap();

    let arguments = ["--runtime-config-file", "runtime-config.toml"];
    let mut started = open_handed(&command(folder.path(), &arguments));
    let log = folder.path().join("log");
    started.stderr(std::fs::File::create(&log).unwrap());
    let edge = Edge::run(started, folder.path()).unwrap();
    for deed in [
        "/sql?add,secret",
        "/key-value?default,a,secret",
        "/key-value?cache,a,secret",
    ] {
        assert_eq!(edge.get(deed).await.0, 200, "{deed}");
    }
    assert_eq!(mode(&state), 0o700);
    let kept = below(&state);
    // The folder within is the operator's, and its own affair: nobody else comes as far.
    let readable: Vec<_> = kept
        .iter()
        .filter(|(path, mode)| mode & 0o077 != 0 && *path != open)
        .collect();
    assert!(readable.is_empty(), "{readable:?}");
    for end in ["kv.db", "kv.db-wal", "kv.db-shm", "sled/db"] {
        let found = kept.iter().any(|(path, _)| path.ends_with(end));
        assert!(found, "{end} is not among {kept:?}");
    }
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("others could read the state folder"), "{log}");
}

#[tokio::test]
async fn a_page_whose_name_leads_to_the_operators_port_is_not_answered() {
    let edge = Edge::start(&one(""));
    let operator = edge.operator.trim_start_matches("http://").to_owned();
    for (host, status) in [
        (operator.as_str(), "200"),
        ("localhost", "200"),
        ("evil.example", "421"),
        ("127.0.0.1.evil.example:9443", "421"),
    ] {
        for path in ["/metrics", "/healthz", "/readyz", "/"] {
            let ask = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let answer = raw_to(&operator, ask.as_bytes()).await;
            let status = if path == "/" && status == "200" {
                "404"
            } else {
                status
            };
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{host} {path}: {answer}"
            );
            assert!(status == "200" || !answer.contains("edge_"), "{answer}");
        }
    }
    let named = Edge::start_with(&one(""), &["--operator-host", "metrics.internal"]);
    let operator = named.operator.trim_start_matches("http://").to_owned();
    let ask = b"GET /healthz HTTP/1.1\r\nhost: metrics.internal\r\nconnection: close\r\n\r\n";
    assert!(raw_to(&operator, ask).await.starts_with("HTTP/1.1 200"));
}

/// Words that a client says where the log has no business.
const SECRETS: [&str; 5] = [
    "query-secret-1",
    "field-secret-2",
    "key-secret-3",
    "body-secret-4",
    "name-secret-5",
];

#[tokio::test]
async fn what_a_client_says_is_in_no_log_and_its_path_begins_no_line() {
    for format in ["text", "json"] {
        let folder = tempfile::tempdir().unwrap();
        write(&one(""), folder.path());
        let log = folder.path().join("log");
        let mut command = command(folder.path(), &["--log-format", format]);
        command
            .env("EDGE_LOG", "trace")
            .stderr(std::fs::File::create(&log).unwrap());
        let mut edge = Edge::run(command, folder.path()).unwrap();
        let [query, field, key, body, name] = SECRETS;
        let ask = |target: &str| {
            http::Request::post(format!("{target}?{query}"))
                .header("authorization", format!("Bearer {key}"))
                .header("x-field", format!("{field}\u{e9}\t."))
                .header(format!("x-{name}"), "value")
        };
        for path in ["/length", "/echo", "/trap", "/nowhere"] {
            let target = format!("{}{path}", edge.http);
            let full = || Full::from(body);
            send(ask(&target).body(full().boxed()).unwrap()).await;
            let mut second = crate::slow_clients::connection(&edge).await;
            let answer = second.send_request(ask(&target).body(full()).unwrap());
            answer.await.unwrap().collect().await.unwrap();
        }
        // Refused, at each step: the target, the framing, the fields, the path, the body.
        for words in [
            format!("POST /a?{query} HTTP/1.1\r\nhost: {field}@x\r\n\r\n"),
            format!("POST /a?{query} HTTP/1.1\r\nhost: x\r\n{field}\r\n\r\n"),
            format!("{query} {query} {query}\r\n\r\n"),
            format!("POST /\u{9b}31m%0a%1b?{query} HTTP/1.1\r\nhost: x\r\nx: {field}\r\n\r\n"),
            format!("POST /a HTTP/1.1\r\nhost: x\r\nx: {field}\x01\r\n\r\n"),
            format!("POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n{body}"),
        ] {
            let words = words.replace("HTTP/1.1\r\n", "HTTP/1.1\r\nconnection: close\r\n");
            raw_to(&edge.address(), words.as_bytes()).await;
        }
        edge.signal("-TERM");
        assert!(edge.wait().success());
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("/nowhere"), "the log has the requests");
        for secret in SECRETS {
            let told = log.lines().find(|line| line.contains(secret));
            assert!(told.is_none(), "{format}: {secret}: {told:?}");
        }
        let year = if format == "json" {
            "{\"timestamp\":\"2"
        } else {
            "2"
        };
        let forged = log.lines().find(|line| !line.starts_with(year));
        assert!(forged.is_none(), "{format}: {forged:?}");
        let control = |c: char| c.is_control() && c != '\n' && (format == "text" || c < '\u{80}');
        assert!(!log.contains(control), "{format}");
    }
}
