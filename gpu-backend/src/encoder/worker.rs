//! The encoder's thread: takes what waits, runs it in batches of a bounded number of
//! tokens, and answers.
//! Knows nothing of texts.

use tokio::sync::{mpsc, oneshot};

use super::model::{EncoderModel, Input};
use super::{EncodeError, Vectors};
use crate::engine::StartError;
use crate::kernels::workers::Workers;
use crate::local::Options;

/// One call: its inputs, and where their results go.
pub(super) struct Job {
    pub(super) inputs: Vec<Input>,
    pub(super) reply: oneshot::Sender<Vectors>,
}

/// A job under way.
struct Work {
    job: Job,
    results: Vec<Vec<f32>>,
    failed: Option<String>,
}

/// Starts the thread; it ends when the last sender is dropped.
pub(super) fn start(
    model: EncoderModel,
    options: &Options,
) -> Result<mpsc::Sender<Job>, StartError> {
    let threads = |error: &dyn std::fmt::Display| StartError::Threads(error.to_string());
    let mut workers = Workers::new(options.threads).map_err(|e| threads(&e))?;
    let (sender, jobs) = mpsc::channel(options.queue_max.max(1));
    let batch_tokens = options.step_tokens_max;
    std::thread::Builder::new()
        .name("encoder".to_owned())
        .spawn(move || serve(&model, &mut workers, batch_tokens, jobs))
        .map_err(|e| threads(&e))?;
    Ok(sender)
}

fn serve(
    model: &EncoderModel,
    workers: &mut Workers,
    batch_tokens: usize,
    mut jobs: mpsc::Receiver<Job>,
) {
    while let Some(first) = jobs.blocking_recv() {
        let mut work = vec![Work::new(first)];
        let mut tokens = work[0].tokens();
        // What else waits shares the batches, up to one more batch's worth.
        while tokens < batch_tokens
            && let Ok(job) = jobs.try_recv()
        {
            work.push(Work::new(job));
            tokens += work[work.len() - 1].tokens();
        }
        while let Some(batch) = next_batch(&work, batch_tokens) {
            run(model, workers, &mut work, &batch);
        }
        work.into_iter().for_each(Work::finish);
    }
}

/// The next inputs, as (index of the work, index of the input), in order: at least one,
/// and no more than `batch_tokens` otherwise. Calls that nobody waits for are left out.
fn next_batch(work: &[Work], batch_tokens: usize) -> Option<Vec<(usize, usize)>> {
    let mut batch = Vec::new();
    let mut tokens = 0;
    for (w, work) in work.iter().enumerate() {
        if work.job.reply.is_closed() || work.failed.is_some() {
            continue;
        }
        for (i, input) in work.job.inputs.iter().enumerate().skip(work.results.len()) {
            tokens += input.tokens.len();
            if tokens > batch_tokens && !batch.is_empty() {
                return Some(batch);
            }
            batch.push((w, i));
        }
    }
    (!batch.is_empty()).then_some(batch)
}

fn run(model: &EncoderModel, workers: &mut Workers, work: &mut [Work], batch: &[(usize, usize)]) {
    let inputs: Vec<Input> = batch
        .iter()
        .map(|(w, i)| work[*w].job.inputs[*i].clone())
        .collect();
    match workers.install(|| model.run(&inputs)) {
        Ok(results) => {
            for ((w, _), result) in batch.iter().zip(results) {
                work[*w].results.push(result);
            }
        }
        Err(error) => {
            for (w, _) in batch {
                work[*w].failed = Some(error.to_string());
            }
        }
    }
}

impl Work {
    fn new(job: Job) -> Self {
        Self {
            job,
            results: Vec::new(),
            failed: None,
        }
    }

    fn tokens(&self) -> usize {
        self.job.inputs.iter().map(|input| input.tokens.len()).sum()
    }

    fn finish(self) {
        let result = match self.failed {
            Some(problem) => Err(EncodeError::Failed(problem)),
            None => Ok(self.results),
        };
        // A closed channel is a caller that went away.
        let _ = self.job.reply.send(result);
    }
}
