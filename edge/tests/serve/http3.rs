//! HTTP/3: the same answers over QUIC, and clients that do harm.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::front::trusting;
use crate::harness::{Edge, WAIT_MAX, one, until};
use bytes::{Buf as _, Bytes};
use h3::client::{RequestStream, SendRequest};
use quinn::crypto::rustls::QuicClientConfig;
use std::sync::Arc;

type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// A connection without HTTP/3 on it.
async fn quic(edge: &Edge) -> (quinn::Endpoint, quinn::Connection) {
    let config = trusting(edge, &[&rustls::version::TLS13], &["h3"]);
    let config = QuicClientConfig::try_from(config).unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    let address = edge.https.replace("https://localhost", "127.0.0.1");
    let connecting = endpoint.connect(address.parse().unwrap(), "localhost");
    let connection = connecting.unwrap().await.unwrap();
    (endpoint, connection)
}

struct Client {
    sender: SendRequest<h3_quinn::OpenStreams, Bytes>,
    connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

impl Client {
    async fn connect(edge: &Edge) -> Self {
        let (endpoint, connection) = quic(edge).await;
        let transport = h3_quinn::Connection::new(connection.clone());
        let (mut driver, sender) = h3::client::new(transport).await.unwrap();
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Self {
            sender,
            connection,
            _endpoint: endpoint,
        }
    }

