//! Turns the scheduler's plan into one forward pass: flattens the chunks of all
//! sequences, lays out their positions and slots, and brings the logits back.
//! Knows neither requests nor how a token is chosen.

use std::ops::Range;

use burn::tensor::TensorData;

use crate::kernels::{BLOCK_TOKENS, Span, StepLayout};
use crate::model::{Cache, Model};
use crate::scheduler::{Chunk, Plan, SequenceId};

/// The model and its cache; one thread owns it.
#[derive(Debug)]
pub struct Runner {
    model: Model,
    cache: Cache,
}

/// Logits `[rows, vocab]` of a step.
#[derive(Debug)]
pub struct Logits {
    pub values: Vec<f32>,
    pub vocab: usize,
    /// For each chunk of the plan its rows: all of them where the prompt is scored; else
    /// where it samples the last, and those before its drafts; else none.
    pub rows: Vec<Range<usize>>,
}

/// The device could not give its result.
#[derive(Debug, thiserror::Error)]
#[error("the device failed: {0}")]
pub struct DeviceFailed(String);

impl DeviceFailed {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl Runner {
    pub fn new(model: Model, blocks: u32) -> Self {
        let cache = model.cache(blocks as usize);
        Self { model, cache }
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Runs one step. `tokens_of` gives all tokens of a sequence.
    ///
    /// # Errors
    /// The device failed.
    pub fn forward<'a>(
        &mut self,
        plan: &Plan,
        tokens_of: impl Fn(SequenceId) -> &'a [u32],
    ) -> Result<Logits, DeviceFailed> {
        self.forward_scored(plan, tokens_of, |_| false)
    }

    /// As [`Self::forward`]; `scored` says of which sequences the logits of all
    /// positions are wanted.
    ///
    /// # Errors
    /// The device failed.
    pub fn forward_scored<'a>(
        &mut self,
        plan: &Plan,
        tokens_of: impl Fn(SequenceId) -> &'a [u32],
        scored: impl Fn(SequenceId) -> bool,
    ) -> Result<Logits, DeviceFailed> {
        let mut tokens = Vec::new();
        let mut wanted = Vec::new();
        let mut rows = Vec::with_capacity(plan.chunks.len());
        let mut step = StepLayout::default();
        for chunk in &plan.chunks {
            let known = tokens_of(chunk.sequence);
            tokens.extend_from_slice(&known[chunk.start..chunk.start + chunk.tokens]);
            lay_out(chunk, &mut step);
            let of_chunk = match (scored(chunk.sequence), chunk.samples) {
                (true, _) => tokens.len() - chunk.tokens..tokens.len(),
                (false, true) => tokens.len() - 1 - chunk.drafts..tokens.len(),
                (false, false) => 0..0,
            };
            rows.push(wanted.len()..wanted.len() + of_chunk.len());
            wanted.extend(of_chunk.map(index));
        }
        let vocab = self.model.config().vocab;
        if wanted.is_empty() {
            // A row is asked for all the same, so that the step has really run when
            // this returns on a device that computes behind our back.
            wanted.push(0);
            self.run(&tokens, &step, &wanted)?;
            return Ok(Logits {
                values: Vec::new(),
                vocab,
                rows,
            });
        }
        Ok(Logits {
            values: self.run(&tokens, &step, &wanted)?,
            vocab,
            rows,
        })
    }

    fn run(
        &mut self,
        tokens: &[u32],
        step: &StepLayout,
        wanted: &[u32],
    ) -> Result<Vec<f32>, DeviceFailed> {
        let logits = self.model.forward(tokens, step, wanted, &mut self.cache);
        let data: TensorData = logits
            .try_into_data()
            .map_err(|error| DeviceFailed(format!("{error:?}")))?;
        data.try_into_vec()
            .map_err(|error| DeviceFailed(format!("{error:?}")))
    }
}

/// Appends a chunk's rows to the step.
fn lay_out(chunk: &Chunk, step: &mut StepLayout) {
    let first = step.tokens();
    for position in chunk.start..chunk.start + chunk.tokens {
        let block = chunk.blocks[position / BLOCK_TOKENS].0 as usize;
        step.positions.push(index(position));
        step.slots
            .push(index(block * BLOCK_TOKENS + position % BLOCK_TOKENS));
    }
    step.spans.push(Span {
        rows: first..first + chunk.tokens,
        context: chunk.start,
        blocks: chunk.blocks.iter().map(|block| block.0).collect(),
    });
}

/// Rows, positions and slots fit 32 bits: a cache of 2³² slots would be terabytes.
fn index(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
