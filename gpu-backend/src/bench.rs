//! Speed of the model itself, without HTTP: tokens per second of prefill, of one
//! sequence's decoding and of eight at a time, on random weights of a known shape.
//! Knows nothing of requests.

pub mod device;

use std::fmt;
use std::time::Instant;

use crate::backend::{self, DeviceError, DeviceKind, Precision};
use crate::kernels::workers::Workers;
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
pub enum BenchError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("{0}")]
    Failed(String),
}

/// The shapes that are known, for messages.
pub const SHAPES: &str = "smollm2-135m, qwen2.5-0.5b, llama-3.2-1b, llama-3.1-8b, tiny";

/// A shape by its name.
pub fn shape(name: &str) -> Option<ModelConfig> {
    match name {
        "smollm2-135m" => Some(ModelConfig::smollm2_135m()),
        "qwen2.5-0.5b" => Some(qwen2_5_0_5b()),
        "llama-3.2-1b" => Some(llama_3_2_1b()),
        "llama-3.1-8b" => Some(llama_3_1_8b()),
        "tiny" => Some(tiny()),
        _ => None,
    }
}

/// Qwen2.5-0.5B's config.json, without what does not change its speed.
fn qwen2_5_0_5b() -> ModelConfig {
    ModelConfig {
        vocab: 151_936,
        hidden: 896,
        inner: 4_864,
        layers: 24,
        heads: 14,
        kv_heads: 2,
        qkv_bias: true,
        ..ModelConfig::smollm2_135m()
    }
}

/// Llama-3.2-1B's config.json, without what does not change its speed.
fn llama_3_2_1b() -> ModelConfig {
    ModelConfig {
        vocab: 128_256,
        hidden: 2_048,
        inner: 8_192,
        layers: 16,
        heads: 32,
        kv_heads: 8,
        ..ModelConfig::smollm2_135m()
    }
}

/// Llama-3.1-8B's config.json, without what does not change its speed.
fn llama_3_1_8b() -> ModelConfig {
    ModelConfig {
        hidden: 4_096,
        inner: 14_336,
        layers: 32,
        head_dim: 128,
        attention_scale: 128f32.sqrt().recip(),
        tied: false,
        ..llama_3_2_1b()
    }
}

/// No model's shape: small enough to try a benchmark out.
fn tiny() -> ModelConfig {
    ModelConfig {
        vocab: 512,
        hidden: 128,
        inner: 256,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        ..ModelConfig::smollm2_135m()
    }
}

/// Measures a shape; each figure is the median of `rounds`, which interleave.
///
/// # Errors
/// No thread can be had, or the device failed.
pub fn run(
    config: ModelConfig,
    threads: usize,
    precision: Precision,
    rounds: usize,
) -> Result<Figures, BenchError> {
    let failed = |error: &dyn fmt::Display| BenchError::Failed(error.to_string());
    let mut workers = Workers::new(threads).map_err(|e| failed(&e))?;
    let device = backend::open(DeviceKind::Cpu)?;
    workers.install(|| {
        let model = loader::random(config, precision, &device, 1).map_err(|e| failed(&e))?;
        let mut bench = Bench {
            runner: Runner::new(model, BLOCKS),
        };
        // Memory is touched, and the CPU at its speed, before anything is timed.
        bench.prefill().map_err(|e| failed(&e))?;
        let mut figures = [const { Vec::new() }; 3];
        for _ in 0..rounds.max(1) {
            figures[0].push(bench.prefill().map_err(|e| failed(&e))?);
            figures[1].push(bench.decode(1).map_err(|e| failed(&e))?);
            figures[2].push(bench.decode(BATCH).map_err(|e| failed(&e))?);
        }
        let [prefill, decode, decode8] = figures.map(median);
        Ok(Figures {
            prefill_tokens_per_s: prefill,
            decode_tokens_per_s: decode,
            decode8_tokens_per_s: decode8,
            threads,
            precision,
        })
    })
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Enough for eight sequences of 256 tokens.
const BLOCKS: u32 = 128;

struct Bench {
    runner: Runner,
}

impl Bench {
    fn vocab(&self) -> usize {
        self.runner.model().config().vocab
    }

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
        let tokens = some_tokens(PREFILL_TOKENS, self.vocab());
        let mut scheduler = self.scheduler();
        let _ = scheduler.admit(SequenceId(0), PREFILL_TOKENS, 1);
        let began = Instant::now();
        self.step(&mut scheduler, &tokens)?;
        Ok(per_second(PREFILL_TOKENS, began))
    }

    fn decode(&mut self, sequences: usize) -> Result<f64, crate::runner::DeviceFailed> {
        let tokens = some_tokens(DECODE_PROMPT + DECODE_TOKENS + 1, self.vocab());
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
fn some_tokens(len: usize, vocab: usize) -> Vec<u32> {
    let vocab = u32::try_from(vocab).unwrap_or(u32::MAX);
    (0u32..)
        .map(|i| (i * 7919 + 13) % vocab)
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
