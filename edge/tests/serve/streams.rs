//! Streams: both ways, beside each other, and after the client has left.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::harness::{Edge, WAIT_MAX, client, one, probe, until};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_chunk_comes_back_before_the_next_is_sent() {
    let edge = Edge::start(&one(""));
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let chunks = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    let request = http::Request::post(format!("{}/echo", edge.http))
        .body(StreamBody::new(Box::pin(chunks)).boxed_unsync())
        .unwrap();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http();
    sender
        .send(Ok(Frame::data(Bytes::from_static(b"first"))))
        .await
        .unwrap();
    let mut response = client.request(request).await.unwrap();
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
    sender
        .send(Ok(Frame::data(Bytes::from_static(b"second"))))
        .await
        .unwrap();
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "second");
    drop(sender);
    assert!(response.body_mut().frame().await.is_none());
}

#[tokio::test]
async fn one_instance_serves_many_requests() {
    // It is not given up while this test waits for a core.
    let edge = Edge::start_with(&one(""), &["--limit", "instance-idle-ms=600000"]);
    for expect in 1..=20 {
        assert_eq!(edge.get("/served").await.1, expect.to_string());
    }
    assert!((edge.figure("edge_instantiations_total").await - 1.0).abs() < 0.1);
    // 128 requests are an instance's life.
    for _ in 20..130 {
        edge.get("/served").await;
    }
    assert!((edge.figure("edge_instantiations_total").await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn streams_beyond_sixteen_go_to_another_instance() {
    let edge = Edge::start(&one(""));
    let client = client();
    let mut open = Vec::new();
    for _ in 0..20 {
        let url = format!("{}/stream?1000,50", edge.http);
        let request = http::Request::get(url)
            .body(Full::default().boxed())
            .unwrap();
        let mut response = client.request(request).await.unwrap();
        response.body_mut().frame().await.unwrap().unwrap();
        open.push(response);
    }
    assert!((edge.figure("edge_instantiations_total").await - 2.0).abs() < 0.1);
    assert!((edge.figure("edge_requests_in_flight").await - 20.0).abs() < 0.1);
    drop(open);
    until("all streams are given back", || async {
        edge.figure("edge_requests_in_flight").await < 0.1
    })
    .await;
}

/// A backend that streams for ever, or never answers, and sees when its client goes.
async fn backend(answers: bool) -> (String, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let left = Arc::new(AtomicBool::new(false));
    let (asked_too, left_too) = (Arc::clone(&asked), Arc::clone(&left));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await.unwrap();
        asked_too.fetch_add(1, Relaxed);
        if answers {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(b"5\r\nhello\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } else {
            while stream.read(&mut head).await.is_ok_and(|bytes| bytes > 0) {}
        }
        left_too.store(true, Relaxed);
    });
    (address, asked, left)
}

#[tokio::test]
async fn a_disconnect_in_mid_stream_reaches_the_backend() {
    let (address, _, left) = backend(true).await;
    let edge = Edge::start(&one("allowed_outbound_hosts = [\"http://127.0.0.1:*\"]"));
    let url = format!("{}/fetch?http://{address}/", edge.http);
    let request = http::Request::get(url)
        .body(Full::default().boxed())
        .unwrap();
    let mut response = client().request(request).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    assert!(!left.load(Relaxed));
    drop(response);
    until("the backend sees it", || async { left.load(Relaxed) }).await;
}

/// Leaves while its component waits for `url`, which answers or does not, and says what the
/// component was told.
async fn leave(url: &str, answers: bool, asked: &AtomicUsize, left: &AtomicBool) -> String {
    let keys = "allowed_outbound_hosts = [\"http://127.0.0.1:*\", \"http://back.spin.internal\"]\n\
                key_value_stores = [\"default\"]";
    let back = probe(
        "back",
        "",
        "allowed_outbound_hosts = [\"http://127.0.0.1:*\"]",
    );
    let edge = Edge::start(&format!("{}{back}", one(keys)));
    let mut stream = TcpStream::connect(edge.address()).await.unwrap();
    let head = format!("GET /report?{url} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    until("the backend is asked", || async {
        asked.load(Relaxed) == 1
    })
    .await;
    let kept = async |key: &str| edge.get(&format!("/key-value?default,{key}")).await.1;
    if answers {
        until("the component has some of its body", || async {
            !kept("begun").await.is_empty()
        })
        .await;
    }
    assert!(!left.load(Relaxed));
    drop(stream);
    until("the backend sees it", || async { left.load(Relaxed) }).await;
    until("the component is told", || async {
        !kept("report").await.is_empty()
    })
    .await;
    kept("report").await
}

#[tokio::test]
async fn a_disconnect_before_the_backends_head_ends_the_call_and_blames_nobody() {
    let (address, asked, left) = backend(false).await;
    let told = leave(&format!("http://{address}/"), false, &asked, &left).await;
    assert_eq!(told, "head: ErrorCode::InternalError(Some(\"asker-gone\"))");
}

#[tokio::test]
async fn a_disconnect_before_the_answer_ends_the_backends_answer_too() {
    let (address, asked, left) = backend(true).await;
    let told = leave(&format!("http://{address}/"), true, &asked, &left).await;
    assert_eq!(told, "body: ErrorCode::InternalError(Some(\"asker-gone\"))");
}

#[tokio::test]
async fn a_disconnect_passes_through_a_component_that_was_called() {
    for (answers, part) in [(false, "head"), (true, "body")] {
        let (address, asked, left) = backend(answers).await;
        let url = format!("http://back.spin.internal/fetch?http://{address}/");
        let told = leave(&url, answers, &asked, &left).await;
        let expected = format!("{part}: ErrorCode::InternalError(Some(\"asker-gone\"))");
        assert_eq!(told, expected);
    }
}

/// Lines of a stream.
const DRIPS: usize = 20;

/// A server of HTTP/2 by prior knowledge alone that counts its connections, and drips to all
/// once as many streams are open as `together`.
async fn multiplexed_backend(together: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::clone(&connections);
    let all_open = Arc::new(tokio::sync::Barrier::new(together));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            accepted.fetch_add(1, Relaxed);
            let all_open = Arc::clone(&all_open);
            let service = hyper::service::service_fn(move |_| {
                let all_open = Arc::clone(&all_open);
                let body = futures::stream::unfold(0, move |line| {
                    let all_open = Arc::clone(&all_open);
                    async move {
                        if line == 0 {
                            all_open.wait().await;
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        let frame = Frame::data(Bytes::from_static(b"drip\n"));
                        (line < DRIPS).then_some((Ok::<_, Infallible>(frame), line + 1))
                    }
                });
                let response = http::Response::new(StreamBody::new(Box::pin(body)));
                async move { Ok::<_, Infallible>(response) }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let executor = hyper_util::rt::TokioExecutor::new();
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(executor)
                    .max_concurrent_streams(1_024)
                    .serve_connection(io, service),
            );
        }
    });
    (address, connections)
}

#[tokio::test]
async fn two_hundred_streams_share_two_connections() {
    let (address, connections) = multiplexed_backend(200).await;
    let keys = one("allowed_outbound_hosts = [\"http://127.0.0.1:*\"]");
    let edge = Edge::start_with(&keys, &["--h2c", &format!("http://{address}")]);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let url = format!("{}/fetch?http://{address}/", edge.http);
        tasks.spawn(async move { crate::harness::get(&url).await });
    }
    while let Some(answer) = tasks.join_next().await {
        assert_eq!(answer.unwrap(), (200, "drip\n".repeat(DRIPS)));
    }
    assert_eq!(connections.load(Relaxed), 2, "128 streams fit one of them");
}

#[tokio::test]
async fn chunks_are_not_held_back() {
    let edge = Edge::start(&one(""));
    // The second one follows after an hour.
    let url = format!("{}/stream?2,3600000", edge.http);
    let request = http::Request::get(url)
        .body(Full::default().boxed())
        .unwrap();
    let mut response = client().request(request).await.unwrap();
    let frame = tokio::time::timeout(WAIT_MAX, response.body_mut().frame()).await;
    let frame = frame.unwrap().unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "line 0\n");
}
