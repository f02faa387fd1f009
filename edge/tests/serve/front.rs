//! The front door: routes and headers, limits, TLS.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::harness::{Edge, HEAD, WAIT_MAX, one, probe, send};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn routes_and_spin_headers() {
    let manifest = format!(
        "{HEAD}{}{}",
        probe("probe", "/...", ""),
        probe("users", "/:deed", "")
    );
    let edge = Edge::start(&manifest);
    let request = http::Request::get(format!("{}/headers?q=1", edge.http))
        .header("spin-client-addr", "1.2.3.4:5")
        .header("spin-forged", "yes")
        .header("x-mine", "kept")
        .body(Full::default().boxed())
        .unwrap();
    let (status, body) = send(request).await;
    assert_eq!(status, 200);
    for line in [
        format!("spin-full-url: {}/headers?q=1", edge.http),
        "spin-matched-route: /:deed".to_owned(),
        "spin-path-match-deed: headers".to_owned(),
        "spin-base-path: /".to_owned(),
        "spin-client-addr: 127.0.0.1:".to_owned(),
        "x-mine: kept".to_owned(),
    ] {
        assert!(body.contains(&line), "{line} is not in\n{body}");
    }
    assert!(
        !body.contains("forged") && !body.contains("1.2.3.4"),
        "{body}"
    );
    assert!((edge.figure("edge_requests_total{component=\"users\"").await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn an_unknown_route_is_an_error_object() {
    let edge = Edge::start(&format!("{HEAD}{}", probe("probe", "/echo", "")));
    let (status, body) = edge.get("/other").await;
    assert_eq!(status, 404);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["error"]["code"], "not_found");
    assert_eq!(body["error"]["param"], serde_json::Value::Null);
}

/// Sends bytes as they are and reads to the end.
async fn raw(edge: &Edge, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(edge.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(WAIT_MAX, read).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn ten_thousand_headers_are_answered_431() {
    let edge = Edge::start(&one(""));
    let mut head = "GET /served HTTP/1.1\r\nhost: x\r\n".to_owned();
    for header in 0..10_000 {
        let _ = write!(head, "x-{header}: {header}\r\n");
    }
    head.push_str("\r\n");
    let answer = raw(&edge, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(edge.get("/served").await.0, 200);
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_answered_413() {
    let edge = Edge::start(&one(""));
    let url = format!("{}/length", edge.http);
    let large = Bytes::from(vec![b'x'; 10 << 20]);
    let request = http::Request::post(&url)
        .body(Full::new(large.clone()).boxed())
        .unwrap();
    let (status, body) = send(request).await;
    assert_eq!(status, 413);
    assert!(body.contains("body_too_large"), "{body}");
    // The same without a declared length.
    let frames = large.chunks(1 << 16).map(|chunk| {
        Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(Bytes::copy_from_slice(chunk)))
    });
    let frames: Vec<_> = frames.collect();
    let chunked = http_body_util::StreamBody::new(futures::stream::iter(frames)).boxed();
    let request = http::Request::post(&url).body(chunked).unwrap();
    assert_eq!(send(request).await.0, 413);
    let small = Full::new(Bytes::from(vec![b'x'; 3 << 20])).boxed();
    let request = http::Request::post(&url).body(small).unwrap();
    assert_eq!(send(request).await, (200, (3 << 20).to_string()));
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let edge = Edge::start(&one(""));
    for (request, expect) in [
        ("GET /served HTTP/1.1\r\n\r\n", "HTTP/1.1 400"),
        (
            "GET /served HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 400",
        ),
        (
            "GET http://a/served HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 400",
        ),
        (
            "GET /served HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 400",
        ),
        ("GARBAGE\r\n\r\n", "HTTP/1.1 400"),
        (
            "POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
            "HTTP/1.1 400",
        ),
    ] {
        let request = request.replace("HTTP/1.1\r\n\r\n", "HTTP/1.1\r\nconnection: close\r\n\r\n");
        let answer = raw(&edge, request.as_bytes()).await;
        assert!(answer.starts_with(expect), "{request:?}: {answer}");
    }
}

pub(crate) async fn handshake(
    edge: &Edge,
    config: rustls::ClientConfig,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let address = edge.https.replace("https://localhost", "127.0.0.1");
    let stream = TcpStream::connect(address).await?;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

pub(crate) fn trusting(
    edge: &Edge,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&str],
) -> rustls::ClientConfig {
    use rustls::pki_types::pem::PemObject as _;
    let path = edge.folder.join(".skerry/tls/cert.pem");
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(path).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

#[tokio::test]
async fn tls_is_1_3_with_http_2() {
    let edge = Edge::start(&one(""));
    let config = trusting(&edge, &[&rustls::version::TLS13], &["h2", "http/1.1"]);
    let stream = handshake(&edge, config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("{}/served", edge.https))
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    // The same limit on headers, over HTTP/2: the stream is refused, the connection lives.
    let mut many = http::Request::get(format!("{}/served", edge.https));
    for header in 0..10_000 {
        many = many.header(format!("x-{header}"), "0123456789");
    }
    let answer = sender
        .send_request(many.body(Full::default()).unwrap())
        .await;
    assert!(answer.is_err() || answer.unwrap().status() == 431);
    assert_eq!(edge.get("/served").await.0, 200);
}

#[tokio::test]
async fn bad_tls_is_turned_away() {
    let edge = Edge::start(&one(""));
    let old = trusting(&edge, &[&rustls::version::TLS12], &[]);
    assert!(handshake(&edge, old).await.is_err(), "TLS 1.2 is off");
    let strange = trusting(&edge, &[&rustls::version::TLS13], &["spdy/1"]);
    assert!(
        handshake(&edge, strange).await.is_err(),
        "no protocol in common"
    );
    let address = edge.https.replace("https://localhost", "127.0.0.1");
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(
        !answer.starts_with(b"HTTP/1.1 2"),
        "plain HTTP on the TLS port"
    );
    let good = trusting(&edge, &[&rustls::version::TLS13], &["http/1.1"]);
    assert!(handshake(&edge, good).await.is_ok());
}
