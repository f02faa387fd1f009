//! Components that attack the host or their neighbours, many times each.
//!
//! `SKERRY_HOSTILE_RUNS=1000` runs each attack so often (the default is for every day), and
//! `SKERRY_HOSTILE_ATTACKS=/memory,/tables` these alone, once each was run a few times;
//! with `--nocapture` a table says how the attacks ended, and what they cost the neighbours
//! and the host's memory.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a helper that fails is a failed test; its figures are printed"
)]

use crate::harness::{Body, Edge, HEAD, WAIT_MAX, client, probe, until};
use crate::neighbour::{self, Count, Neighbour, alone, percentile};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often each attack is run where nothing else is said.
const RUNS: usize = 10;
/// Attacks at the same time.
const ATTACKERS: usize = 4;
/// Turns that an attack and a neighbour take: an answer comes after each start of an attack.
const TURNS: usize = 5;
/// A neighbour's answers with nobody beside it, before each attack.
const ALONE: usize = 50;
/// How long the client of an attack without an end waits before it leaves.
const PATIENCE: Duration = Duration::from_millis(50);
/// CPU without progress, so that loops do not take all day.
const CPU_MS: &str = "cpu-ms=100";
/// How long calls may go on for nobody.
const AFTERWARDS_MS: &str = "afterwards-ms=300";
/// What the pool keeps mapped of the memories that are free: a hundred of them, 256 KiB each.
/// How many were used at once is chance.
const WARM_BYTES: usize = 100 * (256 << 10);

/// How one run of an attack ended for the client that asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// An answer with this status and a whole body.
    Whole(u16),
    /// An answer with this status whose body did not end as it should.
    Broken(u16),
    /// The connection ended before an answer.
    Cut,
    /// There was no end, and the client left.
    Left,
}

/// An attack, and how it may end.
struct Attack {
    path: &'static str,
    ends: &'static [End],
}

/// A trap or a limit ends the instance, and all that it serves at that moment.
const STOPPED: End = End::Whole(500);
const REFUSED: End = End::Whole(200);

const ATTACKS: [Attack; 13] = [
    of("/loop", &[STOPPED]),
    of("/recursion", &[STOPPED]),
    of("/memory", &[STOPPED]),
    of("/tables", &[STOPPED]),
    of("/resources", &[STOPPED]),
    of("/fields", &[REFUSED, STOPPED]),
    of("/clock-storm", &[STOPPED]),
    of("/store-storm", &[End::Left]),
    of("/huge-key", &[REFUSED, STOPPED]),
    of("/huge-field", &[REFUSED, STOPPED]),
    of("/trap-mid-stream", &[End::Broken(200), STOPPED]),
    of("/never-closed", &[End::Left, End::Broken(200), STOPPED]),
    of("/responses", &[STOPPED]),
];

const fn of(path: &'static str, ends: &'static [End]) -> Attack {
    Attack { path, ends }
}

impl Attack {
    fn is_endless(&self) -> bool {
        self.ends.contains(&End::Left)
    }
}

fn manifest() -> String {
    let stores = "key_value_stores = [\"default\"]";
    let hostile = probe("hostile", "/...", stores).replace("/probe.wasm", "/hostile.wasm");
    format!(
        "{HEAD}{hostile}{}",
        probe("neighbour", neighbour::ROUTE, "")
    )
}

/// Runs one attack once.
async fn strike(client: &Client<HttpConnector, Body>, edge: &Edge, attack: &Attack) -> End {
    let request = http::Request::post(format!("{}{}", edge.http, attack.path));
    let request = request.body(Full::from("unread").boxed()).unwrap();
    let ended = async {
        let Ok(answer) = client.request(request).await else {
            return End::Cut;
        };
        let status = answer.status().as_u16();
        match answer.into_body().collect().await {
            Ok(_) => End::Whole(status),
            Err(_) => End::Broken(status),
        }
    };
    if attack.is_endless() {
        return tokio::time::timeout(PATIENCE, ended)
            .await
            .unwrap_or(End::Left);
    }
    let ended = tokio::time::timeout(WAIT_MAX, ended).await;
    ended.unwrap_or_else(|_| panic!("{} does not end", attack.path))
}

