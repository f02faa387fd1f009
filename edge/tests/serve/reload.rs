//! SIGHUP: a new version of the application, and the old one's streams.

use crate::harness::{Edge, WAIT_MAX, client, one, send, until, write};
use http_body_util::{BodyExt as _, Full};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;

/// The probe, saying this greeting.
fn greeting(words: &str) -> String {
    one(&format!(
        "variables = {{ greeting = \"{words}\" }}\nkey_value_stores = [\"default\", \"cache\"]\n\
         sqlite_databases = [\"default\"]\nfiles = [\"shown.txt\"]"
    ))
}

fn start(manifest: &str, arguments: &[&str]) -> (Edge, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shown.txt"), "shown").unwrap();
    write(manifest, folder.path());
    let edge = Edge::launch(folder.path(), arguments).unwrap();
    (edge, folder)
}

async fn reloads(edge: &Edge, outcome: &str) -> usize {
    let name = format!("edge_reloads_total{{outcome=\"{outcome}\"}}");
    edge.figure(&name).await as usize
}

/// Serves `manifest` from now on, and waits until this has come to an outcome.
async fn reload(edge: &Edge, manifest: &str, outcome: &str) {
    let before = reloads(edge, outcome).await;
    write(manifest, &edge.folder);
    edge.signal("-HUP");
    until(outcome, || async { reloads(edge, outcome).await > before }).await;
}

async fn says(edge: &Edge) -> String {
    edge.get("/variable?greeting").await.1
}

