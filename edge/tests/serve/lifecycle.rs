//! From the start to the end: configuration, hooks, durability, drain.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::harness::{Edge, HEAD, client, command, get, one, probe, until, write};
use http_body_util::{BodyExt as _, Full};
use std::process::{Command, Stdio};

#[tokio::test]
async fn an_acknowledged_row_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    write(
        &one("sqlite_databases = [\"default\"]\nkey_value_stores = [\"default\"]"),
        folder.path(),
    );
    let mut edge = Edge::launch(folder.path(), &[]).unwrap();
    for row in 1..=10 {
        assert_eq!(edge.get("/sql?add,text").await, (200, row.to_string()));
    }
    assert_eq!(edge.get("/key-value?default,k,kept").await.1, "kept");
    edge.signal("-9");
    edge.wait();
    let edge = Edge::launch(folder.path(), &[]).unwrap();
    assert_eq!(edge.get("/sql?count").await.1, "10");
    assert_eq!(edge.get("/key-value?default,k").await.1, "kept");
}

#[tokio::test]
async fn the_first_key_is_said_once_and_ticks_come() {
    let keys = "key_value_stores = [\"default\"]\n[component.probe.tool.edge]\n\
                first_run = \"/first-run\"\nticks = [{ path = \"/tick\", every_s = 1 }]";
    let edge = Edge::start(&one(keys));
    assert_eq!(edge.said().matches("sk-of-the-first-run").count(), 1);
    until("two ticks", || async {
        edge.get("/key-value?default,ticks").await.1.len() >= 2
    })
    .await;
}

#[tokio::test]
async fn the_operator_sees_health_and_figures() {
    let edge = Edge::start(&one(""));
    edge.get("/served").await;
    assert_eq!(
        get(&format!("{}/healthz", edge.operator)).await,
        (200, "ok\n".to_owned())
    );
    assert_eq!(get(&format!("{}/readyz", edge.operator)).await.0, 200);
    let (_, text) = get(&format!("{}/metrics", edge.operator)).await;
    assert!(
        text.contains("edge_requests_total{component=\"probe\",status=\"200\"} 1"),
        "{text}"
    );
    assert_eq!(
        get(&format!("{}/served", edge.operator)).await.0,
        404,
        "no component there"
    );
}

#[tokio::test]
async fn a_stream_ends_before_the_process_does() {
    let mut edge = Edge::start(&one(""));
    let url = format!("{}/stream?20,100", edge.http);
    let request = http::Request::get(url)
        .body(Full::default().boxed())
        .unwrap();
    let mut response = client().request(request).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    edge.signal("-TERM");
    until("it stops accepting", || async {
        tokio::net::TcpStream::connect(edge.address())
            .await
            .is_err()
    })
    .await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.ends_with(b"line 19\n"), "the stream was cut");
    assert!(edge.wait().success());
}

#[tokio::test]
async fn the_drain_has_a_deadline_and_a_second_signal_ends_it() {
    let mut edge = Edge::start_with(&one(""), &["--drain-seconds", "1"]);
    let url = format!("{}/stream?10000,50", edge.http);
    let request = http::Request::get(&url)
        .body(Full::default().boxed())
        .unwrap();
    // Held for longer than `wait` waits.
    let _held = client().request(request).await.unwrap();
    edge.signal("-INT");
    assert!(edge.wait().success());

    let mut edge = Edge::start_with(&one(""), &["--drain-seconds", "600"]);
    let url = format!("{}/stream?10000,50", edge.http);
    let request = http::Request::get(&url)
        .body(Full::default().boxed())
        .unwrap();
    let _held = client().request(request).await.unwrap();
    edge.signal("-INT");
    until("it drains", || async { edge.said().contains("Stopping") }).await;
    edge.signal("-INT");
    assert!(edge.wait().success());
}

/// Runs `edge up` to its end: the exit code and what it said on standard error.
fn refused(manifest: &str, arguments: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    write(manifest, folder.path());
    let output = command(folder.path(), arguments)
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), said)
}

