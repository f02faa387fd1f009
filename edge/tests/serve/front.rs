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
    raw_to(&edge.address(), bytes).await
}

pub(crate) async fn raw_to(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
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

/// What two servers could read in two ways: each is answered 400, and what follows it on
/// the connection is not read as a request.
#[tokio::test]
async fn ambiguous_framing_is_answered_400_and_the_connection_closed() {
    let edge = Edge::start(&one(""));
    let chunked = "transfer-encoding: chunked\r\n";
    let smuggled = "GET /served HTTP/1.1\r\nhost: smuggled\r\n\r\n";
    let both = "content-length: 6\r\ntransfer-encoding: chunked\r\n";
    for (version, fields, body) in [
        ("1.1", both, "0\r\n\r\n"),
        (
            "1.1",
            "transfer-encoding: chunked\r\ncontent-length: 6\r\n",
            "0\r\n\r\n",
        ),
        (
            "1.1",
            "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n",
            "0\r\n\r\n",
        ),
        ("1.1", "transfer-encoding: x, chunked\r\n", "0\r\n\r\n"),
        ("1.1", "content-length: 3\r\ncontent-length: 3\r\n", "abc"),
        ("1.1", "x: a\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        ("1.1", "x: a\r\n b\r\n", ""),
        ("1.0", chunked, "0\r\n\r\n"),
        ("1.1", chunked, "3;a=b\r\nabc\r\n0\r\n\r\n"),
        ("1.1", chunked, "3\nabc\r\n0\r\n\r\n"),
        ("1.1", chunked, "3\r\nabcdef\r\n0\r\n\r\n"),
    ] {
        let request =
            format!("POST /length HTTP/{version}\r\nhost: a\r\n{fields}\r\n{body}{smuggled}");
        let answer = raw(&edge, request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"),
            "{request:?}: {answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.").count(),
            1,
            "{request:?}: {answer}"
        );
    }
    let plain = format!(
        "POST /length HTTP/1.1\r\nhost: a\r\n{chunked}\r\n3\r\nabc\r\n0\r\n\r\nGET /served HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    );
    let answer = raw(&edge, plain.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
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

/// Writes a certificate for `name`, signed by itself, and its key.
fn make_certificate(folder: &std::path::Path, name: &str) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let paths = ["pem", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
    std::fs::write(&paths[0], made.cert.pem()).unwrap();
    std::fs::write(&paths[1], made.signing_key.serialize_pem()).unwrap();
    paths.map(|path| path.display().to_string())
}

fn roots_of(paths: &[&str]) -> rustls::RootCertStore {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    for path in paths {
        let certificate = rustls::pki_types::CertificateDer::from_pem_file(path).unwrap();
        roots.add(certificate).unwrap();
    }
    roots
}

/// A handshake that asks for `name` and trusts `roots`, then a request.
async fn ask_by_name(
    edge: &Edge,
    name: &str,
    builder: rustls::ClientConfig,
) -> std::io::Result<u16> {
    let address = edge.https.rsplit(':').next().unwrap();
    let stream = TcpStream::connect(format!("127.0.0.1:{address}")).await?;
    let server = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(builder));
    let mut stream = connector.connect(server, stream).await?;
    let head = format!("GET /served HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let status = String::from_utf8_lossy(&answer);
    Ok(status.split(' ').nth(1).unwrap_or("0").parse().unwrap())
}

fn client_config(
    roots: rustls::RootCertStore,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
}

#[tokio::test]
async fn each_name_has_its_certificate_and_a_new_one_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let [one_pem, one_key] = make_certificate(folder.path(), "one.test");
    let [two_pem, two_key] = make_certificate(folder.path(), "two.test");
    let edge = Edge::start_with(
        &one(""),
        &[
            "--tls-cert",
            &one_pem,
            "--tls-key",
            &one_key,
            "--tls-cert",
            &two_pem,
            "--tls-key",
            &two_key,
            "--tls-min-version",
            "1.2",
        ],
    );
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for (name, file) in [("one.test", &one_pem), ("two.test", &two_pem)] {
            let config = client_config(roots_of(&[file]), &[version]).with_no_client_auth();
            assert_eq!(
                ask_by_name(&edge, name, config).await.unwrap(),
                200,
                "{name}"
            );
        }
    }
    let old = roots_of(&[&two_pem]);
    make_certificate(folder.path(), "two.test");
    let fresh = roots_of(&[&two_pem]);
    crate::harness::until("the new certificate", || async {
        let config = client_config(fresh.clone(), &[&rustls::version::TLS13]);
        let asked = ask_by_name(&edge, "two.test", config.with_no_client_auth()).await;
        asked.is_ok()
    })
    .await;
    let config = client_config(old, &[&rustls::version::TLS13]).with_no_client_auth();
    assert!(ask_by_name(&edge, "two.test", config).await.is_err());
}

#[tokio::test]
async fn clients_show_a_certificate_where_they_must() {
    let folder = tempfile::tempdir().unwrap();
    let [server_pem, server_key] = make_certificate(folder.path(), "one.test");
    let [client_pem, client_key] = make_certificate(folder.path(), "pop.test");
    let [stranger_pem, stranger_key] = make_certificate(folder.path(), "stranger.test");
    let edge = Edge::start_with(
        &one(""),
        &[
            "--tls-cert",
            &server_pem,
            "--tls-key",
            &server_key,
            "--tls-client-ca",
            &client_pem,
        ],
    );
    let builder = || client_config(roots_of(&[&server_pem]), &[&rustls::version::TLS13]);
    let shown = |certificate: &str, key: &str| {
        use rustls::pki_types::pem::PemObject as _;
        let chain = vec![rustls::pki_types::CertificateDer::from_pem_file(certificate).unwrap()];
        let key = rustls::pki_types::PrivateKeyDer::from_pem_file(key).unwrap();
        builder().with_client_auth_cert(chain, key).unwrap()
    };
    let known = shown(&client_pem, &client_key);
    assert_eq!(ask_by_name(&edge, "one.test", known).await.unwrap(), 200);
    let none = builder().with_no_client_auth();
    assert!(ask_by_name(&edge, "one.test", none).await.is_err());
    let stranger = shown(&stranger_pem, &stranger_key);
    assert!(ask_by_name(&edge, "one.test", stranger).await.is_err());
}

/// A point of presence and a region, each with a certificate that the other asks for.
#[tokio::test]
async fn components_show_a_certificate_to_a_region() {
    let folder = tempfile::tempdir().unwrap();
    let [region_pem, region_key] = make_certificate(folder.path(), "localhost");
    let [pop_pem, pop_key] = make_certificate(folder.path(), "pop.test");
    let region = Edge::start_with(
        &one(""),
        &[
            "--tls-cert",
            &region_pem,
            "--tls-key",
            &region_key,
            "--tls-client-ca",
            &pop_pem,
        ],
    );
    let config = folder.path().join("runtime-config.toml");
    let text = "[[client_tls]]\ncomponent_ids = [\"probe\"]\nhosts = [\"localhost\"]\n\
                ca_roots_file = \"localhost.pem\"\ncert_chain_file = \"pop.test.pem\"\n\
                private_key_file = \"pop.test.key\"\n";
    std::fs::write(&config, text).unwrap();
    assert!(std::path::Path::new(&pop_key).exists());
    let url = format!("/status?{}/served", region.https);
    let grant = one("allowed_outbound_hosts = [\"https://localhost:*\"]");
    let config = config.display().to_string();
    let pop = Edge::start_with(&grant, &["--runtime-config-file", &config]);
    assert_eq!(pop.get(&url).await, (200, "200".to_owned()));
    let stranger = Edge::start(&grant);
    let (_, outcome) = stranger.get(&url).await;
    assert_ne!(outcome, "200", "without a certificate nobody is let in");
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

#[tokio::test]
async fn a_load_balancer_says_for_whom_it_connects() {
    let edge = Edge::start_with(&one(""), &["--proxy-protocol", "127.0.0.0/8"]);
    let request = b"GET /headers HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let proxied = |head: &[u8]| [head, request].concat();
    let answer = raw(
        &edge,
        &proxied(b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n"),
    )
    .await;
    assert!(
        answer.contains("spin-client-addr: 192.0.2.7:12345"),
        "{answer}"
    );
    let mut stream = TcpStream::connect(edge.address()).await.unwrap();
    stream.write_all(&proxied(b"")).await.unwrap();
    let mut answer = Vec::new();
    // With an end or a reset, but without a word.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "without a head it is closed");
    // Others than balancers are not believed.
    let edge = Edge::start_with(&one(""), &["--proxy-protocol", "192.0.2.0/24"]);
    let answer = raw(
        &edge,
        &proxied(b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(edge.get("/served").await.0, 200);
}

#[tokio::test]
async fn pages_of_named_origins_may_read_answers() {
    let edge = Edge::start_with(&one(""), &["--cors-origin", "https://chat.example"]);
    let preflight = b"OPTIONS /served HTTP/1.1\r\nhost: x\r\norigin: https://chat.example\r\naccess-control-request-method: POST\r\nconnection: close\r\n\r\n";
    let answer = raw(&edge, preflight).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: https://chat.example"),
        "{answer}"
    );
    let ask = |origin: &str| {
        format!("GET /served HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\nconnection: close\r\n\r\n")
    };
    let answer = raw(&edge, ask("https://chat.example").as_bytes()).await;
    assert!(
        answer.contains("access-control-allow-origin: https://chat.example"),
        "{answer}"
    );
    let answer = raw(&edge, ask("https://evil.example").as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && !answer.contains("allow-origin"),
        "{answer}"
    );
}