#[tokio::test]
async fn a_hundred_streams_are_whole_across_a_reload() {
    let (edge, _folder) = start(&greeting("one"), &[]);
    let begun = Arc::new(AtomicUsize::new(0));
    let mut streams = JoinSet::new();
    for _ in 0..100 {
        let (url, begun) = (format!("{}/stream?40,100", edge.http), Arc::clone(&begun));
        streams.spawn(async move {
            let request = http::Request::get(url).body(Full::default().boxed());
            let mut response = client().request(request.unwrap()).await.unwrap();
            let first = response.body_mut().frame().await.unwrap().unwrap();
            begun.fetch_add(1, Relaxed);
            let rest = response.into_body().collect().await.unwrap().to_bytes();
            [first.into_data().unwrap(), rest].concat()
        });
    }
    until("all have begun", || async { begun.load(Relaxed) == 100 }).await;
    assert_eq!(says(&edge).await, "Ok(\"one\")");
    reload(&edge, &greeting("two"), "ok").await;
    assert_eq!(says(&edge).await, "Ok(\"two\")");
    assert!(
        edge.figure("edge_requests_in_flight").await > 99.0,
        "the streams are still open"
    );
    let expected: String = (0..40).map(|line| format!("line {line}\n")).collect();
    while let Some(body) = streams.join_next().await {
        assert_eq!(String::from_utf8(body.unwrap()).unwrap(), expected);
    }
    until("the old version has ended", || async {
        edge.figure("edge_generations_alive").await < 1.5
    })
    .await;
    assert!((edge.figure("edge_generation ").await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn twenty_reloads_under_load_fail_no_request_and_keep_what_is_stored() {
    let (edge, _folder) = start(&greeting("0"), &[]);
    assert_eq!(edge.get("/key-value?cache,k,kept").await.1, "kept");
    assert_eq!(edge.get("/sql?add,text").await.1, "1");
    let over = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (url, over) = (edge.http.clone(), Arc::clone(&over));
        load.spawn(async move {
            let client = client();
            let mut answered = 0;
            while !over.load(Relaxed) {
                let url = format!("{url}/variable?greeting");
                let request = http::Request::get(url).body(Full::default().boxed());
                let response = client.request(request.unwrap()).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap();
                answered += 1;
            }
            answered
        });
    }
    for version in 1..=20 {
        reload(&edge, &greeting(&version.to_string()), "ok").await;
        assert_eq!(says(&edge).await, format!("Ok(\"{version}\")"));
    }
    over.store(true, Relaxed);
    let mut answered = 0;
    while let Some(each) = load.join_next().await {
        answered += each.unwrap();
    }
    assert!(answered > 100, "{answered}");
    // A cache on sled is empty if it is opened a second time without having been closed.
    assert_eq!(edge.get("/key-value?cache,k").await.1, "kept");
    assert_eq!(edge.get("/sql?count").await.1, "1");
}

#[tokio::test]
async fn what_is_wrong_leaves_the_old_version() {
    let (edge, folder) = start(&greeting("one"), &[]);
    let good = greeting("two");
    std::fs::write(folder.path().join("broken.wasm"), b"\0asm nothing").unwrap();
    let component = "\n[[trigger.http]]\nroute = \"/broken\"\ncomponent = \"broken\"\n\
                     [component.broken]\nsource = \"broken.wasm\"\n";
    let required = good.replace(
        "[variables]\n",
        "[variables]\ntoken = { required = true }\n",
    );
    for wrong in [
        good.replace("route =", "rout ="),
        format!("{good}{component}"),
        required,
        good.replace("shown.txt", "absent.txt"),
        good.replace("\"cache\"", "\"elsewhere\""),
    ] {
        assert_ne!(wrong, good);
        reload(&edge, &wrong, "error").await;
        assert_eq!(says(&edge).await, "Ok(\"one\")");
    }
    let keys = "[component.probe.tool.edge]\nfirst_run = \"/first-run\"\n";
    reload(&edge, &format!("{good}\n{keys}"), "restart").await;
    assert_eq!(says(&edge).await, "Ok(\"one\")");
    assert!((edge.figure("edge_generations_alive").await - 1.0).abs() < 0.1);
    assert!((edge.figure("edge_generation ").await - 1.0).abs() < 0.1);
    reload(&edge, &good, "ok").await;
    assert_eq!(says(&edge).await, "Ok(\"two\")");
}

#[tokio::test]
async fn an_old_version_is_cut_at_its_deadline() {
    let (edge, _folder) = start(&greeting("one"), &["--limit", "old-version-ms=500"]);
    let url = format!("{}/stream?10000,50", edge.http);
    let request = http::Request::get(url).body(Full::default().boxed());
    let mut response = client().request(request.unwrap()).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    reload(&edge, &greeting("two"), "ok").await;
    let rest = tokio::time::timeout(WAIT_MAX, response.into_body().collect()).await;
    assert!(rest.unwrap().is_err(), "it does not look whole");
    until("the old version has ended", || async {
        edge.figure("edge_generations_alive").await < 1.5
    })
    .await;
}

#[tokio::test]
async fn fifty_reloads_leave_no_memory_behind() {
    let (edge, folder) = start(&greeting("0"), &[]);
    let settle = || async {
        until("old versions have ended", || async {
            edge.figure("edge_generations_alive").await < 1.5
        })
        .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        edge.resident_bytes()
    };
    let mut after_ten = 0;
    for version in 1..=50 {
        reload(&edge, &greeting(&version.to_string()), "ok").await;
        assert_eq!(says(&edge).await, format!("Ok(\"{version}\")"));
        if version == 10 {
            after_ten = settle().await;
        }
    }
    let grown = settle().await.saturating_sub(after_ten);
    assert!(
        grown < 40 << 20,
        "{} MiB more after 40 reloads",
        grown >> 20
    );
    until("old copies are removed", || async {
        let copies = std::fs::read_dir(folder.path().join(".skerry/files")).unwrap();
        copies.count() == 1
    })
    .await;
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", edge.pid())).unwrap();
    let code = maps.lines().filter(|line| line.contains(".cwasm")).count();
    assert!(code < 20, "{code} mappings of machine code");
}

/// A process whose terminal is closed gets the same signal as one that is to reload.
#[tokio::test]
async fn a_process_ends_when_its_terminal_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    write(&one(""), folder.path());
    let said = folder.path().join("said.txt");
    let script = format!(
        "import os, pty, time\npid, fd = pty.fork()\nif pid == 0:\n    out = os.open({said:?}, \
         os.O_CREAT | os.O_WRONLY)\n    os.dup2(out, 1); os.dup2(out, 2)\n    \
         os.execv({edge:?}, ['edge', 'up', '--no-https', '--no-operator', '--http', '0'])\n\
         while 'Ctrl-C' not in open({said:?}).read() if os.path.exists({said:?}) else True:\n    \
         time.sleep(0.05)\nos.close(fd)\nos._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n",
        said = said.display().to_string(),
        edge = env!("CARGO_BIN_EXE_edge"),
    );
    let status = tokio::task::spawn_blocking(move || {
        let mut python = Command::new("timeout");
        python.args(["60", "python3", "-c", &script]);
        python.current_dir(folder.path()).status().unwrap()
    });
    assert_eq!(status.await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_request_that_waits_for_its_head_stays_with_its_version() {
    let (edge, _folder) = start(&greeting("one"), &[]);
    let url = format!("{}/stream?20,100", edge.http);
    let request = http::Request::get(url).body(Full::default().boxed());
    let waiting = tokio::spawn(send(request.unwrap()));
    reload(&edge, &greeting("two"), "ok").await;
    reload(&edge, &greeting("three"), "ok").await;
    let (status, body) = waiting.await.unwrap();
    assert_eq!(status, 200);
    assert!(body.ends_with("line 19\n"));
}
