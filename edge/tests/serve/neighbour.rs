//! A client that must be served whatever else happens to its host, and the proof that it was
//! served while that happened.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::harness::{Edge, WAIT_MAX, client};
use http_body_util::{BodyExt as _, Full};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a neighbour asks a `probe` for, and the one right answer.
pub(crate) const ROUTE: &str = "/stream";
const QUERY: &str = "?3,0";
const ANSWER: &str = "line 0\nline 1\nline 2\n";
/// Between two of its requests, so that it is no load itself.
const PAUSE: Duration = Duration::from_millis(2);

/// Counts events, and lets others wait for more of them.
#[derive(Debug, Clone)]
pub(crate) struct Count(watch::Sender<usize>);

impl Count {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(crate) fn add(&self, more: usize) {
        self.0.send_modify(|count| *count += more);
    }

    pub(crate) fn now(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until so many were counted in all.
    pub(crate) async fn reaches(&self, all: usize, what: &str) {
        let mut count = self.0.subscribe();
        let reached = count.wait_for(|count| *count >= all);
        let reached = tokio::time::timeout(WAIT_MAX, reached).await.is_ok();
        assert!(reached, "waited too long: {what}: {} of {all}", self.now());
    }

    /// Waits until so many more were counted than now.
    pub(crate) async fn grows(&self, more: usize, what: &str) {
        self.reaches(self.now() + more, what).await;
    }
}

/// A client that asks the same over and over. Each answer must be a 200 and right.
pub(crate) struct Neighbour {
    pub(crate) answers: Count,
    is_leaving: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Duration>>,
}

impl Neighbour {
    pub(crate) fn of(edge: &Edge) -> Self {
        let (answers, is_leaving) = (Count::new(), Arc::<AtomicBool>::default());
        let asking = tokio::spawn(ask(
            format!("{}{ROUTE}{QUERY}", edge.http),
            answers.clone(),
            Arc::clone(&is_leaving),
        ));
        Self {
            answers,
            is_leaving,
            asking,
        }
    }

    /// Waits for so many turns: `attack` goes on, then an answer comes that was asked for
    /// after that. So the answers came during the attack, however fast either is.
    pub(crate) async fn takes_turns(&self, attack: &Count, turns: usize) {
        for _ in 0..turns {
            attack.grows(1, "the attack").await;
            // The first of the two may have been asked for before.
            self.answers.grows(2, "a neighbour's answers").await;
        }
    }

    /// Ends it: how long each answer took.
    pub(crate) async fn leaves(self) -> Vec<Duration> {
        self.is_leaving.store(true, Relaxed);
        self.asking.await.unwrap()
    }
}

async fn ask(url: String, answers: Count, is_leaving: Arc<AtomicBool>) -> Vec<Duration> {
    let client = client();
    let mut took = Vec::new();
    while !is_leaving.load(Relaxed) {
        let start = Instant::now();
        let request = http::Request::get(&url)
            .body(Full::default().boxed())
            .unwrap();
        let answer = tokio::time::timeout(WAIT_MAX, client.request(request));
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200, "a neighbour is refused");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, ANSWER, "a neighbour's answer is not right");
        took.push(start.elapsed());
        answers.add(1);
        tokio::time::sleep(PAUSE).await;
    }
    took
}

/// So many answers, and nobody else: how long each took.
pub(crate) async fn alone(edge: &Edge, answers: usize) -> Vec<Duration> {
    let neighbour = Neighbour::of(edge);
    neighbour.answers.reaches(answers, "answers").await;
    neighbour.leaves().await
}

/// In milliseconds.
pub(crate) fn percentile(took: &mut [Duration], per_cent: usize) -> f64 {
    took.sort();
    let at = took.len().saturating_sub(1) * per_cent / 100;
    took.get(at)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