#[test]
fn a_wrong_configuration_is_named_and_ends_with_64() {
    for (manifest, arguments, words) in [
        (one("sauce = \"x\""), vec![], "unknown field `sauce`"),
        (
            one("key_value_stores = [\"elsewhere\"]"),
            vec![],
            "\"elsewhere\"",
        ),
        (
            one("sqlite_databases = [\"elsewhere\"]"),
            vec![],
            "\"elsewhere\"",
        ),
        (
            one("variables = { a = \"{{ greting }}\" }"),
            vec![],
            "\"greting\"",
        ),
        (one(""), vec!["--variable", "greting=x"], "\"greting\""),
        (
            one(""),
            vec!["--runtime-config-file", "absent.toml"],
            "absent.toml",
        ),
        (
            one(""),
            vec!["--tls-cert", "a.pem", "--tls-key", "b.pem"],
            "a.pem",
        ),
        (
            one("").replace("probe.wasm", "absent.wasm"),
            vec![],
            "absent.wasm",
        ),
    ] {
        let (code, said) = refused(&manifest, &arguments);
        assert_eq!(code, 64, "{said}");
        assert!(said.contains(words), "{words} is not in {said}");
    }
}

#[tokio::test]
async fn a_component_that_complains_of_its_configuration_is_not_served() {
    let keys = "variables = { greeting = \"{{ greeting }}\" }\n[component.probe.tool.edge]\n\
                check = \"/check\"";
    let edge = Edge::start_with(&one(keys), &["--variable", "greeting=hi"]);
    assert_eq!(edge.get("/variable?greeting").await.1, "Ok(\"hi\")");

    let folder = tempfile::tempdir().unwrap();
    write(&one(keys), folder.path());
    let start = |address: &str, greeting: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_edge"))
            .args(["up", "--no-https", "--no-operator", "--http"])
            .args([address, "--variable", greeting])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = start("127.0.0.1:0", "greeting=bye");
    assert_eq!(code, Some(64), "{said}");
    let words = "component \"probe\": variable `greeting`: \"bye\" is no greeting";
    assert!(said.contains(words), "{said}");
    // A port that is taken is told before any component is asked.
    let (code, said) = start(&edge.address(), "greeting=hi");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot listen"), "{said}");
    assert!(
        !said.contains("instance lost"),
        "what was asked did not fail: {said}"
    );
}

#[test]
fn an_import_that_is_not_served_is_named_at_load() {
    // The root alone: its import of the leaf stays open.
    let manifest =
        format!("{HEAD}{}", probe("probe", "/...", "")).replace("probe.wasm", "root.wasm");
    let (code, said) = refused(&manifest, &[]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("test:star/deeds"), "{said}");
}

#[tokio::test]
async fn what_is_not_served_of_the_platform_is_refused_when_it_is_called() {
    let manifest =
        format!("{HEAD}{}", probe("probe", "/...", "")).replace("probe.wasm", "courier.wasm");
    let edge = Edge::start(&manifest);
    assert_eq!(edge.get("/").await, (200, "false false".to_owned()));
}

#[tokio::test]
async fn a_state_folder_serves_one_process() {
    let edge = Edge::start(&one(""));
    let output = command(&edge.folder, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another edge"));
}

#[test]
fn validate_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let validate = || {
        Command::new(env!("CARGO_BIN_EXE_edge"))
            .args(["validate", "--from"])
            .arg(folder.path())
            .output()
            .unwrap()
    };
    write(&one("key_value_stores = [\"nowhere\"]"), folder.path());
    let output = validate();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("\"nowhere\""));
    write(&one(""), folder.path());
    let output = validate();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("test is valid"));
}

#[tokio::test]
async fn a_reader_of_the_log_that_stops_reading_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    write(&one(""), folder.path());
    let mut command = command(folder.path(), &[]);
    // A pipe whose other end nobody reads, for as long as `edge` lives.
    command.env("EDGE_LOG", "trace").stderr(Stdio::piped());
    let mut edge = Edge::run(command, folder.path()).unwrap();
    until("lines are dropped", || async {
        for _ in 0..50 {
            assert_eq!(edge.get("/headers").await.0, 200);
        }
        edge.figure("edge_log_lines_dropped_total").await > 0.5
    })
    .await;
    assert_eq!(edge.get("/headers").await.0, 200);
    edge.signal("-TERM");
    assert!(edge.wait().success());
}
