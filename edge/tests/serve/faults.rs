//! Components that fail, and their neighbours.

use crate::harness::{Edge, client, one, send, star_manifest, until};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use std::convert::Infallible;

#[tokio::test]
async fn a_trap_is_answered_and_the_next_request_served() {
    let edge = Edge::start(&one(""));
    for _ in 0..3 {
        let (status, body) = edge.get("/trap").await;
        assert_eq!(status, 500);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["error"]["code"], "component_failed");
        assert_eq!(edge.get("/served").await, (200, "1".to_owned()));
    }
    until("the traps are counted", || async {
        (edge.figure("edge_traps_total").await - 3.0).abs() < 0.1
    })
    .await;
}

#[tokio::test]
async fn a_trap_in_mid_stream_is_no_clean_end() {
    let edge = Edge::start(&one(""));
    let url = format!("{}/stream-and-trap?3,10", edge.http);
    let request = http::Request::get(url)
        .body(Full::default().boxed())
        .unwrap();
    let response = client().request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        response.into_body().collect().await.is_err(),
        "the body must not end cleanly"
    );
    assert_eq!(edge.get("/served").await.0, 200);
}

#[tokio::test]
async fn a_trap_before_anything_went_out_is_an_answer_of_its_own() {
    let edge = Edge::start(&one(""));
    for _ in 0..20 {
        let (status, body) = edge.get("/stream-and-trap?3,0").await;
        assert_eq!(status, 500);
        assert!(body.contains("component_failed"), "{body}");
        assert_eq!(edge.get("/served").await, (200, "1".to_owned()));
    }
}

/// More than a body may have that shares its instance (`LARGE_BODY_BYTES` in
/// `src/instance.rs`).
const LARGE: usize = 300 << 10;
/// The most instances for large requests (`LARGE_INSTANCES_MAX`).
const LARGE_INSTANCES: usize = 32;

#[tokio::test]
async fn a_trap_over_a_large_body_cuts_no_stream_of_an_ordinary_request() {
    let edge = Edge::start(&one(""));
    let client = client();
    let mut streams = Vec::new();
    for _ in 0..3 {
        let url = format!("{}/stream?200,20", edge.http);
        let request = http::Request::get(url)
            .body(Full::default().boxed())
            .unwrap();
        let mut response = client.request(request).await.unwrap();
        response.body_mut().frame().await.unwrap().unwrap();
        streams.push(response.into_body());
    }
    // A small body goes to the instance that is there.
    let post = |path: &str, bytes: usize| {
        let body = Full::from(vec![b'x'; bytes]).boxed();
        let request = http::Request::post(format!("{}{path}", edge.http));
        send(request.body(body).unwrap())
    };
    assert_eq!(post("/length", 1_000).await, (200, "1000".to_owned()));
    assert!((edge.figure("edge_instantiations_total").await - 1.0).abs() < 0.1);
    for _ in 0..5 {
        assert_eq!(post("/trap", LARGE).await.0, 500);
    }
    assert_eq!(post("/length", LARGE).await, (200, LARGE.to_string()));
    for stream in streams {
        stream.collect().await.expect("a stream was cut");
    }
}

#[tokio::test]
async fn large_requests_beyond_the_instances_for_them_share() {
    let edge = Edge::start(&one(""));
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http();
    let (mut senders, mut answers) = (Vec::new(), Vec::new());
    let chunk =
        |text: &'static str| Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes())));
    for _ in 0..LARGE_INSTANCES + 8 {
        // Of no known length.
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let chunks = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        });
        let request = http::Request::post(format!("{}/echo", edge.http))
            .body(StreamBody::new(Box::pin(chunks)).boxed_unsync())
            .unwrap();
        sender.send(chunk("first")).await.unwrap();
        let mut response = client.request(request).await.unwrap();
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "first");
        senders.push(sender);
        answers.push(response.into_body());
    }
    let instances = edge.figure("edge_instances").await;
    assert!(
        (instances - LARGE_INSTANCES as f64).abs() < 0.1,
        "{instances}"
    );
    for (sender, mut answer) in senders.into_iter().zip(answers) {
        sender.send(chunk("second")).await.unwrap();
        let frame = answer.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "second");
    }
}

