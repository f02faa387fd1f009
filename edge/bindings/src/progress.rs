//! How the host knows that a busy instance still does useful work.
//!
//! The CPU budget of an instance is counted in epoch ticks *since the last progress*. It
//! does NOT know what a tick is worth or what happens when the budget is spent.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Busy ticks since the host last saw the instance get something done: a request taken,
/// a chunk written, a host call answered.
#[derive(Debug, Default)]
pub struct Progress {
    busy_ticks: AtomicU32,
}

impl Progress {
    /// Something was achieved: the budget starts anew.
    pub fn made(&self) {
        self.busy_ticks.store(0, Relaxed);
    }

    /// Counts one more busy tick and says how many there are by now.
    pub fn tick(&self) -> u32 {
        self.busy_ticks.fetch_add(1, Relaxed).saturating_add(1)
    }
}