/// At least so many runs of one attack, and more until a neighbour was answered in turns with
/// them: how they ended, and how long the neighbour's answers took.
async fn beside_a_neighbour(
    edge: &Arc<Edge>,
    attack: &'static Attack,
    runs: usize,
) -> (BTreeMap<End, usize>, Vec<Duration>) {
    let neighbour = Neighbour::of(edge);
    let (begun, is_enough) = (Count::new(), Arc::<AtomicBool>::default());
    let ends = Arc::<Mutex<BTreeMap<End, usize>>>::default();
    let mut attackers = tokio::task::JoinSet::new();
    for _ in 0..ATTACKERS {
        let (edge, begun, is_enough) = (Arc::clone(edge), begun.clone(), Arc::clone(&is_enough));
        let ends = Arc::clone(&ends);
        attackers.spawn(async move {
            let client = client();
            while begun.now() < runs || !is_enough.load(Relaxed) {
                begun.add(1);
                let end = strike(&client, &edge, attack).await;
                *ends.lock().unwrap().entry(end).or_default() += 1;
            }
        });
    }
    neighbour.takes_turns(&begun, TURNS).await;
    is_enough.store(true, Relaxed);
    attackers.join_all().await;
    let took = neighbour.leaves().await;
    let ends = std::mem::take(&mut *ends.lock().unwrap());
    let is_allowed = ends.keys().all(|end| attack.ends.contains(end));
    assert!(is_allowed, "{} ended otherwise: {ends:?}", attack.path);
    (ends, took)
}

/// Waits until nothing of what ran is left.
async fn settled(edge: &Edge) {
    until("all instances have gone", || async {
        edge.figure("edge_instances").await < 0.5
            && edge.figure("edge_requests_in_flight").await < 0.5
    })
    .await;
}

/// A line of the table: a neighbour's answers, how long they took, and the process's memory.
fn row(edge: &Edge, attack: &str, took: &mut [Duration], ends: &str) {
    let (p50, p99) = (percentile(took, 50), percentile(took, 99));
    let resident = edge.resident_bytes() >> 20;
    let answers = took.len();
    println!("{attack:18}{answers:>10}{p50:>12.2}{p99:>12.2}{resident:>12}  {ends}");
}

/// Every answer to the neighbour of an attack is right, at least five of them were asked for
/// and came while the attack went on, and no attack ends otherwise than it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attack_reaches_the_host_or_a_neighbour() {
    let runs = std::env::var("SKERRY_HOSTILE_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    let only = std::env::var("SKERRY_HOSTILE_ATTACKS").unwrap_or_default();
    let asked = |attack: &&Attack| only.is_empty() || only.split(',').any(|o| o == attack.path);
    let attacks: Vec<&Attack> = ATTACKS.iter().filter(asked).collect();
    assert!(!attacks.is_empty(), "{only} is no attack");
    let edge = Edge::start_with(
        &manifest(),
        &[
            ["--limit", CPU_MS].as_slice(),
            &["--limit", AFTERWARDS_MS, "--quiet"],
        ]
        .concat(),
    );
    let edge = Arc::new(edge);
    // Every attack once, so that what the host keeps for the next time is there.
    for attack in &ATTACKS {
        beside_a_neighbour(&edge, attack, ATTACKERS).await;
    }
    settled(&edge).await;
    let (before, pid) = (edge.resident_bytes(), edge.pid());
    println!(
        "{:18}{:>10}{:>12}{:>12}{:>12}  ends",
        "attack", "answers", "p50, ms", "p99, ms", "RSS, MiB"
    );
    // In parts, for a machine that is shared has its hours.
    let mut undisturbed = Vec::new();
    for attack in attacks {
        undisturbed.extend(alone(&edge, ALONE).await);
        let (ends, mut took) = beside_a_neighbour(&edge, attack, runs).await;
        settled(&edge).await;
        row(&edge, attack.path, &mut took, &format!("{ends:?}"));
    }
    row(&edge, "none", &mut undisturbed, "");
    let after = edge.resident_bytes();
    println!(
        "RSS: {} MiB before, {} MiB after",
        before >> 20,
        after >> 20
    );
    assert!(edge.is_alive() && edge.pid() == pid);
    // A leak of a page a run would be far less than this; one of a memory is far more.
    assert!(
        after < before + before / 20 + WARM_BYTES,
        "{before} bytes were {after} at the end"
    );
}
