//! The versions of the application: the one that new requests go to, and those before it,
//! which finish what they have begun.
//!
//! Invariant: a request stays with the version that it came to. A version lives while an
//! instance of it does, and ends with the last one. It does NOT know how one is loaded.

use crate::app::App;
use crate::metrics::Metrics;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Versions alive at once: each holds machine code and what its streams hold.
pub(crate) const ALIVE_MAX: i64 = 16;

/// The current version, behind one swap.
pub(crate) struct Versions {
    current: RwLock<Arc<App>>,
    metrics: Arc<Metrics>,
}

impl Versions {
    pub(crate) fn new(first: Arc<App>, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.generation.store(1, Relaxed);
        Arc::new(Self {
            current: RwLock::new(first),
            metrics,
        })
    }

    /// The version that a new request goes to.
    pub(crate) fn current(&self) -> Arc<App> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on new requests go to `next`; what the one before has begun may go on for
    /// `patience`. Says how many there have been.
    pub(crate) fn replace(&self, next: Arc<App>, patience: Duration) -> i64 {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, next);
        drop(current);
        before.term.end(patience);
        self.metrics.generation.fetch_add(1, Relaxed) + 1
    }

    /// Is there room for one more beside those that are still alive?
    pub(crate) fn may_add(&self) -> bool {
        self.metrics.generations_alive.load(Relaxed) < ALIVE_MAX
    }
}

/// How long a version may go on: for ever, until another has replaced it.
#[derive(Default)]
pub(crate) struct Term {
    end: OnceLock<Instant>,
    /// Cancelled once `end` is known.
    pub(crate) replaced: CancellationToken,
}

impl Term {
    fn end(&self, patience: Duration) {
        let _ = self.end.set(Instant::now() + patience);
        self.replaced.cancel();
    }

    /// When the last of its instances must end, if another version has replaced it.
    pub(crate) fn known_end(&self) -> Option<Instant> {
        self.end.get().copied()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.known_end().is_some_and(|end| Instant::now() >= end)
    }
}

/// Counts a version among those alive.
pub(crate) struct Counted(Arc<Metrics>);

impl Counted {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.generations_alive.fetch_add(1, Relaxed);
        Self(Arc::clone(metrics))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.generations_alive.fetch_sub(1, Relaxed);
    }
}
