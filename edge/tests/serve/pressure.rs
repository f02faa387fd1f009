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
use crate::neighbour::{Count, Neighbour, alone, percentile};
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
/// The share of the process's CPU time that goes into answers, at the least, however much is
/// asked. (README.md has 0.9 and more of the answers per second.)
const USEFUL_MIN: f64 = 0.5;
/// Slow clients at once, how many bytes they say or take until a good one is served in turn,
/// and how often that is done.
const SLOW: usize = 1_000;
const SLOW_BYTES: usize = 100;
const SLOW_TURNS: usize = 20;
/// What one of them may hold of the process's memory, on average: a third of them are sent a
/// stream without an end, of which their component holds 4 MiB, a thousand chunks.
const SLOW_HOLDS_BYTES_MAX: usize = 2 << 20;
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
    /// Served, but only after the time was over.
    served_late: usize,
    /// Never sent, as too many were waiting.
    unsent: usize,
    seconds: f64,
    /// What the process used until the last was answered.
    cpu_seconds: f64,
}

impl Outcome {
    fn goodput(&self) -> f64 {
        self.served.len() as f64 / self.seconds
    }

    /// What an answer costs of the process's CPU time, refusals included.
    fn cpu_seconds_each(&self) -> f64 {
        self.cpu_seconds / (self.served.len() + self.served_late) as f64
    }

