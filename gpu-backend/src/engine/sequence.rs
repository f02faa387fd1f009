//! One admitted generation: its tokens, its sampler, and what its client is told.
//! Knows neither the cache nor who else runs.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::handle::{Ended, Event, Job};
use crate::kernels::workers;
use crate::metrics::Metrics;
use crate::runner::Logits;
use crate::sampler::{Logprobs, SampleError, Sampled, Sampler};
use crate::scheduler::{Plan, SequenceId, Started};

/// A generation on the engine's side.
pub(super) struct Sequence {
    pub(super) job: Job,
    sampler: Sampler,
    /// Prompt and answer, and after them the drafts of this step.
    tokens: Vec<u32>,
    /// Tokens of prompt and answer.
    known: usize,
    /// The prompt's log-probabilities so far, where they are wanted and not yet sent.
    prompt_logprobs: Option<Vec<Option<Logprobs>>>,
    started: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

impl Sequence {
    pub(super) fn new(mut job: Job) -> Self {
        let tokens = job.request.prompt.clone();
        let constraint = job.request.constraint.take();
        let sampler = Sampler::new(job.request.sampling.clone(), constraint, &tokens);
        let scores = job.request.prompt_logprobs;
        Self {
            job,
            sampler,
            prompt_logprobs: scores.map(|_| vec![None; tokens.len()]),
            known: tokens.len(),
            tokens,
            started: None,
            first_token: None,
            last_token: None,
        }
    }

    /// Prompt, answer and drafts.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Prompt and answer.
    pub(super) fn known(&self) -> &[u32] {
        &self.tokens[..self.known]
    }

    /// How many drafts could be used: after the last of them one more token is sampled.
    pub(super) fn drafts_max(&self) -> usize {
        let answered = self.known - self.prompt_tokens();
        self.job.request.tokens_max.saturating_sub(answered + 1)
    }

    /// Supposes how it goes on, in place of what was supposed before.
    pub(super) fn suppose(&mut self, drafts: &[u32]) {
        self.tokens.truncate(self.known);
        self.tokens.extend_from_slice(drafts);
    }

    pub(super) fn prompt_tokens(&self) -> usize {
        self.job.request.prompt.len()
    }

    /// The log-probabilities of its prompt are still to be had.
    pub(super) fn is_scored(&self) -> bool {
        self.prompt_logprobs.is_some()
    }

    pub(super) fn has_no_client(&self) -> bool {
        self.job.events.is_closed()
    }

    /// Its caller has all it wants.
    pub(super) fn is_stopped(&self) -> bool {
        self.job.stopped.load(std::sync::atomic::Ordering::Acquire)
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.job.request.deadline.is_some_and(|by| by <= now)
    }

    /// It runs, for the first time or again after it gave way; only the first is told.
    pub(super) fn start(&mut self, started: &Started, metrics: &Metrics) {
        metrics.prefix_queries.inc_by(started.queried_tokens as u64);
        metrics.prefix_hits.inc_by(started.cached_tokens as u64);
        if self.started.is_none() {
            metrics.prompt_tokens.inc_by(self.prompt_tokens() as u64);
            let now = Instant::now();
            self.started = Some(now);
            metrics
                .queue_time
                .observe((now - self.job.arrived).as_secs_f64());
            let cached_tokens = started.cached_tokens;
            let _ = self.job.events.try_send(Event::Started { cached_tokens });
        }
    }

    /// Samples from consecutive rows as long as the drafts hold: the first row follows the
    /// last known token, each other one a draft. Advances the sampler by the tokens
    /// returned and no more, as if each had been sampled in a step of its own.
    fn sample(&mut self, rows: &mut [f32], vocab: usize) -> Chosen {
        let drafts = self.tokens.split_off(self.known);
        let mut chosen = Chosen::default();
        for (i, row) in rows.chunks_exact_mut(vocab).enumerate() {
            let sampled = match self.sampler.sample(row) {
                Ok(sampled) => sampled,
                Err(error) => {
                    chosen.failed = Some(error);
                    break;
                }
            };
            let token = sampled.token;
            chosen.tokens.push(sampled);
            let ended = self.end_after(self.known + i + 1, token).is_some();
            if ended || drafts.get(i) != Some(&token) {
                break;
            }
        }
        chosen
    }

    /// Appends and sends tokens up to the end, if one of them is it; returns the end.
    pub(super) fn push(&mut self, sampled: Vec<Sampled>) -> Option<Event> {
        if let Some(scores) = self.prompt_logprobs.take() {
            let _ = self.job.events.try_send(Event::Prompt(scores));
        }
        sampled.into_iter().find_map(|sampled| {
            self.tokens.push(sampled.token);
            self.known += 1;
            let end = self.end_after(self.known, sampled.token);
            if !matches!(end, Some(Ended::Stop(_))) {
                // A closed channel is a client that went away: the next step forgets it.
                let _ = self.job.events.try_send(Event::Token(sampled));
            }
            Some(Event::Ended {
                reason: end?,
                completion_tokens: self.known - self.prompt_tokens(),
            })
        })
    }

