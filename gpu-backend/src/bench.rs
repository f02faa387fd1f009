//! Speed of the model itself, without HTTP: tokens per second of prefill, of one
//! sequence's decoding and of eight at a time, on random weights of a known shape.
//! Knows nothing of requests.

use std::fmt;
use std::time::Instant;

use crate::backend::{self, DeviceKind, Precision};
use crate::loader;
use crate::model::ModelConfig;
use crate::runner::Runner;
use crate::scheduler::{Limits, Scheduler, SequenceId};

/// Prompt of the prefill measurement, in tokens.
const PREFILL_TOKENS: usize = 512;
/// Tokens decoded per sequence.
const DECODE_TOKENS: usize = 128;
/// Prompt of the decode measurements: short, so that decoding is what is measured.
const DECODE_PROMPT: usize = 16;
/// Sequences decoded together.
const BATCH: usize = 8;
/// Each figure is the best of this many rounds, interleaved with the others.
const ROUNDS: usize = 3;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    pub prefill_tokens_per_s: f64,
    pub decode_tokens_per_s: f64,
    pub decode8_tokens_per_s: f64,
    pub threads: usize,
    pub precision: Precision,
}

/// The benchmark could not run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BenchError(String);

/// A shape by its name.
pub fn shape(name: &str) -> Option<ModelConfig> {
    (name == "smollm2-135m").then(ModelConfig::smollm2_135m)
}

/// Measures a shape.
///
/// # Errors
/// No thread can be had, or the device failed.
pub fn run(
    config: ModelConfig,
    threads: usize,
    precision: Precision,
) -> Result<Figures, BenchError> {
    let failed = |error: &dyn fmt::Display| BenchError(error.to_string());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| failed(&e))?;
    let device = backend::open(DeviceKind::Cpu).map_err(|e| failed(&e))?;
    pool.install(|| {
        let model = loader::random(config, precision, &device, 1).map_err(|e| failed(&e))?;
        let mut bench = Bench {
            runner: Runner::new(model, BLOCKS),
        };
        let mut best = [0f64; 3];
        for _ in 0..ROUNDS {
            let round = [
                bench.prefill().map_err(|e| failed(&e))?,
                bench.decode(1).map_err(|e| failed(&e))?,
                bench.decode(BATCH).map_err(|e| failed(&e))?,
            ];
            for (best, now) in best.iter_mut().zip(round) {
                *best = best.max(now);
            }
        }
        Ok(Figures {
            prefill_tokens_per_s: best[0],
            decode_tokens_per_s: best[1],
            decode8_tokens_per_s: best[2],
            threads,
            precision,
        })
    })
}

/// Enough for eight sequences of 256 tokens.
const BLOCKS: u32 = 128;

struct Bench {
    runner: Runner,
}

impl Bench {
    fn scheduler(&self) -> Scheduler {
        Scheduler::new(Limits {
            sequences_max: BATCH,
            step_tokens_max: PREFILL_TOKENS,
            sequence_tokens_max: 1024,
            blocks: BLOCKS,
        })
    }

    /// One step over `tokens`, which all sequences share.
    fn step(
        &mut self,
        scheduler: &mut Scheduler,
        tokens: &[u32],
    ) -> Result<Vec<SequenceId>, crate::runner::DeviceFailed> {
        let plan = scheduler.schedule();
        self.runner.forward(&plan, |_| tokens)?;
        Ok(plan
            .chunks
            .iter()
            .filter(|c| c.samples)
            .map(|c| c.sequence)
            .collect())
    }

    fn prefill(&mut self) -> Result<f64, crate::runner::DeviceFailed> {
        let tokens = some_tokens(PREFILL_TOKENS);
        let mut scheduler = self.scheduler();
        let _ = scheduler.admit(SequenceId(0), PREFILL_TOKENS, 1);
        let began = Instant::now();
        self.step(&mut scheduler, &tokens)?;
        Ok(per_second(PREFILL_TOKENS, began))
    }

    fn decode(&mut self, sequences: usize) -> Result<f64, crate::runner::DeviceFailed> {
        let tokens = some_tokens(DECODE_PROMPT + DECODE_TOKENS + 1);
        let mut scheduler = self.scheduler();
        for id in 0..sequences {
            let _ = scheduler.admit(SequenceId(id as u64), DECODE_PROMPT, DECODE_TOKENS);
        }
        for id in self.step(&mut scheduler, &tokens)? {
            scheduler.push_token(id);
        }
        let began = Instant::now();
        for _ in 0..DECODE_TOKENS {
            for id in self.step(&mut scheduler, &tokens)? {
                scheduler.push_token(id);
            }
        }
        Ok(per_second(sequences * DECODE_TOKENS, began))
    }
}

/// Different tokens, so that no cache line of the table is favoured.
fn some_tokens(len: usize) -> Vec<u32> {
    (0u32..)
        .map(|i| (i * 7919 + 13) % 49_152)
        .take(len)
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand tokens")]
fn per_second(tokens: usize, began: Instant) -> f64 {
    tokens as f64 / began.elapsed().as_secs_f64()
}

impl Figures {
    /// One JSON object.
    pub fn json(&self, shape: &str) -> String {
        let round = |x: f64| (x * 10.0).round() / 10.0;
        serde_json::json!({
            "shape": shape,
            "threads": self.threads,
            "precision": self.precision.to_string(),
            "prefill_tokens_per_s": round(self.prefill_tokens_per_s),
            "decode_tokens_per_s": round(self.decode_tokens_per_s),
            "decode8_tokens_per_s": round(self.decode8_tokens_per_s),
        })
        .to_string()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} threads, {}", self.threads, self.precision)?;
        writeln!(
            f,
            "prefill of {PREFILL_TOKENS}:  {:8.1} tokens/s",
            self.prefill_tokens_per_s
        )?;
        writeln!(
            f,
            "decode of {DECODE_TOKENS}:   {:8.1} tokens/s",
            self.decode_tokens_per_s
        )?;
        write!(
            f,
            "decode, {BATCH} at once: {:6.1} tokens/s",
            self.decode8_tokens_per_s
        )
    }
}
