//! Speed on a device: what its memory and its matrix products give at most, then decoding
//! of several batches, prefill, and many requests at once, each as a share of the one or
//! the other. Logits come to the host at every step, as when serving.
//! Knows nothing of requests.

mod work;

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, Tensor};

use super::{BenchError, some_tokens};
use crate::backend::{self, DeviceKind, Matrix, Precision};
use crate::kernels::BLOCK_TOKENS;
use crate::loader;
use crate::model::ModelConfig;
use crate::runner::Runner;
use crate::scheduler::{Limits, Scheduler, SequenceId};
use work::Work;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    pub device: DeviceKind,
    pub shapes: Vec<(String, ModelConfig)>,
    pub precisions: Vec<Precision>,
    /// Sequences that decode together.
    pub batches: Vec<usize>,
    /// Tokens of each prompt.
    pub prompt_tokens: usize,
    /// Steps of decoding, and tokens of each answer.
    pub answer_tokens: usize,
    /// Tokens of a prefill, and the most of a step.
    pub prefill_tokens: usize,
    /// Values of each of the two tensors that the bandwidth is measured with.
    pub bandwidth_values: usize,
    /// Rows, columns and inner values of the product that is the peak.
    pub product_side: usize,
}

/// What a device gives at most, measured.
#[derive(Clone, Copy, Debug)]
struct Peaks {
    bytes_per_s: f64,
    flops_per_s: f64,
}

/// One line of the table.
struct Line {
    shape: String,
    precision: Precision,
    what: String,
    tokens_per_s: f64,
    step: Duration,
    /// Of the memory's bandwidth, and of the products' peak.
    shares: [f64; 2],
}

/// Measures, and writes a table in Markdown; `say` is told of each line as it comes.
///
/// # Errors
/// The device cannot be had or failed.
pub fn run(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<String, BenchError> {
    let device = backend::open(plan.device)?;
    let peaks = Peaks {
        bytes_per_s: bandwidth(plan.bandwidth_values, &device)?,
        flops_per_s: products(plan.product_side, &device)?,
    };
    let mut table = String::new();
    let mut write = |line: String| {
        say(&line);
        table.push_str(&line);
        table.push('\n');
    };
    write(format!(
        "Memory, measured by an addition: {:.0} GB/s. A product of bf16, {} on a side: {:.1} TFLOP/s.\n",
        peaks.bytes_per_s / 1e9,
        plan.product_side,
        peaks.flops_per_s / 1e12
    ));
    write(Line::HEAD.to_owned());
    for (shape, config) in &plan.shapes {
        for precision in &plan.precisions {
            let model = loader::random(config.clone(), *precision, &device, 1).map_err(failed)?;
            let mut bench = Bench {
                runner: Runner::new(model, plan.blocks()),
                plan,
                work: Work::of(config, *precision),
                peaks,
                shape,
                precision: *precision,
            };
            for batch in &plan.batches {
                // The first time, kernels are compiled.
                bench.decode(*batch)?;
                write(bench.decode(*batch)?.to_string());
            }
            write(bench.prefill()?.to_string());
            write(bench.saturated()?.to_string());
        }
    }
    Ok(table)
}

fn failed(error: impl fmt::Display) -> BenchError {
    BenchError::Failed(error.to_string())
}

fn finish(device: &Device) -> Result<(), BenchError> {
    device
        .sync()
        .map_err(|error| BenchError::Failed(format!("{error:?}")))
}

/// The shortest of some runs, once the kernels are compiled.
fn shortest(mut run: impl FnMut() -> Result<(), BenchError>) -> Result<f64, BenchError> {
    const RUNS: usize = 5;
    run()?;
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let began = Instant::now();
        run()?;
        least = least.min(began.elapsed().as_secs_f64());
    }
    Ok(least)
}