    async fn open(&mut self, request: http::request::Builder) -> Stream {
        let request = request.body(()).unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    /// GETs a URL: the head, and what came of the body before its end or break.
    async fn get(&mut self, url: &str) -> (http::Response<()>, String, bool) {
        let mut stream = self.open(http::Request::get(url)).await;
        stream.finish().await.unwrap();
        let head = stream.recv_response().await.unwrap();
        let mut body = Vec::new();
        loop {
            match stream.recv_data().await {
                Ok(Some(data)) => body.extend_from_slice(data.chunk()),
                ended => {
                    let text = String::from_utf8(body).unwrap();
                    return (head, text, ended.is_ok());
                }
            }
        }
    }
}

#[tokio::test]
async fn answers_are_those_of_the_other_versions() {
    let edge = Edge::start(&one(""));
    let mut client = Client::connect(&edge).await;
    let (head, body, whole) = client.get(&format!("{}/headers?q=1", edge.https)).await;
    assert!(head.status() == 200 && whole);
    assert!(head.headers().contains_key("date"));
    assert!(
        !head.headers().contains_key("alt-svc"),
        "it is here already"
    );
    let line = format!("spin-full-url: {}/headers?q=1", edge.https);
    assert!(body.contains(&line), "{line} is not in\n{body}");
    let (head, _, _) = client.get(&format!("{}/no-such-deed", edge.https)).await;
    assert_eq!(head.status(), 404);
    let (head, body, whole) = client.get(&format!("{}/stream?3,5", edge.https)).await;
    assert!(head.status() == 200 && whole);
    assert_eq!(body, "line 0\nline 1\nline 2\n");
    let (_, _, whole) = client
        .get(&format!("{}/stream-and-trap?3,10", edge.https))
        .await;
    assert!(!whole, "a trap in mid-stream is no clean end");
}

#[tokio::test]
async fn a_chunk_comes_back_before_the_next_is_sent() {
    let edge = Edge::start(&one(""));
    let mut client = Client::connect(&edge).await;
    let mut stream = client
        .open(http::Request::post(format!("{}/echo", edge.https)))
        .await;
    for chunk in ["one", "two", "three"] {
        stream
            .send_data(Bytes::from_static(chunk.as_bytes()))
            .await
            .unwrap();
        if chunk == "one" {
            assert_eq!(stream.recv_response().await.unwrap().status(), 200);
        }
        let came = stream.recv_data().await.unwrap().unwrap();
        assert_eq!(came.chunk(), chunk.as_bytes());
    }
    stream.finish().await.unwrap();
    assert!(stream.recv_data().await.unwrap().is_none());
}

#[tokio::test]
async fn compressed_events_arrive_before_the_stream_goes_on() {
    use tokio::io::AsyncReadExt as _;
    let edge = Edge::start_with(&one(""), &["--compression", "all"]);
    let mut client = Client::connect(&edge).await;
    // After the third nothing comes for an hour.
    let url = format!("{}/events?3,10,3600000", edge.https);
    let request = http::Request::get(url).header("accept-encoding", "zstd");
    let mut stream = client.open(request).await;
    stream.finish().await.unwrap();
    let head = stream.recv_response().await.unwrap();
    assert_eq!(head.headers()["content-encoding"], "zstd");
    let frames = futures::stream::unfold(stream, |mut stream| async move {
        let data = stream.recv_data().await.unwrap()?;
        let bytes = Bytes::copy_from_slice(data.chunk());
        Some((Ok::<_, std::io::Error>(bytes), stream))
    });
    let reader = tokio_util::io::StreamReader::new(Box::pin(frames));
    let mut decoder = async_compression::tokio::bufread::ZstdDecoder::new(reader);
    let mut read = [0; "data: 0\n\ndata: 1\n\ndata: 2\n\n".len()];
    let reading = tokio::time::timeout(WAIT_MAX, decoder.read_exact(&mut read));
    reading.await.unwrap().unwrap();
    assert_eq!(read, *b"data: 0\n\ndata: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn it_is_offered_over_tcp_unless_it_is_off() {
    let offered = |edge: &Edge| {
        let config = trusting(edge, &[&rustls::version::TLS13], &["http/1.1"]);
        let url = format!("{}/served", edge.https);
        let address = edge.https.replace("https://localhost", "127.0.0.1");
        async move {
            let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
            let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let tls = connector.connect(name, tcp).await.unwrap();
            let io = hyper_util::rt::TokioIo::new(tls);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::get(url).header("host", "localhost");
            let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            answer.headers().get("alt-svc").cloned()
        }
    };
    let edge = Edge::start(&one(""));
    let port = edge.https.rsplit(':').next().unwrap();
    assert_eq!(
        offered(&edge).await.unwrap(),
        format!("h3=\":{port}\"; ma=86400")
    );
    let edge = Edge::start_with(&one(""), &["--no-http3"]);
    assert_eq!(offered(&edge).await, None);
}

#[tokio::test]
async fn a_client_that_leaves_an_idle_stream_is_noticed() {
    let edge = Edge::start(&one(""));
    let mut client = Client::connect(&edge).await;
    let url = format!("{}/stream?2,600000", edge.https);
    let mut stream = client.open(http::Request::get(&url)).await;
    stream.finish().await.unwrap();
    stream.recv_response().await.unwrap();
    stream.recv_data().await.unwrap();
    assert!(edge.figure("edge_requests_in_flight").await > 0.5);
    drop(stream);
    until("the stream's end", || async {
        edge.figure("edge_requests_in_flight").await < 0.5
    })
    .await;
    // The same for a client that takes its connection along.
    let mut stream = client.open(http::Request::get(&url)).await;
    stream.finish().await.unwrap();
    stream.recv_response().await.unwrap();
    client.connection.close(0_u32.into(), b"");
    until("the connection's end", || async {
        edge.figure("edge_requests_in_flight").await < 0.5
    })
    .await;
}

#[tokio::test]
async fn a_body_is_as_long_as_it_says_and_no_longer_than_is_taken() {
    let edge = Edge::start(&one(""));
    let mut client = Client::connect(&edge).await;
    let url = format!("{}/length", edge.https);
    let mut short = client
        .open(http::Request::post(&url).header("content-length", "10"))
        .await;
    short.send_data(Bytes::from_static(b"five!")).await.unwrap();
    short.finish().await.unwrap();
    assert_eq!(
        short.recv_response().await.unwrap().status(),
        400,
        "the component's own"
    );

    let mut large = client.open(http::Request::post(&url)).await;
    let sent = async {
        for _ in 0..160 {
            if large
                .send_data(Bytes::from(vec![0; 64 << 10]))
                .await
                .is_err()
            {
                break;
            }
        }
        let _ = large.finish().await;
        large.recv_response().await
    };
    let answer = tokio::time::timeout(WAIT_MAX, sent).await.unwrap();
    assert!(answer.is_err() || answer.unwrap().status() == 413);
    assert_eq!(
        client
            .get(&format!("{}/served", edge.https))
            .await
            .0
            .status(),
        200
    );
}

#[tokio::test]
async fn heads_are_limited() {
    let edge = Edge::start(&one(""));
    let mut client = Client::connect(&edge).await;
    let mut request = http::Request::get(format!("{}/served", edge.https));
    for header in 0..2_000 {
        request = request.header(format!("x-{header}"), "0123456789");
    }
    // The client's own library refuses it, if it has heard by now what the server takes;
    // else the stream is reset, perhaps before its 431 has arrived.
    if let Ok(mut stream) = client.sender.send_request(request.body(()).unwrap()).await {
        let _ = stream.finish().await;
        let answer = stream.recv_response().await;
        assert!(answer.is_err() || answer.unwrap().status() == 431);
    }
    let forbidden = http::Request::get(format!("{}/served", edge.https));
    let mut stream = client
        .open(forbidden.header("transfer-encoding", "chunked"))
        .await;
    stream.finish().await.unwrap();
    assert_eq!(stream.recv_response().await.unwrap().status(), 400);
}

/// Type HEADERS, length 2^30 - 1 (RFC 9000 §16).
const ENDLESS_HEAD: [u8; 5] = [1, 0xbf, 0xff, 0xff, 0xff];

#[tokio::test]
async fn a_head_without_an_end_is_not_gathered() {
    let edge = Edge::start(&one(""));
    let (_endpoint, connection) = quic(&edge).await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&ENDLESS_HEAD).await.unwrap();
    let mut sent = 0;
    let flood = async {
        while send.write_all(&[0; 16 << 10]).await.is_ok() {
            sent += 16 << 10;
        }
    };
    tokio::time::timeout(WAIT_MAX, flood)
        .await
        .expect("it is stopped");
    // Twice the limit, and what fits in the windows on the way.
    assert!(sent < 1 << 20, "{sent} bytes were taken");
    // A control stream that is no better.
    let mut control = connection.open_uni().await.unwrap();
    control.write_all(&[0]).await.unwrap();
    control
        .write_all(&[0x21, 0xbf, 0xff, 0xff, 0xff])
        .await
        .unwrap();
    let flood = async { while control.write_all(&[0; 16 << 10]).await.is_ok() {} };
    tokio::time::timeout(WAIT_MAX, flood)
        .await
        .expect("it is stopped");
    let mut client = Client::connect(&edge).await;
    assert_eq!(
        client
            .get(&format!("{}/served", edge.https))
            .await
            .0
            .status(),
        200
    );
}

#[tokio::test]
async fn a_client_that_breaks_off_a_thousand_streams_is_turned_away() {
    let edge = Edge::start(&one(""));
    let mut client = Client::connect(&edge).await;
    let url = format!("{}/stream?2,600000", edge.https);
    let mut broken = 0;
    for _ in 0..1_000 {
        let request = http::Request::get(&url).body(()).unwrap();
        let Ok(mut stream) = client.sender.send_request(request).await else {
            break;
        };
        stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
        stream.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
        broken += 1;
    }
    let closed = tokio::time::timeout(WAIT_MAX, client.connection.closed()).await;
    assert!(closed.is_ok(), "{broken} streams, and it still listens");
    until("nothing is left", || async {
        edge.figure("edge_requests_in_flight").await < 0.5
    })
    .await;
    assert!((edge.figure("edge_refused_total{reason=\"resets\"").await - 1.0).abs() < 0.1);
    let mut client = Client::connect(&edge).await;
    assert_eq!(
        client
            .get(&format!("{}/served", edge.https))
            .await
            .0
            .status(),
        200
    );
}

#[tokio::test]
async fn a_stream_ends_before_the_process_does() {
    let mut edge = Edge::start(&one(""));
    let mut client = Client::connect(&edge).await;
    let url = format!("{}/stream?20,50", edge.https);
    let mut stream = client.open(http::Request::get(url)).await;
    stream.finish().await.unwrap();
    stream.recv_response().await.unwrap();
    edge.signal("-TERM");
    until("it drains", || async { edge.said().contains("Stopping") }).await;
    let mut body = Vec::new();
    while let Some(data) = stream.recv_data().await.unwrap() {
        body.extend_from_slice(data.chunk());
    }
    assert!(body.ends_with(b"line 19\n"), "the stream was cut");
    assert!(edge.wait().success());
}
