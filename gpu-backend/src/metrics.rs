//! What the engine counts, under vLLM's names, in Prometheus' text form.
//! Knows nothing of HTTP; holds no prompt, answer or name of a client.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// vLLM's bounds for the time to the first token, in seconds.
const FIRST_TOKEN_BUCKETS: [f64; 16] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 40.0,
];
/// vLLM's bounds for the time between tokens, in seconds, with two finer ones.
const INTER_TOKEN_BUCKETS: [f64; 13] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5,
];

/// Label of finished requests.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Finished {
    finished_reason: &'static str,
}

/// All metrics of one engine.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub running: Gauge,
    pub waiting: Gauge,
    pub kv_cache_usage: Gauge<f64, AtomicU64>,
    pub prompt_tokens: Counter,
    pub generation_tokens: Counter,
    pub preemptions: Counter,
    pub cancelled: Counter,
    pub rejected: Counter,
    pub steps: Counter,
    pub first_token: Histogram,
    pub inter_token: Histogram,
    success: Family<Finished, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            kv_cache_usage: Gauge::default(),
            prompt_tokens: Counter::default(),
            generation_tokens: Counter::default(),
            preemptions: Counter::default(),
            cancelled: Counter::default(),
            rejected: Counter::default(),
            steps: Counter::default(),
            first_token: Histogram::new(FIRST_TOKEN_BUCKETS),
            inter_token: Histogram::new(INTER_TOKEN_BUCKETS),
            success: Family::default(),
        };
        metrics.register();
        // Present from the start, so that a rate over them is defined.
        for finished_reason in ["stop", "length", "error"] {
            let _ = metrics.success.get_or_create(&Finished { finished_reason });
        }
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "vllm:num_requests_running",
            "Sequences being computed",
            self.running.clone(),
        );
        r.register(
            "vllm:num_requests_waiting",
            "Sequences in the queue",
            self.waiting.clone(),
        );
        r.register(
            "vllm:kv_cache_usage_perc",
            "Share of the cache's blocks in use, 1 is all",
            self.kv_cache_usage.clone(),
        );
        r.register(
            "vllm:prompt_tokens",
            "Prompt tokens computed",
            self.prompt_tokens.clone(),
        );
        r.register(
            "vllm:generation_tokens",
            "Tokens generated",
            self.generation_tokens.clone(),
        );
        r.register(
            "vllm:num_preemptions",
            "Sequences preempted",
            self.preemptions.clone(),
        );
        r.register(
            "vllm:request_success",
            "Requests ended, by reason",
            self.success.clone(),
        );
        r.register(
            "vllm:time_to_first_token_seconds",
            "From admission to the first token",
            self.first_token.clone(),
        );
        r.register(
            "vllm:inter_token_latency_seconds",
            "Between two tokens of a sequence",
            self.inter_token.clone(),
        );
        r.register(
            "skerry:requests_cancelled",
            "Sequences freed because their client went away",
            self.cancelled.clone(),
        );
        r.register(
            "skerry:requests_rejected",
            "Requests refused because the queue was full",
            self.rejected.clone(),
        );
        r.register("skerry:engine_steps", "Forward passes", self.steps.clone());
    }

    /// A sequence ended with this reason (`stop`, `length` or `error`).
    pub fn finished(&self, finished_reason: &'static str) {
        self.success
            .get_or_create(&Finished { finished_reason })
            .inc();
    }

    /// The Prometheus exposition.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_vllm_is_there() {
        let metrics = Metrics::new();
        metrics.prompt_tokens.inc_by(3);
        metrics.finished("stop");
        metrics.first_token.observe(0.2);
        let text = metrics.text().unwrap();
        for line in [
            "vllm:num_requests_running 0",
            "vllm:num_requests_waiting 0",
            "vllm:kv_cache_usage_perc 0",
            "vllm:prompt_tokens_total 3",
            "vllm:generation_tokens_total 0",
            "vllm:num_preemptions_total 0",
            "vllm:request_success_total{finished_reason=\"stop\"} 1",
            "vllm:request_success_total{finished_reason=\"length\"} 0",
            "vllm:time_to_first_token_seconds_bucket{le=\"0.25\"} 1",
            "vllm:inter_token_latency_seconds_count 0",
            "skerry:requests_cancelled_total 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
