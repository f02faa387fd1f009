//! The training loop: two workers compute gradients of packed batches side by side, one update
//! joins them, and the learning rate follows a budget of minutes or steps. It knows no kernel
//! and no file format beyond calling `export`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokenizers::Tokenizer;

use crate::config::{Config, POSITIONS_MAX};
use crate::data::Generator;
use crate::export;
use crate::model::{self, Batch, Kernels, Network, Parameter};
use crate::ops::Targets;
use crate::optimizer::Optimizer;
use crate::tokenizer::Encoder;

/// Gradient workers, and batches in a step; more would change the recipe.
pub const WORKERS: usize = 2;
/// Tokens in one worker's batch.
pub const BATCH_TOKENS: usize = 1536;
/// Highest learning rate.
pub const RATE: f32 = 3e-3;
/// Steps over which the rate rises.
pub const WARM_UP_STEPS: usize = 100;
/// Part of the budget after which the rate falls in a straight line to zero.
pub const FLAT_PART: f32 = 0.5;
const CHECKPOINT_EVERY: Duration = Duration::from_secs(240);
const REPORT_EVERY_STEPS: usize = 25;

/// When training ends.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// After this time on the clock.
    Time(Duration),
    /// After this many steps; the same seed then gives the same model.
    Steps(usize),
}

impl Budget {
    fn part(self, steps: usize, elapsed: Duration) -> f32 {
        match self {
            Self::Time(time) => elapsed.as_secs_f32() / time.as_secs_f32(),
            Self::Steps(n) => steps as f32 / n as f32,
        }
    }
}

/// What to train.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Shape.
    pub config: Config,
    /// Seed of weights and data.
    pub seed: u64,
    /// End.
    pub budget: Budget,
    /// Highest learning rate.
    pub rate: f32,
    /// Steps over which the rate rises.
    pub warm_up_steps: usize,
    /// Part of the budget after which it falls; below 1.
    pub flat_part: f32,
    /// Tokens in one worker's batch.
    pub batch_tokens: usize,
    /// Folder for the model, or none to keep it in memory.
    pub out: Option<PathBuf>,
}

/// What came out.
#[derive(Debug)]
pub struct Trained {
    /// Weights.
    pub parameters: Vec<Parameter>,
    /// Loss of every step.
    pub losses: Vec<f32>,
    /// Tokens seen.
    pub tokens: usize,
}

fn rate(recipe: &Recipe, steps: usize, part: f32) -> f32 {
    let warm = ((steps + 1) as f32 / recipe.warm_up_steps.max(1) as f32).min(1.0);
    let cool = ((1.0 - part) / (1.0 - recipe.flat_part)).clamp(0.0, 1.0);
    recipe.rate * warm * cool
}

/// An endless source of packed batches.
#[derive(Debug)]
pub struct Batches {
    generator: Generator,
    tokens: usize,
}

impl Batches {
    /// Batches of about `tokens` tokens.
    pub fn new(seed: u64, tokens: usize) -> Self {
        Self {
            generator: Generator::new(seed),
            tokens,
        }
    }