/// Bytes a second of `a += b`.
fn bandwidth(values: usize, device: &Device) -> Result<f64, BenchError> {
    const ADDITIONS: usize = 8;
    let ones = || Tensor::<2>::ones([1, values], (device, DType::F32));
    let (mut a, b) = (Some(ones()), ones());
    let seconds = shortest(|| {
        for _ in 0..ADDITIONS {
            a = a.take().map(|a| backend::add(a, b.clone()));
        }
        finish(device)
    })?;
    // Two are read, one is written.
    Ok(count(3 * ADDITIONS * values * size_of::<f32>()) / seconds)
}

/// Operations a second of a product as a layer has it, on a weight of bf16.
fn products(side: usize, device: &Device) -> Result<f64, BenchError> {
    const PRODUCTS: usize = 4;
    let weight = Matrix::new(vec![0.5; side * side], side, side, Precision::Bf16, device);
    let x = Tensor::<2>::ones([side, side], (device, DType::F32));
    let seconds = shortest(|| {
        for _ in 0..PRODUCTS {
            weight.apply(x.clone());
        }
        finish(device)
    })?;
    Ok(count(PRODUCTS) * 2.0 * count(side).powi(3) / seconds)
}

impl Plan {
    fn batch_max(&self) -> usize {
        self.batches.iter().copied().max().unwrap_or(1)
    }

    /// Tokens of the longest sequence: one more than are asked for is known at the end.
    fn sequence_tokens(&self) -> usize {
        (self.prompt_tokens + self.answer_tokens + 1).max(self.prefill_tokens + 1)
    }

    fn blocks(&self) -> u32 {
        let each = (self.prompt_tokens + self.answer_tokens + 1).div_ceil(BLOCK_TOKENS);
        let all = (each * self.batch_max()).max(self.sequence_tokens().div_ceil(BLOCK_TOKENS));
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}

struct Bench<'a> {
    runner: Runner,
    plan: &'a Plan,
    work: Work,
    peaks: Peaks,
    shape: &'a str,
    precision: Precision,
}

