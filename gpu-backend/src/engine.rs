//! The loop: admit → schedule → forward → sample → publish. One thread owns the model,
//! the cache and every sequence; there is no lock round a generation.
//!
//! Invariant: the engine never sees text.
//! Invariant: every admitted sequence ends exactly once: by its end, by its deadline, by
//! a failure that is reported, or because its client went away.

mod observe;
mod sequence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::handle::{Event, Handle, Job};
use crate::kernels::workers::Workers;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::pace::Pace;
use crate::runner::Runner;
use crate::sampler::SampleError;
use crate::scheduler::{Limits, Plan, Scheduler, SequenceId, Terms};
use crate::speculation::{Asked, Speculation};
use sequence::{Chosen, Sequence, reason, sample, score_prompts};

/// The engine's limits.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    pub scheduler: Limits,
    /// Requests that wait, beyond those that run.
    pub queue_max: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Prefixes that were computed once are taken from the cache.
    pub prefix_caching: bool,
}

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the cache holds fewer tokens than one sequence may have")]
    CacheTooSmall,
    #[error("cannot start threads: {0}")]
    Threads(String),
}

/// Everything the engine's thread owns.
struct Engine {
    runner: Runner,
    scheduler: Scheduler,
    prefix_caching: bool,
    step_tokens_max: usize,
    speculation: Option<Speculation>,
    sequences: BTreeMap<SequenceId, Sequence>,
    jobs: mpsc::Receiver<Job>,
    metrics: Arc<Metrics>,
    pace: Arc<Pace>,
    /// When a sequence last left; absent after a pause.
    last_left: Option<Instant>,
    next_id: u64,
}

/// Starts the engine's thread.
///
/// # Errors
/// The limits contradict each other, or no thread can be had.
pub fn start(model: Model, config: EngineConfig) -> Result<(Handle, JoinHandle<()>), StartError> {
    start_speculative(model, config, || None)
}

