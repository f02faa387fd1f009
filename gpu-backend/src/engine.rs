//! The loop: admit → schedule → forward → sample → publish. One thread owns the model,
//! the cache and every sequence; there is no lock round a generation.
//!
//! Invariant: the engine never sees text.
//! Invariant: every admitted sequence ends exactly once: by its end, by a failure
//! that is reported, or because its client went away.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::handle::{Ended, Event, Handle, Job};
use crate::kernels::workers::{self, Workers};
use crate::metrics::Metrics;
use crate::model::Model;
use crate::runner::{Logits, Runner};
use crate::sampler::{NotFinite, Sampled, Sampler};
use crate::scheduler::{Limits, Plan, Scheduler, SequenceId};

/// The engine's limits.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    pub scheduler: Limits,
    /// Requests that wait, beyond those that run.
    pub queue_max: usize,
    /// Threads that compute.
    pub threads: usize,
}

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the cache holds fewer tokens than one sequence may have")]
    CacheTooSmall,
    #[error("cannot start threads: {0}")]
    Threads(String),
}

/// One admitted generation.
struct Sequence {
    job: Job,
    sampler: Sampler,
    /// Prompt and answer.
    tokens: Vec<u32>,
    last_token: Option<Instant>,
}

/// Everything the engine's thread owns.
struct Engine {
    runner: Runner,
    scheduler: Scheduler,
    sequences: BTreeMap<SequenceId, Sequence>,
    jobs: mpsc::Receiver<Job>,
    metrics: Arc<Metrics>,
    next_id: u64,
}

/// Starts the engine's thread.
///
/// # Errors
/// The limits contradict each other, or no thread can be had.
pub fn start(model: Model, config: EngineConfig) -> Result<(Handle, JoinHandle<()>), StartError> {
    if !config.scheduler.hold_one_sequence() {
        return Err(StartError::CacheTooSmall);
    }
    let threads = |error: &dyn std::fmt::Display| StartError::Threads(error.to_string());
    let mut workers = Workers::new(config.threads).map_err(|e| threads(&e))?;
    let metrics = Arc::new(Metrics::new());
    let requests_max = config.scheduler.sequences_max + config.queue_max;
    let (handle, jobs) = Handle::new(requests_max, metrics.clone());
    let run = move || {
        let engine = Engine {
            runner: Runner::new(model, config.scheduler.blocks),
            scheduler: Scheduler::new(config.scheduler),
            sequences: BTreeMap::new(),
            jobs,
            metrics,
            next_id: 0,
        };
        engine.run(&mut workers);
    };
    let thread = std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(run)
        .map_err(|e| threads(&e))?;
    Ok((handle, thread))
}

impl Engine {
    fn run(mut self, workers: &mut Workers) {
        while self.admit() {
            let plan = self.scheduler.schedule();
            self.measure(&plan);
            if plan.chunks.is_empty() {
                continue;
            }
            let tokens = |id| self.sequences.get(&id).map_or(&[][..], |s| &s.tokens);
            match workers.install(|| self.runner.forward(&plan, tokens)) {
                Ok(logits) => {
                    let sampled = workers.install(|| sample(&mut self.sequences, &plan, logits));
                    self.publish(sampled);
                }
                Err(error) => self.fail_all(&error.to_string()),
            }
        }
    }

    /// Takes what has arrived, forgets whose client went away, and sleeps while there
    /// is nothing to do. False when no handle is left.
    fn admit(&mut self) -> bool {
        self.forget_vanished();
        if self.sequences.is_empty() {
            self.measure(&Plan::default());
            match self.jobs.blocking_recv() {
                Some(job) => self.add(job),
                None => return false,
            }
        }
        while let Ok(job) = self.jobs.try_recv() {
            self.add(job);
        }
        true
    }

    fn add(&mut self, job: Job) {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let tokens = job.request.prompt.clone();
        if let Err(refused) = self
            .scheduler
            .admit(id, tokens.len(), job.request.tokens_max)
        {
            let message = format!("the prompt was refused: {refused}");
            let _ = job.events.try_send(Event::Failed { message });
            return self.metrics.finished("error");
        }
        let sampler = Sampler::new(job.request.sampling.clone(), &tokens);
        self.sequences.insert(
            id,
            Sequence {
                job,
                sampler,
                tokens,
                last_token: None,
            },
        );
    }