    /// Whether a sequence of `tokens` tokens, this one the last, is at its end.
    fn end_after(&self, tokens: usize, last: u32) -> Option<Ended> {
        let request = &self.job.request;
        if request.stop_tokens.contains(&last) {
            Some(Ended::Stop(last))
        } else if tokens - request.prompt.len() >= request.tokens_max {
            Some(Ended::Length)
        } else {
            None
        }
    }

    pub(super) fn observe_latency(&mut self, metrics: &Metrics) {
        let now = Instant::now();
        self.first_token.get_or_insert(now);
        match self.last_token.replace(now) {
            None => metrics
                .first_token
                .observe((now - self.job.arrived).as_secs_f64()),
            Some(last) => metrics.inter_token.observe((now - last).as_secs_f64()),
        }
    }

    /// `finished_reason` as the metrics name it.
    pub(super) fn observe_end(&self, finished_reason: &'static str, metrics: &Metrics) {
        metrics.finished(finished_reason);
        let now = Instant::now();
        let since = |then: Instant| (now - then).as_secs_f64();
        metrics.e2e_latency.observe(since(self.job.arrived));
        metrics
            .request_prompt_tokens
            .observe(float(self.prompt_tokens()));
        let answered = self.known - self.prompt_tokens();
        metrics.request_generation_tokens.observe(float(answered));
        if let Some(started) = self.started {
            metrics.inference_time.observe(since(started));
            if let Some(first) = self.first_token {
                metrics
                    .prefill_time
                    .observe((first - started).as_secs_f64());
                metrics.decode_time.observe(since(first));
            }
        }
    }
}

/// An end, as the metrics name it.
pub(super) fn reason(end: &Event) -> &'static str {
    match end {
        Event::Ended {
            reason: Ended::Stop(_),
            ..
        } => "stop",
        Event::Ended {
            reason: Ended::Length,
            ..
        } => "length",
        Event::DeadlineExceeded => "deadline",
        _ => "error",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a context is below 2^52 tokens")]
fn float(count: usize) -> f64 {
    count as f64
}

/// What a step gave a sequence.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// One token, and one more for each draft that held.
    pub(super) tokens: Vec<Sampled>,
    /// After these, no token could be chosen.
    pub(super) failed: Option<SampleError>,
}

/// Chooses tokens for every sequence whose chunk reached its end, in parallel.
pub(super) fn sample(
    sequences: &mut BTreeMap<SequenceId, Sequence>,
    plan: &Plan,
    mut logits: Logits,
) -> Vec<(SequenceId, Chosen)> {
    let vocab = logits.vocab;
    let mut rest = logits.values.as_mut_slice();
    let mut rows: BTreeMap<SequenceId, &mut [f32]> = BTreeMap::new();
    for (chunk, range) in plan.chunks.iter().zip(&logits.rows) {
        let (of_chunk, after) = rest.split_at_mut(range.len() * vocab);
        rest = after;
        if chunk.samples {
            // Those before stand there because the prompt is scored.
            let scored = (range.len() - 1 - chunk.drafts) * vocab;
            rows.insert(chunk.sequence, &mut of_chunk[scored..]);
        }
    }
    let work: Vec<_> = sequences
        .iter_mut()
        .filter_map(|(id, sequence)| rows.remove(id).map(|rows| (*id, sequence, rows)))
        .collect();
    workers::map(work, |(id, s, rows)| (id, s.sample(rows, vocab)))
}

/// Notes the log-probabilities of the prompts that are to be scored, in parallel: the
/// row of a position holds those of the token after it. A prompt that is computed again
/// after a preemption gets the same ones again.
pub(super) fn score_prompts(
    sequences: &mut BTreeMap<SequenceId, Sequence>,
    plan: &Plan,
    logits: &Logits,
) {
    for (chunk, rows) in plan.chunks.iter().zip(&logits.rows) {
        let Some(sequence) = sequences.get_mut(&chunk.sequence) else {
            continue;
        };
        let top = sequence.job.request.prompt_logprobs.unwrap_or(0);
        let Some(scores) = &mut sequence.prompt_logprobs else {
            continue;
        };
        let prompt = &sequence.job.request.prompt;
        let from = prompt.len().min(chunk.start + 1);
        let values = &logits.values[rows.start * logits.vocab..rows.end * logits.vocab];
        let tokens = scores[from..].iter_mut().zip(&prompt[from..]);
        let work = tokens.zip(values.chunks_exact(logits.vocab)).collect();
        workers::map(work, |((score, token), row)| {
            *score = Some(Logprobs::of(row, *token, top));
        });
    }
}
