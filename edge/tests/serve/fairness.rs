//! What one address can take from others, by being slow, by holding bodies, by guessing keys.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::harness::{Edge, HEAD, WAIT_MAX, one, probe, until};
use crate::neighbour::Count;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Whoever connects says for whom.
const BALANCED: [&str; 2] = ["--proxy-protocol", "127.0.0.0/8"];
const ATTACKER: &str = "192.0.2.1";
const NEIGHBOUR: &str = "198.51.100.7";

/// A connection of a client at `address`, on which `words` were said.
async fn connect(edge: &Edge, address: &str, words: &str) -> TcpStream {
    let mut stream = TcpStream::connect(edge.address()).await.unwrap();
    let family = if address.contains(':') { 6 } else { 4 };
    let server = if family == 6 { "::1" } else { "10.0.0.1" };
    let head = format!("PROXY TCP{family} {address} {server} 40000 80\r\n{words}");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the server closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(WAIT_MAX, stream.read_to_end(&mut answer));
    let _ = read.await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    let length = match body.len() {
        0 => String::new(),
        bytes => format!("content-length: {bytes}\r\n"),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}{fields}\r\n\
         {body}"
    )
}

async fn ask(edge: &Edge, address: &str, request: &str) -> String {
    rest(connect(edge, address, request).await).await
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).map(str::parse);
    status.unwrap().unwrap()
}

async fn refused(edge: &Edge, reason: &str) -> f64 {
    let figure = format!("edge_refused_total{{reason=\"{reason}\"");
    edge.figure(&figure).await
}