    fn row(&mut self, name: &str, peak: f64, useful: f64) {
        let goodput = self.goodput();
        println!(
            "{name:14}{goodput:>12.1}{:>10.2}{:>10.2}{:>10}{:>14.1}{:>14.1}{:>9}",
            goodput / peak,
            useful,
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
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let served = match status {
        200 => true,
        503 => false,
        other => panic!("neither served nor shed: {other}"),
    };
    assert!(served || may_return, "shed without Retry-After");
    assert!(!served || body == "chunk\n", "an answer is not right");
    (served, start.elapsed())
}

/// As many requests as are answered, by so many clients.
async fn closed_loop(edge: &Edge, lasts: Duration) -> Outcome {
    let (start, cpu_before) = (Instant::now(), edge.cpu_seconds());
    let mut clients = JoinSet::new();
    for _ in 0..CLOSED {
        let url = format!("{}{WORK}", edge.http);
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
    Outcome {
        cpu_seconds: edge.cpu_seconds() - cpu_before,
        ..sorted(took, start.elapsed())
    }
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
async fn open_loop(edge: &Edge, per_second: f64, lasts: Duration) -> Outcome {
    let (client, start, cpu_before) = (client(), Instant::now(), edge.cpu_seconds());
    let url = format!("{}{WORK}", edge.http);
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
            let (client, url) = (client.clone(), url.clone());
            asked.spawn(async move { ask(&client, &url).await });
        }
        while let Some(done) = asked.try_join_next() {
            took.push(done.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let lasted = start.elapsed();
    // What is answered only after the end is none of this time's goodput.
    let late = tokio::time::timeout(WAIT_MAX, asked.join_all()).await;
    let late = late.unwrap();
    Outcome {
        unsent,
        served_late: late.iter().filter(|(served, _)| *served).count(),
        cpu_seconds: edge.cpu_seconds() - cpu_before,
        ..sorted(took, lasted)
    }
}

/// Every request is answered, rightly or with 503 and `Retry-After`; and most of what the
/// process does goes into answers, however much is refused. (In CPU time, for what else runs
/// on this machine changes how long anything takes.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_shed_and_most_cpu_time_goes_into_answers() {
    let edge = Edge::start_with(
        &one(""),
        &["--limit", CONNECTIONS, "--limit", QUEUE_DELAY, "--quiet"],
    );
    let (url, pid, lasts) = (format!("{}{WORK}", edge.http), edge.pid(), lasting());
    closed_loop(&edge, Duration::from_secs(1)).await;
    let mut saturated = closed_loop(&edge, lasts).await;
    let (peak, each) = (saturated.goodput(), saturated.cpu_seconds_each());
    println!(
        "{:14}{:>12}{:>10}{:>10}{:>10}{:>14}{:>14}{:>9}",
        "load", "goodput/s", "of peak", "useful", "shed", "served p99", "shed p99, ms", "unsent"
    );
    saturated.row("saturated", peak, 1.0);
    for factor in [2.0, 10.0] {
        let mut outcome = open_loop(&edge, peak * factor, lasts).await;
        let useful = each / outcome.cpu_seconds_each();
        outcome.row(&format!("{factor} times that"), peak, useful);
        assert!(useful > USEFUL_MIN, "{useful} of the CPU time is useful");
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
    let (done, stopped) = (Arc::<AtomicBool>::default(), Count::new());
    let looping = {
        let (edge, done, stopped) = (Arc::clone(&edge), Arc::clone(&done), stopped.clone());
        tokio::spawn(async move {
            let mut took = Vec::new();
            while !done.load(Relaxed) {
                let start = Instant::now();
                let (status, _) = edge.get("/loop").await;
                assert_eq!(status, 500, "a loop was not stopped");
                took.push(start.elapsed());
                stopped.add(1);
            }
            took
        })
    };
    // A loop follows the other from before the first stream until after the last.
    stopped.grows(1, "loops").await;
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
    stopped.grows(1, "loops").await;
    done.store(true, Relaxed);
    let mut took = looping.await.unwrap();
    println!(
        "{streams} streams of {lines} lines are whole; {} loops stopped, \
         after {:.1} ms in the median, p99 {:.1} ms",
        took.len(),
        percentile(&mut took, 50),
        percentile(&mut took, 99)
    );
    // It is counted when the instance has gone, which is after the answer.
    until("every stop is counted", || async {
        edge.figure("edge_cpu_stops_total").await >= took.len() as f64
    })
    .await;
}

// ── Slow clients ─────────────────────────────────────────────────────────────

/// What slow clients have done, and how many there are.
#[derive(Clone)]
struct Crowd {
    address: String,
    /// Bytes that were said or taken.
    bytes: Count,
    held: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
}

impl Crowd {
    /// A client that says or takes a byte a second, until it is cut or told to stop.
    async fn dawdle(&self, number: usize) {
        let Ok(mut stream) = TcpStream::connect(&self.address).await else {
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
        self.held.fetch_add(1, Relaxed);
        while !self.done.load(Relaxed) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let alive = match number % 3 {
                2 => stream.read(&mut [0]).await.is_ok_and(|bytes| bytes > 0),
                _ => stream.write_all(b"x").await.is_ok(),
            };
            if !alive {
                break;
            }
            self.bytes.add(1);
        }
        self.held.fetch_sub(1, Relaxed);
    }

    /// A slow client that comes again whenever it is cut.
    async fn slow(self, number: usize) {
        while !self.done.load(Relaxed) {
            self.dawdle(number).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Every answer to the one client that is not slow is right, they come in turns with what
/// the others say and take, and memory for these has a bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_thousand_slow_clients_every_answer_is_right() {
    let lasts = lasting();
    let grace = "body-grace-ms=600000";
    let edge = Edge::start_with(&one(""), &["--quiet", "--limit", grace]);
    let mut before = alone(&edge, 2 * SLOW_TURNS).await;
    let resident_before = edge.resident_bytes();
    let crowd = Crowd {
        address: edge.address(),
        bytes: Count::new(),
        held: Arc::default(),
        done: Arc::default(),
    };
    let mut clients = JoinSet::new();
    for number in 0..SLOW {
        clients.spawn(crowd.clone().slow(number));
    }
    until("all are there", || async {
        crowd.held.load(Relaxed) == SLOW
    })
    .await;
    let (start, neighbour) = (Instant::now(), Neighbour::of(&edge));
    for turn in 0.. {
        if turn >= SLOW_TURNS && start.elapsed() >= lasts {
            break;
        }
        crowd
            .bytes
            .grows(SLOW_BYTES, "what they say and take")
            .await;
        neighbour.answers.grows(2, "a neighbour's answers").await;
    }
    let (held, resident) = (crowd.held.load(Relaxed), edge.resident_bytes());
    let mut during = neighbour.leaves().await;
    println!(
        "beside {held} slow clients: p50 {:.2} ms, was {:.2}; p99 {:.2} ms, was {:.2}; \
         {} MiB, was {}",
        percentile(&mut during, 50),
        percentile(&mut before, 50),
        percentile(&mut during, 99),
        percentile(&mut before, 99),
        resident >> 20,
        resident_before >> 20
    );
    // Those that were cut come again after a second.
    assert!(held > SLOW * 9 / 10, "only {held} are there");
    assert!(edge.figure("edge_refused_total").await < 0.5, "refused");
    let each = resident.saturating_sub(resident_before) / SLOW;
    assert!(each < SLOW_HOLDS_BYTES_MAX, "{each} bytes for each");
    crowd.done.store(true, Relaxed);
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
