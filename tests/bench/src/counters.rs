//! What the scripted backend counted, in the names that `gpu-backend` uses.
//!
//! Knows nothing of requests; `Running` counts one for as long as it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Counters {
    running: AtomicI64,
    finished: AtomicU64,
    cancelled: AtomicU64,
}

impl Counters {
    /// In Prometheus' text form.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "vllm:num_requests_running {}\nvllm:num_requests_waiting 0\n\
             vllm:request_success_total{{finished_reason=\"stop\"}} {}\n\
             skerry:requests_cancelled_total {}\n",
            self.running.load(Ordering::Relaxed),
            self.finished.load(Ordering::Relaxed),
            self.cancelled.load(Ordering::Relaxed),
        )
    }
}

/// One answer under way. Dropped before `finish`, it was cancelled.
#[derive(Debug)]
pub struct Running {
    counters: Arc<Counters>,
    finished: bool,
}

impl Running {
    #[must_use]
    pub fn start(counters: Arc<Counters>) -> Running {
        counters.running.fetch_add(1, Ordering::Relaxed);
        Running {
            counters,
            finished: false,
        }
    }

    pub fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
        let total = if self.finished {
            &self.counters.finished
        } else {
            &self.counters.cancelled
        };
        total.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_ends_as_finished_or_as_cancelled() {
        let counters = Arc::new(Counters::default());
        let mut one = Running::start(Arc::clone(&counters));
        let two = Running::start(Arc::clone(&counters));
        assert!(counters.text().contains("num_requests_running 2"));
        one.finish();
        drop((one, two));
        let text = counters.text();
        assert!(text.contains("num_requests_running 0"), "{text}");
        assert!(text.contains("finished_reason=\"stop\"} 1"), "{text}");
        assert!(text.contains("requests_cancelled_total 1"), "{text}");
    }
}
