//! Components that attack the host or their neighbours, many times each.
//!
//! `SKERRY_HOSTILE_RUNS=1000` runs each attack so often (the default is for every day), and
//! `SKERRY_HOSTILE_ATTACKS=/memory,/tables` these alone, once each was run a few times;
//! with `--nocapture` a table says what it cost the neighbours and the host's memory.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::harness::{Body, Edge, HEAD, WAIT_MAX, client, probe, until};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often each attack is run where nothing else is said.
const RUNS: usize = 10;
/// Attacks at the same time.
const ATTACKERS: usize = 4;
/// CPU without progress, so that loops do not take all day.
const CPU_MS: &str = "cpu-ms=100";
/// How long calls may go on for nobody.
const AFTERWARDS_MS: &str = "afterwards-ms=300";
/// What the pool keeps mapped of the memories that are free: a hundred of them, 256 KiB each.
/// How many were used at once is chance.
const WARM_BYTES: usize = 100 * (256 << 10);

/// An attack, and how it may end for the client that asked for it.
struct Attack {
    path: &'static str,
    statuses: &'static [u16],
    /// It has no end: its client leaves.
    leaves: bool,
}

const fn ends(path: &'static str, statuses: &'static [u16]) -> Attack {
    Attack {
        path,
        statuses,
        leaves: false,
    }
}

const fn endless(path: &'static str, statuses: &'static [u16]) -> Attack {
    Attack {
        path,
        statuses,
        leaves: true,
    }
}

const ATTACKS: [Attack; 13] = [
    ends("/loop", &[500]),
    ends("/recursion", &[500]),
    ends("/memory", &[500]),
    ends("/tables", &[500]),
    ends("/resources", &[500]),
    ends("/fields", &[200, 500]),
    ends("/clock-storm", &[500]),
    endless("/store-storm", &[]),
    ends("/huge-key", &[200, 500]),
    ends("/huge-field", &[200, 500]),
    // One that shares its instance with a trap ends with it.
    ends("/trap-mid-stream", &[200, 500]),
    endless("/never-closed", &[200, 500]),
    ends("/responses", &[500]),
];

fn manifest() -> String {
    let stores = "key_value_stores = [\"default\"]";
    let hostile = probe("hostile", "/...", stores).replace("/probe.wasm", "/hostile.wasm");
    format!("{HEAD}{hostile}{}", probe("neighbour", "/served", ""))
}

/// Runs one attack once.
async fn strike(client: &Client<HttpConnector, Body>, edge: &Edge, attack: &Attack) {
    let request = http::Request::post(format!("{}{}", edge.http, attack.path));
    let request = request.body(Full::from("unread").boxed()).unwrap();
    let asked = client.request(request);
    if attack.leaves {
        let patience = Duration::from_millis(50);
        // One that ends its instance may take an answer's head along.
        if let Ok(Ok(answer)) = tokio::time::timeout(patience, asked).await {
            let status = answer.status().as_u16();
            assert!(
                attack.statuses.contains(&status),
                "{}: {status}",
                attack.path
            );
        }
        return;
    }
    // One that ends its instance may take an answer's head along.
    let Ok(answer) = tokio::time::timeout(WAIT_MAX, asked).await.unwrap() else {
        return;
    };
    let status = answer.status().as_u16();
    assert!(
        attack.statuses.contains(&status),
        "{}: {status}",
        attack.path
    );
    let _ = answer.into_body().collect().await;
}

/// Asks a neighbour over and over, until told to stop: how long each answer took.
pub(crate) async fn neighbour(url: String, done: Arc<AtomicBool>) -> Vec<Duration> {
    let client = client();
    let mut took = Vec::new();
    while !done.load(Relaxed) {
        let start = Instant::now();
        let request = http::Request::get(&url)
            .body(Full::default().boxed())
            .unwrap();
        let answer = client.request(request).await.unwrap();
        assert_eq!(answer.status(), 200, "a neighbour is not answered");
        answer.into_body().collect().await.unwrap();
        took.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took
}

/// A neighbour for so long, and nobody else.
pub(crate) async fn alone(edge: &Edge, lasts: Duration) -> Vec<Duration> {
    let done = Arc::<AtomicBool>::default();
    let url = format!("{}/served", edge.http);
    let watched = tokio::spawn(neighbour(url, Arc::clone(&done)));
    tokio::time::sleep(lasts).await;
    done.store(true, Relaxed);
    watched.await.unwrap()
}

/// All runs of one attack, beside a neighbour.
async fn beside_a_neighbour(
    edge: &Arc<Edge>,
    attack: &'static Attack,
    runs: usize,
) -> Vec<Duration> {
    let done = Arc::<AtomicBool>::default();
    let watched = tokio::spawn(neighbour(
        format!("{}/served", edge.http),
        Arc::clone(&done),
    ));
    let mut attackers = tokio::task::JoinSet::new();
    for attacker in 0..ATTACKERS {
        let edge = Arc::clone(edge);
        attackers.spawn(async move {
            let client = client();
            for _ in (attacker..runs).step_by(ATTACKERS) {
                strike(&client, &edge, attack).await;
            }
        });
    }
    while let Some(ended) = attackers.join_next().await {
        ended.unwrap();
    }
    done.store(true, Relaxed);
    watched.await.unwrap()
}

/// In milliseconds.
pub(crate) fn percentile(took: &mut [Duration], per_cent: usize) -> f64 {
    took.sort();
    let at = took.len().saturating_sub(1) * per_cent / 100;
    took.get(at)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Waits until nothing of what ran is left.
async fn settled(edge: &Edge) {
    until("all instances have gone", || async {
        edge.figure("edge_instances").await < 0.5
            && edge.figure("edge_requests_in_flight").await < 0.5
    })
    .await;
}

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
        "{:18}{:>8}{:>14}{:>14}{:>12}",
        "attack", "runs", "p50, ms", "p99, ms", "RSS, MiB"
    );
    // In parts, for a machine that is shared has its hours.
    let mut undisturbed = Vec::new();
    for attack in attacks {
        undisturbed.extend(alone(&edge, Duration::from_millis(300)).await);
        let mut took = beside_a_neighbour(&edge, attack, runs).await;
        settled(&edge).await;
        let (p50, p99) = (percentile(&mut took, 50), percentile(&mut took, 99));
        let resident = edge.resident_bytes() >> 20;
        println!(
            "{:18}{runs:>8}{p50:>14.2}{p99:>14.2}{resident:>12}",
            attack.path
        );
    }
    let (p50, p99) = (
        percentile(&mut undisturbed, 50),
        percentile(&mut undisturbed, 99),
    );
    println!("{:18}{:>8}{p50:>14.2}{p99:>14.2}", "none", "");
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