    /// The next batch and the sum of its weights, by which it is not yet divided.
    pub fn next(&mut self, encoder: &Encoder) -> Result<(Batch, f32)> {
        let (mut tokens, mut ids, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let mut starts = vec![0];
        while tokens.len() < self.tokens {
            let encoded = encoder.encode(&self.generator.dialogue())?;
            let n = encoded.ids.len().min(POSITIONS_MAX) - 1;
            tokens.extend_from_slice(&encoded.ids[..n]);
            ids.extend_from_slice(&encoded.ids[1..=n]);
            weights.extend_from_slice(&encoded.weights[1..=n]);
            starts.push(tokens.len());
        }
        let total = weights.iter().sum();
        Ok((
            Batch {
                tokens,
                starts,
                targets: Arc::new(Targets { ids, weights }),
            },
            total,
        ))
    }
}

/// Divides a batch's weights by the step's total.
pub fn normalised(batch: Batch, total: f32) -> Batch {
    let weights = batch.targets.weights.iter().map(|w| w / total).collect();
    let targets = Arc::new(Targets {
        ids: batch.targets.ids.clone(),
        weights,
    });
    Batch { targets, ..batch }
}

/// Trains fresh weights, with a line of progress now and then on `progress`.
pub fn train(recipe: &Recipe, tokenizer: Tokenizer, progress: &mut impl Write) -> Result<Trained> {
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
    let parameters = model::initialise(&recipe.config, &mut rng);
    train_further(recipe, parameters, tokenizer, progress)
}

/// Trains the weights given.
pub fn train_further(
    recipe: &Recipe,
    mut parameters: Vec<Parameter>,
    tokenizer: Tokenizer,
    progress: &mut impl Write,
) -> Result<Trained> {
    let network = Network::new(recipe.config.clone(), Kernels::Fused);
    let encoder = Encoder::new(tokenizer)?;
    let mut optimizer = Optimizer::new(&parameters);
    let mut sources: Vec<Batches> = (0..WORKERS as u64)
        .map(|worker| Batches::new(recipe.seed * 1000 + worker, recipe.batch_tokens))
        .collect();
    let (start, mut saved) = (Instant::now(), Instant::now());
    let (mut losses, mut tokens) = (Vec::new(), 0);
    loop {
        let part = recipe.budget.part(losses.len(), start.elapsed());
        if part >= 1.0 {
            break;
        }
        let rate = rate(recipe, losses.len(), part);
        let batches: Vec<(Batch, f32)> = sources
            .iter_mut()
            .map(|source| source.next(&encoder))
            .collect::<Result<_>>()?;
        tokens += batches
            .iter()
            .map(|(batch, _)| batch.tokens.len())
            .sum::<usize>();
        let (loss, mut gradients) = joined_gradients(&network, &parameters, batches)?;
        optimizer.step(&mut parameters, &mut gradients, rate);
        losses.push(loss);
        if losses.len() % REPORT_EVERY_STEPS == 0 {
            report(progress, &losses, tokens, rate, part, start.elapsed())?;
        }
        if let Some(out) = recipe
            .out
            .as_deref()
            .filter(|_| saved.elapsed() > CHECKPOINT_EVERY)
        {
            export::export(out, &recipe.config, &parameters, encoder.tokenizer())?;
            saved = Instant::now();
        }
    }
    if let Some(out) = &recipe.out {
        export::export(out, &recipe.config, &parameters, encoder.tokenizer())?;
    }
    Ok(Trained {
        parameters,
        losses,
        tokens,
    })
}

/// Loss and gradients over all workers' batches.
fn joined_gradients(
    network: &Network,
    parameters: &[Parameter],
    batches: Vec<(Batch, f32)>,
) -> Result<(f32, Vec<Vec<f32>>)> {
    let total: f32 = batches.iter().map(|(_, weight)| weight).sum();
    let results = std::thread::scope(|scope| {
        let workers: Vec<_> = batches
            .into_iter()
            .map(|(batch, _)| {
                let batch = normalised(batch, total);
                scope.spawn(move || network.loss_and_gradients(parameters, &batch))
            })
            .collect();
        workers
            .into_iter()
            .map(|w| w.join().ok())
            .collect::<Option<Vec<_>>>()
    });
    let mut results = results.context("a worker failed")?.into_iter();
    let (mut loss, mut gradients) = results.next().context("there are no workers")?;
    for (more, others) in results {
        loss += more;
        for (sum, other) in gradients.iter_mut().zip(&others) {
            sum.iter_mut().zip(other).for_each(|(s, o)| *s += o);
        }
    }
    Ok((loss, gradients))
}

fn report(
    progress: &mut impl Write,
    losses: &[f32],
    tokens: usize,
    rate: f32,
    part: f32,
    elapsed: Duration,
) -> Result<()> {
    let recent = &losses[losses.len() - REPORT_EVERY_STEPS..];
    let loss = recent.iter().sum::<f32>() / recent.len() as f32;
    let seconds = elapsed.as_secs_f32();
    let left = if part > 0.0 {
        seconds / part - seconds
    } else {
        0.0
    };
    writeln!(
        progress,
        "step {:5}  loss {loss:.4}  rate {rate:.5}  {:.2} M tokens  {:.0} tokens/s  {:.0} min left",
        losses.len(),
        tokens as f32 / 1e6,
        tokens as f32 / seconds,
        left / 60.0,
    )?;
    progress.flush()?;
    Ok(())
}