    fn forget_vanished(&mut self) {
        let gone: Vec<SequenceId> = self
            .sequences
            .iter()
            .filter(|(_, s)| s.job.events.is_closed())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            match self.remove(id) {
                Some(sequence) if sequence.job.stopped.load(Ordering::Acquire) => {
                    self.metrics.finished("stop");
                }
                _ => {
                    self.metrics.cancelled.inc();
                }
            }
        }
    }

    fn remove(&mut self, id: SequenceId) -> Option<Sequence> {
        self.scheduler.remove(id);
        self.sequences.remove(&id)
    }

    fn publish(&mut self, sampled: Vec<(SequenceId, Result<Sampled, NotFinite>)>) {
        for (id, result) in sampled {
            let outcome = match (result, self.sequences.get_mut(&id)) {
                (Ok(sampled), Some(sequence)) => {
                    self.metrics.generation_tokens.inc();
                    sequence.observe_latency(&self.metrics);
                    sequence.push(sampled)
                }
                (Err(error), Some(_)) => Some(Event::Failed {
                    message: error.to_string(),
                }),
                (_, None) => None,
            };
            match outcome {
                None => self.scheduler.push_token(id),
                Some(end) => self.finish(id, end),
            }
        }
    }

    fn finish(&mut self, id: SequenceId, end: Event) {
        if let Some(sequence) = self.remove(id) {
            self.metrics.finished(match end {
                Event::Ended {
                    reason: Ended::Stop,
                    ..
                } => "stop",
                Event::Ended {
                    reason: Ended::Length,
                    ..
                } => "length",
                Event::Failed { .. } | Event::Token(_) => "error",
            });
            let _ = sequence.job.events.try_send(end);
        }
    }

    fn fail_all(&mut self, message: &str) {
        tracing::error!(message, sequences = self.sequences.len(), "a step failed");
        for id in self.sequences.keys().copied().collect::<Vec<_>>() {
            self.finish(
                id,
                Event::Failed {
                    message: message.to_owned(),
                },
            );
        }
    }

    fn measure(&self, plan: &Plan) {
        let m = &self.metrics;
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        m.running.set(gauge(self.scheduler.running()));
        m.waiting.set(gauge(self.scheduler.waiting()));
        let (free, total) = (self.scheduler.blocks_free(), self.scheduler.blocks_total());
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share; block counts are below 2^32"
        )]
        m.kv_cache_usage.set((total - free) as f64 / total as f64);
        m.preemptions.inc_by(plan.preempted as u64);
        if !plan.chunks.is_empty() {
            m.steps.inc();
            m.prompt_tokens.inc_by(self.prompt_tokens(plan));
        }
    }

    /// Prompt tokens in the step; a preempted sequence's answer is not prompt again.
    fn prompt_tokens(&self, plan: &Plan) -> u64 {
        let of = |chunk: &crate::scheduler::Chunk| {
            let sequence = self.sequences.get(&chunk.sequence)?;
            let prompt = sequence.job.request.prompt.len();
            Some(
                prompt
                    .min(chunk.start + chunk.tokens)
                    .saturating_sub(chunk.start),
            )
        };
        plan.chunks.iter().filter_map(of).sum::<usize>() as u64
    }
}

/// Chooses a token for every sequence whose chunk reached its end, in parallel.
fn sample(
    sequences: &mut BTreeMap<SequenceId, Sequence>,
    plan: &Plan,
    mut logits: Logits,
) -> Vec<(SequenceId, Result<Sampled, NotFinite>)> {
    let mut rows: BTreeMap<SequenceId, &mut [f32]> = plan
        .chunks
        .iter()
        .filter(|chunk| chunk.samples)
        .map(|chunk| chunk.sequence)
        .zip(logits.values.chunks_exact_mut(logits.vocab))
        .collect();
    let work: Vec<_> = sequences
        .iter_mut()
        .filter_map(|(id, sequence)| rows.remove(id).map(|row| (*id, sequence, row)))
        .collect();
    workers::map(work, |(id, s, row)| (id, s.sampler.sample(row)))
}

impl Sequence {
    /// Appends and sends a token; returns the end if it is one.
    fn push(&mut self, sampled: Sampled) -> Option<Event> {
        let request = &self.job.request;
        self.tokens.push(sampled.token);
        let completion_tokens = self.tokens.len() - request.prompt.len();
        if request.stop_tokens.contains(&sampled.token) {
            return Some(Event::Ended {
                reason: Ended::Stop,
                completion_tokens,
            });
        }
        // A closed channel is a client that went away: the next step forgets it.
        let _ = self.job.events.try_send(Event::Token(sampled));
        (completion_tokens >= request.tokens_max).then_some(Event::Ended {
            reason: Ended::Length,
            completion_tokens,
        })
    }

    fn observe_latency(&mut self, metrics: &Metrics) {
        let now = Instant::now();
        match self.last_token.replace(now) {
            None => metrics
                .first_token
                .observe((now - self.job.arrived).as_secs_f64()),
            Some(last) => metrics.inter_token.observe((now - last).as_secs_f64()),
        }
    }
}
