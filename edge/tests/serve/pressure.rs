//! More than can be done, for longer than a moment: too many requests, many streams beside an
//! endless loop, a thousand slow clients, and memories that are used over and over.
//!
//! `SKERRY_PRESSURE_S=60` lets each last so long, and `SKERRY_PRESSURE_CYCLES=100000` has so
//! many instances looked at (the defaults are for every day); with `--nocapture` tables say
//! what was measured.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a helper that fails is a failed test; its figures are printed"
)]

use crate::harness::{Body, Edge, HEAD, WAIT_MAX, client, one, probe, until};
use crate::hostile::{alone, percentile};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long load lasts where nothing else is said.
const SECONDS: u64 = 2;
/// Instances that are looked at where nothing else is said.
const CYCLES: usize = 400;
/// One request of CPU: some ten milliseconds of it, in one chunk, so that this client can ask
/// for ten times what is served.
const WORK: &str = "/saturate?1,30000000,0";
/// Where requests are shed by default.
const QUEUE_DELAY: &str = "queue-delay-ms=100";
/// What is shed leaves connections that linger; their number is not what is asked here.
const CONNECTIONS: &str = "connections-per-address=10000";
/// Requests at once that saturate two cores.
const CLOSED: usize = 16;
/// How long it takes until more cannot be made for clients that hardly take any.
const FILLED: Duration = Duration::from_secs(5);
/// What an open-loop client has waiting at most: sockets are not endless either.
const OPEN_MAX: usize = 1_000;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |number| number.parse().unwrap())
}

fn lasting() -> Duration {
    Duration::from_secs(number("SKERRY_PRESSURE_S", SECONDS))
}

fn get(url: &str) -> http::Request<Body> {
    http::Request::get(url)
        .body(Full::default().boxed())
        .unwrap()
}

/// A hostile component and a neighbour at `/served`.
fn beside_hostile() -> String {
    let hostile = probe("hostile", "/...", "").replace("/probe.wasm", "/hostile.wasm");
    format!(
        "{HEAD}{hostile}{}{}",
        probe("neighbour", "/served", ""),
        probe("streams", "/stream", "")
    )
}

// ── More requests than can be served ─────────────────────────────────────────

/// What came of load.
#[derive(Debug, Default)]
struct Outcome {
    served: Vec<Duration>,
    shed: Vec<Duration>,
    /// Never sent, as too many were waiting.
    unsent: usize,
    seconds: f64,
}

impl Outcome {
    fn goodput(&self) -> f64 {
        self.served.len() as f64 / self.seconds
    }

    fn row(&mut self, name: &str, peak: f64) {
        let goodput = self.goodput();
        println!(
            "{name:14}{goodput:>12.1}{:>10.2}{:>10}{:>14.1}{:>14.1}{:>9}",
            goodput / peak,
            self.shed.len(),
            percentile(&mut self.served, 99),
            percentile(&mut self.shed, 99),
            self.unsent
        );
    }
}

/// One request; whether it was served, and how long that took.
async fn ask(client: &Client<HttpConnector, Body>, url: &str) -> (bool, Duration) {
    let start = Instant::now();
    let answer = client.request(get(url)).await.unwrap();
    let status = answer.status().as_u16();
    let may_return = answer.headers().contains_key("retry-after");
    answer.into_body().collect().await.unwrap();
    let served = match status {
        200 => true,
        503 => false,
        other => panic!("neither served nor shed: {other}"),
    };
    assert!(served || may_return, "shed without Retry-After");
    (served, start.elapsed())
}

/// As many requests as are answered, by so many clients.
async fn closed_loop(url: &str, lasts: Duration) -> Outcome {
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLOSED {
        let url = url.to_owned();
        clients.spawn(async move {
            let (client, mut took) = (client(), Vec::new());
            while start.elapsed() < lasts {
                let (served, time) = ask(&client, &url).await;
                took.push((served, time));
            }
            took
        });
    }
    let took: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    sorted(took, start.elapsed())
}

fn sorted(took: Vec<(bool, Duration)>, lasted: Duration) -> Outcome {
    let mut outcome = Outcome {
        seconds: lasted.as_secs_f64(),
        ..Outcome::default()
    };
    for (served, time) in took {
        let list = if served {
            &mut outcome.served
        } else {
            &mut outcome.shed
        };
        list.push(time);
    }
    outcome
}

