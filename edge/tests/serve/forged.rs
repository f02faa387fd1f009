//! Targets that hide an address which a component was not granted: none is connected to.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::harness::{Edge, one};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Where a redirect of ours leads.
const METADATA: &str = "http://169.254.169.254/latest/meta-data/";

/// Every way to say "this machine" or "a machine of this network" that parsers have been
/// known to take. `P` is the port of a listener on all addresses of this machine.
const FORGED: [&str; 64] = [
    "http://127.0.0.1:P/",
    "http://127.0.0.2:P/",
    "http://127.255.255.254:P/",
    "http://127.1:P/",
    "http://127.0.1:P/",
    "http://2130706433:P/",
    "http://0x7f000001:P/",
    "http://0x7f.0x0.0x0.0x1:P/",
    "http://0x7f.1:P/",
    "http://0177.0.0.1:P/",
    "http://0177.0.0.01:P/",
    "http://017700000001:P/",
    "http://0000000177.0.0.1:P/",
    "http://127.0.0.1.:P/",
    "http://127.000.000.001:P/",
    "http://127.0.0.1%20:P/",
    "http://127.0.0.1%00:P/",
    "http://127%2e0%2e0%2e1:P/",
    "http://%31%32%37.0.0.1:P/",
    "http://\u{2460}27.0.0.1:P/",
    "http://127\u{3002}0\u{3002}0\u{3002}1:P/",
    "http://0.0.0.0:P/",
    "http://0:P/",
    "http://0x0:P/",
    "http://localhost:P/",
    "http://LOCALHOST:P/",
    "http://localhost.:P/",
    "http://localhost.localdomain:P/",
    "http://ip6-localhost:P/",
    "http://[::1]:P/",
    "http://[0:0:0:0:0:0:0:1]:P/",
    "http://[0000::0001]:P/",
    "http://[::]:P/",
    "http://[::ffff:127.0.0.1]:P/",
    "http://[::ffff:7f00:1]:P/",
    "http://[0:0:0:0:0:ffff:7f00:0001]:P/",
    "http://[::127.0.0.1]:P/",
    "http://[64:ff9b::7f00:1]:P/",
    "http://[64:ff9b:1::7f00:1]:P/",
    "http://[2002:7f00:1::]:P/",
    "http://[::1%25lo]:P/",
    "http://[fe80::1]:P/",
    "http://[fd00::1]:P/",
    "http://[fec0::1]:P/",
    "http://[ff02::1]:P/",
    "http://granted.test@127.0.0.1:P/",
    "http://granted.test:80@127.0.0.1:P/",
    "http://127.0.0.1:P@granted.test/",
    "http://granted.test#@127.0.0.1:P/",
    "http://granted.test\\@127.0.0.1:P/",
    "http://127.0.0.1:P\\@granted.test/",
    "//127.0.0.1:P/",
    "http:///127.0.0.1:P/",
    "http:127.0.0.1:P/",
    "gopher://127.0.0.1:P/",
    "file:///etc/passwd",
    METADATA,
    "http://2852039166/latest/meta-data/",
    "http://[::ffff:a9fe:a9fe]/latest/meta-data/",
    "http://10.0.0.1:P/",
    "http://172.16.0.1:P/",
    "http://192.168.0.1:P/",
    "http://100.64.0.1:P/",
    "http://198.18.0.1:P/",
];

/// What an attempt to connect would have ended with: not one of these.
const TRIED: [&str; 4] = [
    "ConnectionRefused",
    "ConnectionTimeout",
    "ConnectionTerminated",
    "DestinationUnavailable",
];

/// Counts who connects, on every address of this machine, and redirects them.
async fn listener(address: SocketAddr, count: &Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::clone(count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Relaxed);
            // To the end of its head, lest what is not read resets the answer.
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let answer = format!(
                "HTTP/1.1 302 Found\r\nlocation: {METADATA}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

/// A URL as the query of another one.
fn escaped(url: &str) -> String {
    let escape = |byte: u8| match byte {
        b'#' | b'\\' | b'%' | b' ' | 0x80.. => format!("%{byte:02x}"),
        byte => char::from(byte).to_string(),
    };
    url.bytes().map(escape).collect()
}

#[tokio::test]
async fn no_forged_target_is_connected_to() {
    let count = Arc::<AtomicUsize>::default();
    let port = listener((Ipv4Addr::UNSPECIFIED, 0).into(), &count).await;
    // Where this machine has IPv6: the same port there, for itself.
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok() {
        listener((Ipv6Addr::LOCALHOST, port).into(), &count).await;
    }
    let edge = Edge::start(&one(
        "allowed_outbound_hosts = [\"http://*:*\", \"https://*:*\", \"http://granted.test\"]",
    ));
    for target in FORGED {
        let target = target.replace(":P", &format!(":{port}"));
        let path = format!("/outcome?{}", escaped(&target));
        let asked = edge.get(&path);
        let asked = tokio::time::timeout(Duration::from_secs(20), asked).await;
        let (status, outcome) = asked.unwrap_or_else(|_| panic!("{target} hangs"));
        assert!(
            status == 200 || status == 502,
            "{target}: {status} {outcome}"
        );
        let tried = TRIED.iter().any(|error| outcome.contains(error));
        assert!(!tried && outcome != "302", "{target} was tried: {outcome}");
        assert_eq!(count.load(Relaxed), 0, "{target} was connected to");
    }
    // The same address, granted by itself; and a redirect goes nowhere by itself.
    let edge = Edge::start(&one(&format!(
        "allowed_outbound_hosts = [\"http://127.0.0.1:{port}\"]"
    )));
    let outcome = edge
        .get(&format!("/outcome?http://127.0.0.1:{port}/"))
        .await;
    assert_eq!(outcome, (200, "302".to_owned()));
    assert_eq!(count.load(Relaxed), 1);
    let (_, outcome) = edge.get(&format!("/outcome?{METADATA}")).await;
    assert!(outcome.contains("Denied"), "{outcome}");
}