/// Seconds of CPU that the instances of one component may use without progress
/// (`BUSY_TICKS_MAX` in `src/engine.rs`).
const BUDGET_S: f64 = 3.0;
/// Two instances full of streams (`CONCURRENT_MAX` in `src/instance.rs`), so that the loop
/// gets a third one.
const SATURATED: usize = 32;
/// Chunks of each, and how much work stands before a chunk: some milliseconds.
const CHUNKS: usize = 60;
const WORK: u64 = 40_000_000;
/// Until all of them are there, so that the loop finds both instances full.
const WAIT_MS: u64 = 2_000;

#[tokio::test]
async fn an_endless_loop_is_stopped_and_saturated_streams_beside_it_are_whole() {
    let edge = Edge::start(&one(""));
    let client = client();
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..SATURATED {
        let url = format!("{}/saturate?{CHUNKS},{WORK},{WAIT_MS}", edge.http);
        let request = http::Request::get(url)
            .body(Full::default().boxed())
            .unwrap();
        let response = client.request(request).await.unwrap();
        streams.spawn(response.into_body().collect());
    }
    let before = edge.cpu_seconds();
    let (status, _) = edge.get("/loop").await;
    assert_eq!(status, 500, "the loop is stopped");
    let mut whole = 0;
    while let Some(body) = streams.join_next().await {
        let body = body.unwrap().expect("a stream was cut").to_bytes();
        assert_eq!(body, "chunk\n".repeat(CHUNKS));
        whole += 1;
    }
    assert_eq!(whole, SATURATED);
    let used = edge.cpu_seconds() - before;
    // Without the loop's budget, each instance of streams used more than what would have
    // ended it without progress.
    assert!(used > 3.0 * BUDGET_S, "the streams were not busy: {used} s");
    until("the stop is counted", || async {
        (edge.figure("edge_cpu_stops_total").await - 1.0).abs() < 0.1
    })
    .await;
    assert!((edge.figure("edge_instantiations_total").await - 3.0).abs() < 0.1);
}

#[tokio::test]
async fn memory_has_a_limit() {
    let edge = Edge::start(&one(""));
    assert_eq!(edge.get("/memory?16").await, (200, "16".to_owned()));
    assert_eq!(edge.get("/memory?500").await.0, 500);
    assert_eq!(edge.get("/memory?16").await.0, 200);
}

#[tokio::test]
async fn the_memories_of_a_star_share_a_limit() {
    for (root, leaf, status) in [(110, 0, 200), (0, 110, 200), (80, 80, 200), (110, 110, 500)] {
        // An instance of its own, for memory that is taken stays.
        let edge = Edge::start(&star_manifest(""));
        let (answered, body) = edge.get(&format!("/{root}?memory+{leaf}")).await;
        assert_eq!(answered, status, "{root} and {leaf} MiB: {body}");
        assert!(status != 200 || body == leaf.to_string(), "{body}");
        assert_eq!(edge.get("/0?memory+0").await.0, 200);
    }
}

#[tokio::test]
async fn more_requests_than_there_is_room_for_are_told_to_come_back() {
    let edge = Edge::start_with(&one(""), &["--max-requests", "2"]);
    let client = client();
    let ask = || {
        let url = format!("{}/stream?1000,50", edge.http);
        http::Request::get(url)
            .body(Full::default().boxed())
            .unwrap()
    };
    let one = client.request(ask()).await.unwrap();
    let two = client.request(ask()).await.unwrap();
    let three = client.request(ask()).await.unwrap();
    assert_eq!(three.status(), 503);
    assert_eq!(three.headers()["retry-after"], "1");
    drop((one, two));
}

#[tokio::test]
async fn a_process_without_memory_sheds_at_once_and_says_when_to_come_back() {
    let edge = Edge::start_with(&one(""), &["--limit", "memory-mib=1"]);
    crate::harness::until("it is measured", || async {
        edge.get("/served").await.0 == 503
    })
    .await;
    let request = http::Request::get(format!("{}/served", edge.http));
    let request = request.body(Full::default().boxed()).unwrap();
    let answer = client().request(request).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(edge.figure("edge_refused_total{reason=\"overload\"").await > 1.5);
    assert!((edge.figure("edge_instantiations_total").await) < 0.5 + 1.0);
}