/// So many requests a second, whatever becomes of those before.
async fn open_loop(url: &str, per_second: f64, lasts: Duration) -> Outcome {
    let (client, start) = (client(), Instant::now());
    let (mut sent, mut unsent) = (0, 0);
    let (mut asked, mut took) = (JoinSet::new(), Vec::new());
    while start.elapsed() < lasts {
        let due = (start.elapsed().as_secs_f64() * per_second) as usize;
        while sent < due {
            sent += 1;
            if asked.len() >= OPEN_MAX {
                unsent += 1;
                continue;
            }
            let (client, url) = (client.clone(), url.to_owned());
            asked.spawn(async move { ask(&client, &url).await });
        }
        while let Some(done) = asked.try_join_next() {
            took.push(done.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let lasted = start.elapsed();
    // What is answered only after the end is none of this time's goodput.
    let late = asked.join_all().await;
    assert!(late.iter().all(|(_, time)| *time < WAIT_MAX));
    Outcome {
        unsent,
        ..sorted(took, lasted)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_shed_and_the_rest_is_served() {
    let edge = Edge::start_with(
        &one(""),
        &["--limit", CONNECTIONS, "--limit", QUEUE_DELAY, "--quiet"],
    );
    let (url, pid, lasts) = (format!("{}{WORK}", edge.http), edge.pid(), lasting());
    closed_loop(&url, Duration::from_secs(1)).await;
    let mut alone = closed_loop(&url, lasts).await;
    let peak = alone.goodput();
    println!(
        "{:14}{:>12}{:>10}{:>10}{:>14}{:>14}{:>9}",
        "load", "goodput/s", "of peak", "shed", "served p99", "shed p99, ms", "unsent"
    );
    alone.row("saturated", peak);
    for factor in [2.0, 10.0] {
        let mut outcome = open_loop(&url, peak * factor, lasts).await;
        outcome.row(&format!("{factor} times that"), peak);
        assert!(!outcome.served.is_empty(), "nothing is served any more");
        if factor > 2.0 {
            assert!(!outcome.shed.is_empty(), "nothing is shed");
        }
        until("the line is gone", || async {
            let answer = client().request(get(&url)).await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }
    assert!(edge.is_alive() && edge.pid() == pid);
}

// ── Streams beside an endless loop ───────────────────────────────────────────

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_whole_beside_an_endless_loop() {
    let lasts = lasting();
    let streams = if lasts.as_secs() > SECONDS {
        1_000
    } else {
        100
    };
    let lines = lasts.as_millis() / 50;
    let limits = ["--limit", "cpu-ms=100", "--quiet"];
    let edge = Arc::new(Edge::start_with(&beside_hostile(), &limits));
    let done = Arc::<AtomicBool>::default();
    let looping = {
        let (edge, done) = (Arc::clone(&edge), Arc::clone(&done));
        tokio::spawn(async move {
            let mut took = Vec::new();
            while !done.load(Relaxed) {
                let start = Instant::now();
                let (status, _) = edge.get("/loop").await;
                assert_eq!(status, 500, "a loop was not stopped");
                took.push(start.elapsed());
            }
            took
        })
    };
    let whole: String = (0..lines).map(|line| format!("line {line}\n")).collect();
    let whole = Arc::new(whole);
    let mut asked = JoinSet::new();
    for _ in 0..streams {
        let (edge, whole) = (Arc::clone(&edge), Arc::clone(&whole));
        asked.spawn(async move {
            let url = format!("{}/stream?{lines},50", edge.http);
            let answer = client().request(get(&url)).await.unwrap();
            assert_eq!(answer.status(), 200);
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(bytes == whole.as_bytes(), "a stream is not whole");
        });
    }
    asked.join_all().await;
    done.store(true, Relaxed);
    let mut took = looping.await.unwrap();
    assert!(!took.is_empty());
    let stops = edge.figure("edge_cpu_stops_total").await;
    println!(
        "{streams} streams of {lines} lines are whole; {} loops stopped ({stops} counted), \
         after {:.1} ms in the median, p99 {:.1} ms",
        took.len(),
        percentile(&mut took, 50),
        percentile(&mut took, 99)
    );
    assert!(stops >= took.len() as f64);
}

// ── Slow clients ─────────────────────────────────────────────────────────────

/// A client that says or takes a byte now and then, until it is cut or told to stop.
async fn dawdle(address: &str, number: usize, done: &AtomicBool, held: &AtomicUsize) {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return;
    };
    let words: &[u8] = match number % 3 {
        0 => b"GET /served HTTP/1.1\r\nhost: x\r\nx-slow: ",
        1 => b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n",
        // There is always more to take than it takes.
        _ => b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n",
    };
    if stream.write_all(words).await.is_err() {
        return;
    }
    held.fetch_add(1, Relaxed);
    while !done.load(Relaxed) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let alive = match number % 3 {
            2 => stream.read(&mut [0]).await.is_ok_and(|bytes| bytes > 0),
            _ => stream.write_all(b"x").await.is_ok(),
        };
        if !alive {
            break;
        }
    }
    held.fetch_sub(1, Relaxed);
}

/// A slow client that comes again whenever it is cut.
async fn slow(address: String, number: usize, done: Arc<AtomicBool>, held: Arc<AtomicUsize>) {
    while !done.load(Relaxed) {
        dawdle(&address, number, &done, &held).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_clients_are_no_ones_harm() {
    let lasts = lasting();
    let slow_ones = 1_000;
    let edge = Edge::start_with(&one(""), &["--quiet"]);
    let mut before = alone(&edge, lasts).await;
    let resident = edge.resident_bytes();
    let (done, held) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut clients = JoinSet::new();
    for number in 0..slow_ones {
        let (done, held) = (Arc::clone(&done), Arc::clone(&held));
        clients.spawn(slow(edge.address(), number, done, held));
    }
    until("all are there", || async {
        held.load(Relaxed) == slow_ones
    })
    .await;
    // Until what is made for those that take a byte a second fills every buffer: that is
    // work, and not slow.
    tokio::time::sleep(FILLED).await;
    let mut during = alone(&edge, lasts).await;
    println!(
        "beside {} slow clients: p50 {:.2} ms, was {:.2}; p99 {:.2} ms, was {:.2}; \
         {} MiB, was {}",
        held.load(Relaxed),
        percentile(&mut during, 50),
        percentile(&mut before, 50),
        percentile(&mut during, 99),
        percentile(&mut before, 99),
        edge.resident_bytes() >> 20,
        resident >> 20
    );
    done.store(true, Relaxed);
    clients.join_all().await;
    until("nothing of them is left", || async {
        edge.figure("edge_requests_in_flight").await < 0.5
    })
    .await;
}

// ── Memories ─────────────────────────────────────────────────────────────────

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_instance_is_seen_by_the_next() {
    // In one instance the canary is found: whoever looks can see.
    let edge = Edge::start_with(&beside_hostile(), &["--quiet"]);
    // The first changes its lane, for it is busy: the second is where the look goes too.
    for _ in 0..2 {
        assert_eq!(edge.get("/plant").await.1, "planted");
    }
    let (_, seen) = edge.get("/look").await;
    assert!(seen.parse::<usize>().unwrap() > 100_000, "{seen}");
    drop(edge);

    let cycles = number("SKERRY_PRESSURE_CYCLES", CYCLES as u64);
    let limits = ["--limit", "instance-requests=1", "--quiet"];
    let edge = Arc::new(Edge::start_with(&beside_hostile(), &limits));
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let edge = Arc::clone(&edge);
        clients.spawn(async move {
            let client = client();
            let text = async |path: &str| {
                let url = format!("{}{path}", edge.http);
                let answer = client.request(get(&url)).await.unwrap();
                answer.into_body().collect().await.unwrap().to_bytes()
            };
            for _ in 0..cycles / 8 {
                assert_eq!(text("/plant").await, "planted");
                assert_eq!(text("/look").await, "0", "another instance's memory");
            }
        });
    }
    clients.join_all().await;
    let made = edge.figure("edge_instantiations_total").await;
    println!("{made} instances, and none saw the canary of another");
    assert!(made >= (cycles / 8 * 8) as f64);
}
