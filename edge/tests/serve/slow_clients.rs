//! Clients that say nothing, and clients that take nothing; and those that only look alike.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::front::{handshake, trusting};
use crate::harness::{Edge, client, one, until};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Of `Limits` in `src/front/limits.rs`, in seconds.
const HANDSHAKE_S: u64 = 10;
const OPENING_S: u64 = 10;
const HEAD_S: u64 = 30;
const STALL_S: u64 = 30;
/// How much later than its time a loaded machine may close a connection.
const LATE_S: u64 = 20;

/// Says `words`, then nothing, and measures how long the connection is left open.
async fn silent<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, words: &str) -> Duration {
    let start = Instant::now();
    stream.write_all(words.as_bytes()).await.unwrap();
    let limit = Duration::from_secs(HEAD_S + LATE_S);
    let mut answer = Vec::new();
    let read = tokio::time::timeout(limit, stream.read_to_end(&mut answer));
    // An end and a reset are both a closed connection.
    assert!(read.await.is_ok(), "the connection is held for ever");
    start.elapsed()
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let edge = Edge::start(&one(""));
    let plain = || TcpStream::connect(edge.address());
    let config = trusting(&edge, &[&rustls::version::TLS13], &["h2", "http/1.1"]);
    let encrypted = handshake(&edge, config).await.unwrap();
    let no_handshake = TcpStream::connect(edge.https.replace("https://localhost", "127.0.0.1"));
    let lives = tokio::join!(
        silent(plain().await.unwrap(), ""),
        silent(plain().await.unwrap(), "PRI * HTTP/2.0\r\n"),
        silent(encrypted, ""),
        silent(no_handshake.await.unwrap(), ""),
        silent(plain().await.unwrap(), "GET /served HTT"),
        silent(
            plain().await.unwrap(),
            "GET /served HTTP/1.1\r\nhost: a\r\n\r\n"
        ),
    );
    for (seconds, life) in [
        (OPENING_S, lives.0),
        (OPENING_S, lives.1),
        (OPENING_S, lives.2),
        (HANDSHAKE_S, lives.3),
        (HEAD_S, lives.4),
        (HEAD_S, lives.5),
    ] {
        let early = Duration::from_secs(seconds - 1);
        assert!(life >= early, "{life:?} of {seconds} s");
        assert!(
            life < Duration::from_secs(seconds + LATE_S),
            "{life:?} of {seconds} s"
        );
    }
    until("all connections are gone", || async {
        edge.figure("edge_connections").await < 0.1
    })
    .await;
}

/// Asks for more than any buffer holds, and reads nothing of it.
async fn take_nothing<S: AsyncWrite + Unpin>(stream: &mut S) {
    let request = b"GET /flood HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
}

pub(crate) async fn connection(edge: &Edge) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(edge.address()).await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(16 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn ask(edge: &Edge, path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(format!("{}{path}", edge.http))
        .body(Full::default())
        .unwrap()
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_and_an_idle_stream_is_not() {
    let edge = Edge::start(&one(""));
    let mut plain = TcpStream::connect(edge.address()).await.unwrap();
    take_nothing(&mut plain).await;
    let config = trusting(&edge, &[&rustls::version::TLS13], &["http/1.1"]);
    let mut encrypted = handshake(&edge, config).await.unwrap();
    take_nothing(&mut encrypted).await;
    // One stream of this connection takes nothing; the connection itself is well.
    let mut sender = connection(&edge).await;
    let stuck = sender.send_request(ask(&edge, "/flood")).await.unwrap();

    // Longer between its only word and its end than a client may take nothing.
    let idle = format!("/stream?1,{}", 1_000 * (STALL_S + 5));
    let idle_beside = sender.send_request(ask(&edge, &idle)).await.unwrap();
    let request = http::Request::get(format!("{}{idle}", edge.http))
        .body(Full::default().boxed())
        .unwrap();
    let idle_alone = client().request(request).await.unwrap();
    until("all five have begun", || async {
        (edge.figure("edge_requests_in_flight").await - 5.0).abs() < 0.1
    })
    .await;

    let (beside, alone) = tokio::join!(idle_beside.collect(), idle_alone.collect());
    for body in [beside.unwrap().to_bytes(), alone.unwrap().to_bytes()] {
        assert_eq!(body, "line 0\n");
    }
    until("those that take nothing are gone", || async {
        edge.figure("edge_requests_in_flight").await < 0.1
    })
    .await;
    assert!(stuck.collect().await.is_err(), "the stream was reset");
    let after = sender.send_request(ask(&edge, "/served")).await.unwrap();
    assert_eq!(after.status(), 200);
    drop((plain, encrypted));
}
