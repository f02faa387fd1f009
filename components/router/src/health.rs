//! Circuit breakers: is a backend worth a try now?
//!
//! `router` keeps one entry a backend in the cache and changes it on every report. Closed after a
//! success; open after `FAILURES_MAX` failures in a row, for a time that doubles with each further
//! one; then half open: one call may try, and the others wait for what comes of it. It knows no
//! requests and no models.
//!
//! Calls that run side by side fail side by side when a backend goes away: failures within
//! `BURST_MS` of the first are one, or a single moment would open the breaker, and each straggler
//! would keep it open for longer.
//!
//! Two reports at the same instant may overwrite each other, because the cache has no transaction.
//! Then a failure is counted late, or a second call tries as well; neither outlasts the next report.

use serde::{Deserialize, Serialize};

/// Failures in a row before it is left alone.
pub const FAILURES_MAX: u32 = 3;
/// Failures so soon after one that counted are the same.
pub const BURST_MS: u64 = 100;
/// The first time that it is left alone, and the longest.
pub const AWAY_MS: u64 = 500;
pub const AWAY_MS_MAX: u64 = 10_000;
/// A try that was not reported by then is forgotten.
pub const TRIAL_MS: u64 = 30_000;
/// The longest that a busy backend is believed to stay so.
pub const BUSY_MS_MAX: u64 = 30_000;

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Milliseconds until the first token.
    Answered(u32),
    Failed,
    /// Milliseconds to stay away.
    Busy(u32),
}

/// One backend's entry in the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    failures: u32,
    /// When the last failure counted.
    failed_at_ms: u64,
    /// While it is open.
    away_until_ms: u64,
    /// While somebody tries.
    trial_until_ms: u64,
    busy_until_ms: u64,
}

/// How good a target it is now; the order is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Ready,
    /// It failed last time, though not often.
    Doubtful,
    /// It had too much to do.
    Busy,
    /// It was left alone for long enough: worth one try.
    HalfOpen,
    /// Not before this instant.
    Open {
        until_ms: u64,
    },
}

impl Health {
    pub fn state(&self, now_ms: u64) -> State {
        if self.failures >= FAILURES_MAX {
            let until_ms = self.away_until_ms.max(self.trial_until_ms);
            return if now_ms < until_ms {
                State::Open { until_ms }
            } else {
                State::HalfOpen
            };
        }
        if now_ms < self.busy_until_ms {
            State::Busy
        } else if self.failures > 0 {
            State::Doubtful
        } else {
            State::Ready
        }
    }

    pub fn is_down(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    pub fn report(&mut self, outcome: Outcome, now_ms: u64) {
        self.trial_until_ms = 0;
        match outcome {
            Outcome::Answered(_) => *self = Self::default(),
            Outcome::Busy(ms) => {
                *self = Self::default();
                self.busy_until_ms = now_ms + u64::from(ms).min(BUSY_MS_MAX);
            }
            Outcome::Failed if self.is_burst(now_ms) => {}
            Outcome::Failed => {
                self.failed_at_ms = now_ms;
                self.failures = self.failures.saturating_add(1);
                if let Some(opened) = self.failures.checked_sub(FAILURES_MAX) {
                    let away_ms = AWAY_MS << opened.min(16);
                    self.away_until_ms = now_ms + away_ms.min(AWAY_MS_MAX);
                }
            }
        }
    }

    fn is_burst(&self, now_ms: u64) -> bool {
        self.failures > 0 && now_ms.saturating_sub(self.failed_at_ms) < BURST_MS
    }

    /// It answered a question that is no call: it may be tried at once. Its failures are not
    /// forgotten, because only a call shows that it can generate.
    pub fn is_alive(&mut self) {
        self.away_until_ms = 0;
        self.trial_until_ms = 0;
    }

    /// One call tries now.
    pub fn try_now(&mut self, now_ms: u64) {
        self.trial_until_ms = now_ms + TRIAL_MS;
    }
}

#[cfg(test)]
mod tests;
