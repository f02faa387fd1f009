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

/// vLLM's bounds for what takes as long as a request, in seconds.
const REQUEST_BUCKETS: [f64; 20] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0,
];
/// Bounds for counts of tokens: 1, 2, 5 and so on.
const TOKEN_BUCKETS: [f64; 16] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5,
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
    pub prefix_queries: Counter,
    pub prefix_hits: Counter,
    pub drafts: Counter,
    pub draft_tokens: Counter,
    pub drafts_accepted: Counter,
    pub queue_time: Histogram,
    pub prefill_time: Histogram,
    pub decode_time: Histogram,
    pub inference_time: Histogram,
    pub e2e_latency: Histogram,
    pub request_prompt_tokens: Histogram,
    pub request_generation_tokens: Histogram,
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
            prefix_queries: Counter::default(),
            prefix_hits: Counter::default(),
            drafts: Counter::default(),
            draft_tokens: Counter::default(),
            drafts_accepted: Counter::default(),
            queue_time: Histogram::new(REQUEST_BUCKETS),
            prefill_time: Histogram::new(REQUEST_BUCKETS),
            decode_time: Histogram::new(REQUEST_BUCKETS),
            inference_time: Histogram::new(REQUEST_BUCKETS),
            e2e_latency: Histogram::new(REQUEST_BUCKETS),
            request_prompt_tokens: Histogram::new(TOKEN_BUCKETS),
            request_generation_tokens: Histogram::new(TOKEN_BUCKETS),
            success: Family::default(),
        };
        metrics.register_engine();
        metrics.register_requests();
        // Present from the start, so that a rate over them is defined.
        for finished_reason in ["stop", "length", "deadline", "error"] {
            let _ = metrics.success.get_or_create(&Finished { finished_reason });
        }
        metrics
    }

    /// What the engine as a whole does.
    fn register_engine(&mut self) {
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
            "Share of the cache's blocks that sequences own, 1 is all",
            self.kv_cache_usage.clone(),
        );
        self.register_counters();
    }

    fn register_counters(&mut self) {
        for (name, help, counter) in [
            (
                "vllm:prompt_tokens",
                "Tokens of the prompts of requests that were started, found in the cache or computed",
                &self.prompt_tokens,
            ),
            (
                "vllm:generation_tokens",
                "Tokens generated",
                &self.generation_tokens,
            ),
            (
                "vllm:num_preemptions",
                "Sequences preempted",
                &self.preemptions,
            ),
            (
                "vllm:prefix_cache_queries",
                "Tokens looked for in the prefix cache",
                &self.prefix_queries,
            ),
            (
                "vllm:prefix_cache_hits",
                "Tokens found in the prefix cache",
                &self.prefix_hits,
            ),
            (
                "vllm:spec_decode_num_drafts",
                "Times that tokens were supposed",
                &self.drafts,
            ),
            (
                "vllm:spec_decode_num_draft_tokens",
                "Tokens supposed",
                &self.draft_tokens,
            ),
            (
                "vllm:spec_decode_num_accepted_tokens",
                "Supposed tokens that held",
                &self.drafts_accepted,
            ),
            (
                "skerry:requests_cancelled",
                "Sequences freed because their client went away",
                &self.cancelled,
            ),
            (
                "skerry:requests_rejected",
                "Requests refused because the queue was full",
                &self.rejected,
            ),
            ("skerry:engine_steps", "Forward passes", &self.steps),
        ] {
            self.registry.register(name, help, counter.clone());
        }
    }

    /// What happened to single requests.
    fn register_requests(&mut self) {
        let r = &mut self.registry;
        r.register(
            "vllm:request_success",
            "Requests ended, by reason",
            self.success.clone(),
        );
        for (name, help, histogram) in [
            (
                "vllm:time_to_first_token_seconds",
                "From admission to the first token",
                &self.first_token,
            ),
            (
                "vllm:inter_token_latency_seconds",
                "Between two steps that gave a sequence tokens",
                &self.inter_token,
            ),
            (
                "vllm:request_queue_time_seconds",
                "From admission to the start",
                &self.queue_time,
            ),
            (
                "vllm:request_prefill_time_seconds",
                "From the start to the first token",
                &self.prefill_time,
            ),
            (
                "vllm:request_decode_time_seconds",
                "From the first token to the end",
                &self.decode_time,
            ),
            (
                "vllm:request_inference_time_seconds",
                "From the start to the end",
                &self.inference_time,
            ),
            (
                "vllm:e2e_request_latency_seconds",
                "From admission to the end",
                &self.e2e_latency,
            ),
            (
                "vllm:request_prompt_tokens",
                "Tokens of a request's prompt",
                &self.request_prompt_tokens,
            ),
            (
                "vllm:request_generation_tokens",
                "Tokens of a request's answer",
                &self.request_generation_tokens,
            ),
        ] {
            r.register(name, help, histogram.clone());
        }
    }

    /// Sequences in the queue.
    pub fn waiting(&self) -> u64 {
        u64::try_from(self.waiting.get()).unwrap_or(0)
    }

    /// A sequence ended with this reason (`stop`, `length`, `deadline` or `error`).
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
            "vllm:prefix_cache_queries_total 0",
            "vllm:prefix_cache_hits_total 0",
            "vllm:spec_decode_num_drafts_total 0",
            "vllm:spec_decode_num_draft_tokens_total 0",
            "vllm:spec_decode_num_accepted_tokens_total 0",
            "vllm:request_queue_time_seconds_count 0",
            "vllm:request_prefill_time_seconds_count 0",
            "vllm:request_decode_time_seconds_count 0",
            "vllm:request_inference_time_seconds_count 0",
            "vllm:e2e_request_latency_seconds_count 0",
            "vllm:request_prompt_tokens_count 0",
            "vllm:request_generation_tokens_count 0",
            "vllm:request_success_total{finished_reason=\"deadline\"} 0",
            "skerry:requests_cancelled_total 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