/// As [`start`]; what `speculation` makes, on the engine's thread, supposes further tokens.
///
/// # Errors
/// As [`start`].
pub fn start_speculative(
    model: Model,
    config: EngineConfig,
    speculation: impl FnOnce() -> Option<Speculation> + Send + 'static,
) -> Result<(Handle, JoinHandle<()>), StartError> {
    if !config.scheduler.hold_one_sequence() {
        return Err(StartError::CacheTooSmall);
    }
    let threads = |error: &dyn std::fmt::Display| StartError::Threads(error.to_string());
    let mut workers = Workers::new(config.threads).map_err(|e| threads(&e))?;
    let (metrics, pace) = (Arc::new(Metrics::new()), Arc::new(Pace::default()));
    let requests_max = config.scheduler.sequences_max + config.queue_max;
    let (handle, jobs) = Handle::new(
        requests_max,
        config.scheduler,
        pace.clone(),
        metrics.clone(),
    );
    let run = move || {
        let engine = Engine {
            runner: Runner::new(model, config.scheduler.blocks),
            scheduler: Scheduler::new(config.scheduler),
            prefix_caching: config.prefix_caching,
            step_tokens_max: config.scheduler.step_tokens_max,
            speculation: speculation(),
            sequences: BTreeMap::new(),
            jobs,
            metrics,
            pace,
            last_left: None,
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
            self.suppose(workers);
            let plan = self.scheduler.schedule();
            self.announce(&plan);
            if plan.chunks.is_empty() {
                continue;
            }
            let tokens = |id| self.sequences.get(&id).map_or(&[][..], Sequence::tokens);
            let scored = |id| self.sequences.get(&id).is_some_and(Sequence::is_scored);
            match workers.install(|| self.runner.forward_scored(&plan, tokens, scored)) {
                Ok(logits) => {
                    workers.install(|| score_prompts(&mut self.sequences, &plan, &logits));
                    let sampled = workers.install(|| sample(&mut self.sequences, &plan, logits));
                    self.publish(sampled);
                }
                Err(error) => self.fail_all(&error.to_string()),
            }
        }
    }

    /// Takes what has arrived, forgets whose client went away or whose time is up, and
    /// sleeps while there is nothing to do. False when no handle is left.
    fn admit(&mut self) -> bool {
        self.forget_vanished();
        self.end_overdue();
        if self.sequences.is_empty() {
            self.rest();
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
        let request = &job.request;
        let terms = Terms {
            answer_tokens_max: request.tokens_max,
            identity: request.identity,
            priority: request.priority,
        };
        // A prompt that is scored is computed at every position.
        let admitted = if self.prefix_caching && request.prompt_logprobs.is_none() {
            self.scheduler.admit_shared(id, &request.prompt, terms)
        } else {
            self.scheduler.admit_alone(id, request.prompt.len(), terms)
        };
        if let Err(refused) = admitted {
            let message = format!("the prompt was refused: {refused}");
            let _ = job.events.try_send(Event::Failed { message });
            return self.metrics.finished("error");
        }
        self.sequences.insert(id, Sequence::new(job));
    }

    /// Supposes how the sequences go on that have one token left to compute.
    fn suppose(&mut self, workers: &mut Workers) {
        let Some(speculation) = &mut self.speculation else {
            return;
        };
        self.sequences.values_mut().for_each(|s| s.suppose(&[]));
        // So many that each of those that run still has its turn in the step.
        let share = self.step_tokens_max / self.scheduler.running().max(1);
        let most = speculation.tokens_max.min(share.saturating_sub(1));
        let scheduler = &self.scheduler;
        let asked = self.sequences.iter().filter_map(|(id, sequence)| {
            let drafts_max = sequence.drafts_max().min(most);
            (drafts_max > 0 && scheduler.awaits_one(*id)).then(|| Asked {
                id: *id,
                known: sequence.known(),
                drafts_max,
            })
        });
        let asked: Vec<Asked> = asked.collect();
        match workers.install(|| speculation.propose(&asked)) {
            Ok(proposed) => {
                for (id, drafts) in proposed {
                    self.scheduler.suppose(id, drafts.len());
                    if let Some(sequence) = self.sequences.get_mut(&id) {
                        sequence.suppose(&drafts);
                    }
                }
            }
            Err(error) => self.fail_all(&error.to_string()),
        }
    }

    fn forget_vanished(&mut self) {
        for id in self.those(Sequence::has_no_client) {
            match self.remove(id) {
                Some(sequence) if sequence.is_stopped() => {
                    sequence.observe_end("stop", &self.metrics);
                }
                _ => {
                    self.metrics.cancelled.inc();
                }
            }
        }
    }

    fn end_overdue(&mut self) {
        let now = Instant::now();
        for id in self.those(|s| s.is_overdue(now)) {
            self.finish(id, Event::DeadlineExceeded);
        }
    }

    fn those(&self, are_meant: impl Fn(&Sequence) -> bool) -> Vec<SequenceId> {
        let meant = self.sequences.iter().filter(|(_, s)| are_meant(s));
        meant.map(|(id, _)| *id).collect()
    }

    fn remove(&mut self, id: SequenceId) -> Option<Sequence> {
        self.scheduler.remove(id);
        if let Some(speculation) = &mut self.speculation {
            speculation.forget(id);
        }
        let now = Instant::now();
        if let Some(before) = self.last_left.replace(now) {
            self.pace.ended(now - before);
        }
        self.sequences.remove(&id)
    }

    fn publish(&mut self, sampled: Vec<(SequenceId, Chosen)>) {
        for (id, chosen) in sampled {
            let Some(sequence) = self.sequences.get_mut(&id) else {
                continue;
            };
            let tokens: Vec<u32> = chosen.tokens.iter().map(|s| s.token).collect();
            self.metrics.generation_tokens.inc_by(tokens.len() as u64);
            let drafts_held = tokens.len().saturating_sub(1);
            self.metrics.drafts_accepted.inc_by(drafts_held as u64);
            if !tokens.is_empty() {
                sequence.observe_latency(&self.metrics);
            }
            let failed = |error: SampleError| match error {
                SampleError::Constraint(error) => Event::FormFailed { message: error.0 },
                SampleError::NotFinite(error) => Event::Failed {
                    message: error.to_string(),
                },
            };
            let end = sequence.push(chosen.tokens);
            match end.or(chosen.failed.map(failed)) {
                None => self.scheduler.push_tokens(id, &tokens),
                Some(end) => self.finish(id, end),
            }
        }
    }

    fn finish(&mut self, id: SequenceId, end: Event) {
        if let Some(sequence) = self.remove(id) {
            sequence.observe_end(reason(&end), &self.metrics);
            let _ = sequence.job.events.try_send(end);
        }
    }

    fn fail_all(&mut self, message: &str) {
        tracing::error!(message, sequences = self.sequences.len(), "a step failed");
        self.scheduler.forget_contents();
        for id in self.those(|_| true) {
            let message = message.to_owned();
            self.finish(id, Event::Failed { message });
        }
    }

    /// Tells of a step before it runs.
    fn announce(&mut self, plan: &Plan) {
        for started in &plan.started {
            if let Some(sequence) = self.sequences.get_mut(&started.sequence) {
                sequence.start(started, &self.metrics);
            }
        }
        self.measure(plan);
    }
}
