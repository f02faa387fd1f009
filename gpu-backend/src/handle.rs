//! The way to the engine's thread: submit a prompt of token ids, receive token ids.
//!
//! Invariant: dropping a [`Generation`] cancels it; the engine sees that at its next step.
//! One that is [stopped](Generation::stop) ends there too, and counts as finished.
//! Invariant: no channel is unbounded: requests are counted by permits, and a
//! generation's channel holds as many events as it can ever produce.
//! Knows neither text nor HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::constraint::Constraint;
use crate::kv_cache::prefix::Identity;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::sampler::{Logprobs, Sampled, SamplingParams};
use crate::scheduler::{Limits, Refused};

/// What to generate.
#[derive(Clone, Debug, Default)]
pub struct Generate {
    pub prompt: Vec<u32>,
    /// At least one.
    pub tokens_max: usize,
    /// Tokens that end the answer.
    pub stop_tokens: Vec<u32>,
    pub sampling: SamplingParams,
    /// Which tokens may come next; absent: all.
    pub constraint: Option<Constraint>,
    /// The prompt's own log-probabilities wanted, with this many of the best tokens at
    /// each place. Every position of the prompt is then computed, cached or not.
    pub prompt_logprobs: Option<usize>,
    /// Whose prompt it is: within that its prefix is shared, and its share counted.
    pub identity: Identity,
    /// Smaller is earlier.
    pub priority: i32,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The model gave this stop token.
    Stop(u32),
    /// The greatest number of tokens is reached.
    Length,
}

/// One thing that happened to a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It runs; so much of its prompt was found in the cache. Before the first token.
    Started { cached_tokens: usize },
    /// Before the first token, where asked for: one for each token of the prompt. The
    /// first has none, for nothing stands before it.
    Prompt(Vec<Option<Logprobs>>),
    /// A token of the answer.
    Token(Sampled),
    /// The end, after the last token. `Stop` counts the stop token, which is not sent.
    Ended {
        reason: Ended,
        completion_tokens: usize,
    },
    /// The engine could not go on.
    Failed { message: String },
    /// The constraint on this answer could not go on.
    FormFailed { message: String },
    /// The deadline passed before the end.
    DeadlineExceeded,
}

/// A submitted generation, on the engine's side.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: Generate,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) arrived: Instant,
    /// Set before the other end goes: the caller has all it wants.
    pub(crate) stopped: Arc<AtomicBool>,
    /// Given back when the engine forgets the sequence.
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// Why a generation was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It could never run to its end.
    #[error("the prompt was refused: {0}")]
    Refused(#[from] Refused),
    /// There may be room after this time, if requests go on to end as they did.
    #[error("the engine's queue is full")]
    QueueFull { retry_after: Duration },
    #[error("the engine is shutting down")]
    Draining,
    #[error("the engine has stopped")]
    Dead,
}

/// Submits generations; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
    limits: Limits,
    draining: Arc<AtomicBool>,
    pace: Arc<Pace>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A generation in progress.
#[derive(Debug)]
pub struct Generation {
    events: mpsc::Receiver<Event>,
    stopped: Arc<AtomicBool>,
}

impl Handle {
    /// A handle and the engine's end of it. `requests_max` bounds the requests that
    /// run and wait together.
    pub(crate) fn new(
        requests_max: usize,
        limits: Limits,
        pace: Arc<Pace>,
        metrics: Arc<Metrics>,
    ) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, receiver) = mpsc::channel(requests_max);
        let permits = Arc::new(Semaphore::new(requests_max));
        let handle = Self {
            jobs,
            permits,
            limits,
            draining: Arc::default(),
            pace,
            metrics,
        };
        (handle, receiver)
    }

    /// Submits a generation.
    ///
    /// # Errors
    /// It could never run, the queue is full, or the engine takes nothing more.
    pub fn submit(&self, request: Generate) -> Result<Generation, Rejected> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Rejected::Draining);
        }
        self.limits
            .check(request.prompt.len(), request.tokens_max)?;
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            self.metrics.rejected.inc();
            return Err(self.queue_full());
        };
        // Each token is one event; the start, the prompt's log-probabilities and the end
        // are three more.
        let (events, receiver) = mpsc::channel(request.tokens_max + 3);
        let stopped = Arc::new(AtomicBool::new(false));
        let job = Job {
            request,
            events,
            arrived: Instant::now(),
            stopped: stopped.clone(),
            _permit: permit,
        };
        match self.jobs.try_send(job) {
            Ok(()) => Ok(Generation {
                events: receiver,
                stopped,
            }),
            Err(mpsc::error::TrySendError::Full(_)) => Err(self.queue_full()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Rejected::Dead),
        }
    }

    fn queue_full(&self) -> Rejected {
        Rejected::QueueFull {
            retry_after: self.pace.retry_after(self.metrics.waiting()),
        }
    }

    /// Refuses new generations; those in progress go on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// The engine's thread has ended.
    pub fn is_dead(&self) -> bool {
        self.jobs.is_closed()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl Generation {
    /// The next event; `None` if the engine died.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// As [`Self::next`], for a thread outside the async runtime.
    pub fn next_blocking(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }

    /// Ends it where it is: the answer is complete. What the engine has ended itself
    /// stays as it ended.
    pub fn stop(self) {
        self.stopped.store(true, Ordering::Release);
    }
}