impl Bench<'_> {
    fn scheduler(&self, sequences: usize) -> Scheduler {
        Scheduler::new(Limits {
            sequences_max: sequences,
            step_tokens_max: self.plan.prefill_tokens.max(sequences),
            sequence_tokens_max: self.plan.sequence_tokens(),
            blocks: self.plan.blocks(),
        })
    }

    /// One step; the sequences that sampled.
    fn step(&mut self, scheduler: &mut Scheduler) -> Result<Vec<SequenceId>, BenchError> {
        let vocab = self.runner.model().config().vocab;
        let tokens = some_tokens(self.plan.sequence_tokens(), vocab);
        let plan = scheduler.schedule();
        self.runner.forward(&plan, |_| &tokens).map_err(failed)?;
        let sampled = plan.chunks.iter().filter(|chunk| chunk.samples);
        Ok(sampled.map(|chunk| chunk.sequence).collect())
    }

    fn admit(&self, scheduler: &mut Scheduler, sequences: usize) -> Result<(), BenchError> {
        for id in 0..sequences {
            let id = SequenceId(id as u64);
            let (prompt, answer) = (self.plan.prompt_tokens, self.plan.answer_tokens);
            let admitted = scheduler.admit(id, prompt, answer);
            admitted.map_err(|error| BenchError::Failed(format!("{error:?}")))?;
        }
        Ok(())
    }

    /// All sequences at once, a token each a step.
    fn decode(&mut self, batch: usize) -> Result<Line, BenchError> {
        let mut scheduler = self.scheduler(batch);
        self.admit(&mut scheduler, batch)?;
        // Prompts, in chunks: a sequence that is ahead of others waits for them.
        let mut ready = 0;
        while ready < batch {
            ready += self.step(&mut scheduler)?.len();
        }
        for id in 0..batch {
            scheduler.push_token(SequenceId(id as u64));
        }
        let steps = self.plan.answer_tokens - 1;
        let began = Instant::now();
        for _ in 0..steps {
            for id in self.step(&mut scheduler)? {
                scheduler.push_token(id);
            }
        }
        let context = self.plan.prompt_tokens + steps / 2;
        let bytes = self.work.step_bytes(batch, context);
        let flops = self.work.flops(batch, context);
        Ok(self.line(
            format!("decode of {batch}"),
            steps,
            batch * steps,
            began.elapsed(),
            [bytes, flops],
        ))
    }

    /// One prompt in one step.
    fn prefill(&mut self) -> Result<Line, BenchError> {
        const RUNS: usize = 3;
        let tokens = self.plan.prefill_tokens;
        let mut least = Duration::MAX;
        for _ in 0..RUNS {
            let mut scheduler = self.scheduler(1);
            let admitted = scheduler.admit(SequenceId(0), tokens, 1);
            admitted.map_err(|error| BenchError::Failed(format!("{error:?}")))?;
            let began = Instant::now();
            self.step(&mut scheduler)?;
            least = least.min(began.elapsed());
        }
        let bytes = self.work.step_bytes(1, tokens);
        // A token sees half of the others.
        let flops = self.work.flops(tokens, tokens / 2);
        Ok(self.line(
            format!("prefill of {tokens}"),
            1,
            tokens,
            least,
            [bytes, flops],
        ))
    }

    /// Twice as many requests as run at a time, from their first token to their last.
    fn saturated(&mut self) -> Result<Line, BenchError> {
        let batch = self.plan.batch_max();
        let requests = 2 * batch;
        let mut scheduler = self.scheduler(batch);
        self.admit(&mut scheduler, requests)?;
        let mut made = vec![0; requests];
        let (mut steps, mut waited) = (0, 0);
        let began = Instant::now();
        while !scheduler.is_idle() {
            let sampled = self.step(&mut scheduler)?;
            // A plan that computes nothing twice in a row will never end.
            waited = if sampled.is_empty() { waited + 1 } else { 0 };
            if waited > self.plan.sequence_tokens() {
                return Err(BenchError::Failed("the scheduler is stuck".to_owned()));
            }
            for id in sampled {
                let index = usize::try_from(id.0).unwrap_or(usize::MAX);
                made[index] += 1;
                if made[index] == self.plan.answer_tokens {
                    scheduler.remove(id);
                } else {
                    scheduler.push_token(id);
                }
            }
            steps += 1;
        }
        let took = began.elapsed();
        let tokens = requests * (self.plan.prompt_tokens + self.plan.answer_tokens);
        let context = (self.plan.prompt_tokens + self.plan.answer_tokens) / 2;
        let flops = self.work.flops(tokens / steps, context);
        let bytes = self.work.step_bytes(batch, context);
        let mut line = self.line(String::new(), steps, tokens, took, [bytes, flops]);
        let answers = count(requests * self.plan.answer_tokens) / took.as_secs_f64();
        line.what =
            format!("{requests} requests, {batch} at a time ({answers:.0} answer tokens/s)");
        Ok(line)
    }

    /// `[bytes, operations]` are of one step.
    fn line(
        &self,
        what: String,
        steps: usize,
        tokens: usize,
        took: Duration,
        [bytes, flops]: [f64; 2],
    ) -> Line {
        let step = took.as_secs_f64() / count(steps.max(1));
        Line {
            shape: self.shape.to_owned(),
            precision: self.precision,
            what,
            tokens_per_s: count(tokens) / took.as_secs_f64(),
            step: Duration::from_secs_f64(step),
            shares: [
                bytes / step / self.peaks.bytes_per_s,
                flops / step / self.peaks.flops_per_s,
            ],
        }
    }
}

impl Line {
    const HEAD: &str = "| shape | weights | what | tokens/s | ms a step | of the bandwidth | of the product's peak |\n\
                        |---|---|---|---|---|---|---|";
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bandwidth, peak] = self.shares.map(|share| 100.0 * share);
        let mut line = String::new();
        write!(
            line,
            "| {} | {} | {} ",
            self.shape, self.precision, self.what
        )?;
        write!(line, "| {:.0} ", self.tokens_per_s)?;
        write!(line, "| {:.2} ", 1e3 * self.step.as_secs_f64())?;
        write!(line, "| {bandwidth:.0} % | {peak:.0} % |")?;
        f.write_str(&line)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for shares and speeds")]
fn count(value: usize) -> f64 {
    value as f64
}
