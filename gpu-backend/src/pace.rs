//! How fast requests end, as measured: what a refused client is told to wait.
//! The engine's thread writes it, handles read it. Knows no request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Told while nothing has been measured, and the least that is told.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// The most that is told: a guess that far ahead is worth nothing.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Share of the newest gap in the mean, as a power of two: one eighth.
const NEWEST_SHIFT: u32 = 3;

/// The mean time between two ends.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    mean_us: AtomicU64,
}

impl Pace {
    /// A request ended so long after the one before, with work going on between them.
    pub(crate) fn ended(&self, gap: Duration) {
        let gap_us = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX >> NEWEST_SHIFT);
        let mean_us = self.mean_us.load(Ordering::Relaxed);
        let next = match mean_us {
            0 => gap_us,
            mean => mean - (mean >> NEWEST_SHIFT) + (gap_us >> NEWEST_SHIFT),
        };
        self.mean_us.store(next.max(1), Ordering::Relaxed);
    }

    /// When what waits now will have run, in whole seconds as HTTP wants them.
    pub(crate) fn retry_after(&self, waiting: u64) -> Duration {
        let mean_us = self.mean_us.load(Ordering::Relaxed);
        let wait = Duration::from_micros(mean_us.saturating_mul(waiting));
        let whole = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        whole.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(gaps_ms: &[u64], waiting: u64, want_s: u64) {
        let pace = Pace::default();
        for gap in gaps_ms {
            pace.ended(Duration::from_millis(*gap));
        }
        assert_eq!(pace.retry_after(waiting), Duration::from_secs(want_s));
    }

    #[test]
    fn the_wait_is_the_queues_length_at_the_measured_pace() {
        check(&[], 1_000, 1);
        check(&[100], 5, 1);
        check(&[100], 10, 1);
        check(&[100], 11, 2);
        check(&[100; 20], 200, 20);
        check(&[1_000], 1_000, 60);
        // Slower for a while, and it is told.
        check(&[100, 900, 900, 900], 10, 4);
        check(&[0, 0], 10, 1);
    }
}
