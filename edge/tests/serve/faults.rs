//! Components that fail, and their neighbours.

use crate::harness::{Edge, HEAD, client, one, probe, star_manifest};
use http_body_util::{BodyExt as _, Full};
use std::time::{Duration, Instant};

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
    assert!((edge.figure("edge_traps_total").await - 3.0).abs() < 0.1);
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
async fn an_endless_loop_is_stopped_and_streams_beside_it_are_whole() {
    let manifest = format!(
        "{HEAD}{}{}",
        probe("steady", "/...", ""),
        probe("spinner", "/loop", "")
    );
    let edge = Edge::start(&manifest);
    let client = client();
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (client, url) = (client.clone(), format!("{}/stream?60,100", edge.http));
        streams.spawn(async move {
            let request = http::Request::get(url)
                .body(Full::default().boxed())
                .unwrap();
            let response = client.request(request).await.unwrap();
            response
                .into_body()
                .collect()
                .await
                .map(|body| body.to_bytes())
        });
    }
    let start = Instant::now();
    let (status, _) = edge.get("/loop").await;
    assert_eq!(status, 500);
    let took = start.elapsed();
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(20),
        "{took:?}"
    );
    while let Some(body) = streams.join_next().await {
        let body = body.unwrap().unwrap();
        assert!(body.ends_with(b"line 59\n"), "a stream was cut");
    }
    assert!((edge.figure("edge_cpu_stops_total").await - 1.0).abs() < 0.1);
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