/// Sends the head of a large body, and a byte now and then; and again when it is cut.
async fn trickle(edge: &Edge, address: &str) {
    let head = "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n";
    loop {
        let mut stream = connect(edge, address, head).await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Runs `work` beside so many endless `attacks`.
pub(crate) async fn beside<T>(
    number: usize,
    attack: impl AsyncFn(usize),
    work: impl Future<Output = T>,
) -> T {
    let attacks = futures::future::join_all((0..number).map(|number| attack(number)));
    tokio::select! {
        _ = attacks => unreachable!("attacks have no end"),
        done = work => done,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_of_one_address_refuse_nobody_else() {
    const PLACES: usize = 32;
    let limits = ["--limit", "requests=32", "--limit", "give-way-ms=100"];
    // Of one address, and of one /64 of IPv6 under many names.
    for attackers in [
        vec![ATTACKER.to_owned()],
        (1..=64).map(|n| format!("2001:db8::{n:x}")).collect(),
    ] {
        let edge = Edge::start_with(&one(""), &[&BALANCED[..], &limits[..]].concat());
        let attack = async |number: usize| {
            trickle(&edge, &attackers[number % attackers.len()]).await;
        };
        let neighbour = async {
            until("all places are taken", || async {
                refused(&edge, "gave-way").await > 0.5
            })
            .await;
            for turn in 0..100 {
                let answer = ask(&edge, NEIGHBOUR, &request("GET", "/stream?3,0", "", "")).await;
                assert_eq!(status(&answer), 200, "turn {turn}: {answer}");
                assert!(answer.contains("line 2\n"), "turn {turn}: {answer}");
            }
        };
        beside(2 * PLACES, attack, neighbour).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_does_not_give_way_and_leaves_others_their_share() {
    let limits = ["--limit", "requests=16", "--limit", "give-way-ms=1"];
    let edge = Edge::start_with(&one(""), &[&BALANCED[..], &limits[..]].concat());
    let stream = request("GET", "/stream?3,600000", "", "");
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut stream = connect(&edge, ATTACKER, &stream).await;
        stream.read_exact(&mut [0; 12]).await.unwrap();
        held.push(stream);
    }
    let get = request("GET", "/served", "", "");
    assert_eq!(
        status(&ask(&edge, NEIGHBOUR, &get).await),
        503,
        "all are served"
    );
    held.truncate(12);
    until("a neighbour has a place", || async {
        status(&ask(&edge, NEIGHBOUR, &get).await) == 200
    })
    .await;
    // The last quarter is for others.
    for _ in 0..20 {
        assert_eq!(status(&ask(&edge, ATTACKER, &get).await), 503);
        assert_eq!(status(&ask(&edge, NEIGHBOUR, &get).await), 200);
    }
    let mut peeked = [0; 1];
    for stream in &mut held {
        let end = stream.try_read(&mut peeked);
        assert!(!matches!(end, Ok(0)), "a stream that was served has ended");
    }
    assert!(refused(&edge, "gave-way").await < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_has_to_come_and_one_that_does_is_taken() {
    let limits = [
        "--limit",
        "body-grace-ms=500",
        "--limit",
        "body-bytes-per-second=1000",
    ];
    let edge = Edge::start_with(&one(""), &limits);
    let post = async |edge: &Edge, bytes: usize, piece: usize| {
        let head = format!("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n");
        let mut stream = TcpStream::connect(edge.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let piece = vec![b'x'; piece];
        let writing = async {
            for _ in 0..bytes / piece.len() {
                if write.write_all(&piece).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut status = [0; 12];
            read.read_exact(&mut status).await.unwrap();
            String::from_utf8_lossy(&status)[9..]
                .parse::<u16>()
                .unwrap()
        };
        tokio::select! {
            status = reading => status,
            () = writing => unreachable!("it goes on until there is an answer"),
        }
    };
    // 25 bytes a second are too few, and so are none at all.
    assert_eq!(post(&edge, 100_000, 1).await, 408);
    assert_eq!(post(&edge, 100, 200).await, 408);
    assert!((refused(&edge, "slow-body").await - 2.0).abs() < 0.1);
    // So long that the grace is over many times.
    assert_eq!(post(&edge, 50 * 4_000, 4_000).await, 200);
    // An answer is no body, and need not wait for one.
    let stream = request("POST", "/stream?3,1500", "content-length: 10\r\n", "");
    let mut connection = TcpStream::connect(edge.address()).await.unwrap();
    connection.write_all(stream.as_bytes()).await.unwrap();
    assert!(rest(connection).await.contains("line 2\n"));
    // Fast enough, and for too long.
    let edge = Edge::start_with(&one(""), &["--limit", "body-ms=1000"]);
    assert_eq!(post(&edge, 4_000_000, 4_000).await, 408);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_held_have_little_memory_in_sum() {
    const HELD: usize = 80;
    const BODY_BYTES: usize = 3_900_000;
    // What a component holds of a body is more than the body, for it grows.
    const GROWTH_BYTES_MAX: usize = 240 << 20;
    let limits = ["--limit", "bodies-mib=32", "--limit", "give-way-ms=200"];
    let edge = Edge::start_with(&one(""), &[&BALANCED[..], &limits[..]].concat());
    let large = "x".repeat(1_000_000);
    let ask_large = async || ask(&edge, NEIGHBOUR, &request("POST", "/length", "", &large)).await;
    // An answer that is not whole at once comes in chunks.
    assert!(ask_large().await.contains("1000000"));
    let before = edge.resident_bytes();
    let written = Count::new();
    let attack = async |_| {
        // All but the last byte, and then nothing; and again.
        let head =
            format!("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
        loop {
            let mut stream = connect(&edge, ATTACKER, &head).await;
            let body = vec![b'x'; BODY_BYTES - 1];
            if stream.write_all(&body).await.is_ok() {
                written.add(1);
                let _ = stream.read(&mut [0; 64]).await;
            }
        }
    };
    let mut peak = 0;
    let neighbour = async {
        written.reaches(8, "bodies that are held").await;
        for turn in 0..20 {
            let answer = ask_large().await;
            assert_eq!(status(&answer), 200, "turn {turn}: {answer}");
            assert!(answer.contains("1000000"), "turn {turn}: {answer}");
            peak = peak.max(edge.resident_bytes());
        }
    };
    beside(HELD, attack, neighbour).await;
    println!("{} MiB were {}", before >> 20, peak >> 20);
    assert!(
        peak < before + GROWTH_BYTES_MAX,
        "{before} bytes were {peak}"
    );
}

/// A platform that knows one key.
fn guarded() -> String {
    let locked = "[[trigger.http]]\nroute = \"/private/locked\"\n\
                  static_response = { status_code = 401 }\n";
    format!("{HEAD}{locked}{}", probe("probe", "/...", ""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_keys_is_told_to_wait_and_nobody_else() {
    let limits = [
        "unproven-credentials=10",
        "unproven-credentials-per-minute=1",
    ];
    let limits = limits.map(|limit| ["--limit", limit]).concat();
    let limits: Vec<&str> = BALANCED.into_iter().chain(limits).collect();
    let edge = Edge::start_with(&guarded(), &limits);
    let get = |path: &str, key: &str| {
        let field = format!("authorization: Bearer {key}\r\n");
        request("GET", path, if key.is_empty() { "" } else { &field }, "")
    };
    let of = async |address: &str, path: &str, key: &str| {
        let answer = ask(&edge, address, &get(path, key)).await;
        let status = status(&answer);
        assert_eq!(
            answer.contains("\r\nretry-after: "),
            status == 429,
            "{answer}"
        );
        status
    };
    assert_eq!(of(ATTACKER, "/private/served", "right").await, 200);
    let mut guesses = JoinSet::new();
    for guess in 0..50 {
        let (address, words) = (
            edge.address(),
            get("/private/locked", &format!("guess-{guess}")),
        );
        let head = format!("PROXY TCP4 {ATTACKER} 10.0.0.1 40000 80\r\n{words}");
        guesses.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            status(&rest(stream).await)
        });
    }
    let statuses = guesses.join_all().await;
    let count = |status: u16| statuses.iter().filter(|it| **it == status).count();
    assert!(
        count(401) <= 11 && count(401) + count(429) == 50,
        "{statuses:?}"
    );
    // Behind the same address: who has a right key, and who has none at all, goes on.
    for _ in 0..20 {
        assert_eq!(of(ATTACKER, "/private/served", "right").await, 200);
        assert_eq!(of(ATTACKER, "/private/locked", "").await, 401);
    }
    // A key that was proven elsewhere is not proven here.
    assert_eq!(of(NEIGHBOUR, "/served", "elsewhere").await, 200);
    assert_eq!(of(ATTACKER, "/private/locked", "elsewhere").await, 429);
    // Another address has its own.
    assert_eq!(of(NEIGHBOUR, "/private/locked", "new").await, 401);
    assert_eq!(of(NEIGHBOUR, "/private/served", "newer").await, 200);
    // One wrong key, again and again, is one.
    for _ in 0..50 {
        assert_eq!(of(NEIGHBOUR, "/private/locked", "broken").await, 401);
    }
    assert_eq!(of(NEIGHBOUR, "/private/served", "newest").await, 200);
    assert!(refused(&edge, "unknown-credentials").await >= 39.0);
}
