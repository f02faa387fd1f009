//! Speed on a device: what its memory and its matrix products give at most, then decoding
//! of several batches, prefill, and many requests at once, each as a share of the one or
//! the other. The engine's own products are no measure of what a device can do, so another
//! library's figures may be given to take the shares of. Logits come to the host at every
//! step, as when serving; nothing is sampled.
//! Knows nothing of requests.

mod work;

use std::fmt::{self, Write as _};
use std::str::FromStr;
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

/// A kind of line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Decode,
    Prefill,
    /// Twice as many requests as run at a time, from the first token to the last.
    Saturated,
}

/// A figure that is not measured here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown figure {0:?}; known: decode, prefill, saturated")]
pub struct UnknownFigure(String);

impl FromStr for Figure {
    type Err = UnknownFigure;

    fn from_str(name: &str) -> Result<Self, UnknownFigure> {
        match name {
            "decode" => Ok(Self::Decode),
            "prefill" => Ok(Self::Prefill),
            "saturated" => Ok(Self::Saturated),
            other => Err(UnknownFigure(other.to_owned())),
        }
    }
}

/// Steps of decoding that are not timed: kernels are compiled and memory is taken in them.
pub const WARM_STEPS: usize = 2;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    pub device: DeviceKind,
    pub figures: Vec<Figure>,
    pub shapes: Vec<(String, ModelConfig)>,
    pub precisions: Vec<Precision>,
    /// Sequences that decode together.
    pub batches: Vec<usize>,
    /// Tokens of each prompt.
    pub prompt_tokens: usize,
    /// Tokens of each answer: the first comes with the prompt, `WARM_STEPS` are not timed,
    /// and one at least is.
    pub answer_tokens: usize,
    /// Tokens of a prefill, and the most of a step.
    pub prefill_tokens: usize,
    /// Values of each of the two tensors that the bandwidth is measured with.
    pub bandwidth_values: usize,
    /// Rows, columns and inner values of the product that is measured.
    pub product_side: usize,
    /// What another library was seen to give, in place of what is measured here.
    pub bytes_per_s: Option<f64>,
    pub flops_per_s: Option<f64>,
}

/// What shares are taken of.
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

/// Measures, and tells of each line of a table in Markdown as it comes.
///
/// # Errors
/// The device cannot be had or failed.
pub fn run(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<(), BenchError> {
    let device = backend::open(plan.device)?;
    let peaks = peaks(plan, &device, say)?;
    say(Line::HEAD);
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
            for figure in &plan.figures {
                match figure {
                    Figure::Decode => {
                        for batch in &plan.batches {
                            say(&bench.decode(*batch)?.to_string());
                        }
                    }
                    Figure::Prefill => say(&bench.prefill()?.to_string()),
                    Figure::Saturated => say(&bench.saturated()?.to_string()),
                }
            }
        }
    }
    Ok(())
}

/// Measures what the engine's own addition and product give, and says what shares are of.
fn peaks(plan: &Plan, device: &Device, say: &mut dyn FnMut(&str)) -> Result<Peaks, BenchError> {
    let own = Peaks {
        bytes_per_s: bandwidth(plan.bandwidth_values, device)?,
        flops_per_s: products(plan.product_side, device)?,
    };
    let side = plan.product_side;
    say(&format!(
        "The engine's own addition moves {:.0} GB/s, its product of bf16, {side} on a side, does {:.1} TFLOP/s.",
        own.bytes_per_s / 1e9,
        own.flops_per_s / 1e12
    ));
    let peaks = Peaks {
        bytes_per_s: plan.bytes_per_s.unwrap_or(own.bytes_per_s),
        flops_per_s: plan.flops_per_s.unwrap_or(own.flops_per_s),
    };
    let whose = |given: Option<f64>| match given {
        Some(_) => "given",
        None => "the engine's own, so that a slow one flatters",
    };
    say(&format!(
        "Shares are of {:.0} GB/s ({}) and {:.1} TFLOP/s ({}), and the bytes are a step's least: the weights once, and keys and values in bf16, however they are kept.\n",
        peaks.bytes_per_s / 1e9,
        whose(plan.bytes_per_s),
        peaks.flops_per_s / 1e12,
        whose(plan.flops_per_s),
    ));
    Ok(peaks)
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
        let steps = self
            .plan
            .answer_tokens
            .saturating_sub(1 + WARM_STEPS)
            .max(1);
        let mut advance = |steps: usize| -> Result<Duration, BenchError> {
            let began = Instant::now();
            for _ in 0..steps {
                for id in self.step(&mut scheduler)? {
                    scheduler.push_token(id);
                }
            }
            Ok(began.elapsed())
        };
        advance(WARM_STEPS)?;
        let took = advance(steps)?;
        let context = self.plan.prompt_tokens + WARM_STEPS + steps / 2;
        let bytes = self.work.step_bytes(batch, context);
        let flops = self.work.flops(batch, context);
        Ok(self.line(
            format!("decode of {batch}"),
            steps,
            batch * steps,
            took,
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
    const HEAD: &str = "| shape | weights | what | tokens/s | ms a step | of the bandwidth | of the product |\n\
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(figures: &[&str]) -> Plan {
        Plan {
            device: DeviceKind::Cpu,
            figures: figures.iter().map(|name| name.parse().unwrap()).collect(),
            shapes: vec![("tiny".to_owned(), crate::bench::shape("tiny").unwrap())],
            precisions: vec![Precision::Bf16, Precision::Int8],
            batches: vec![1, 3],
            prompt_tokens: 20,
            answer_tokens: 2 + WARM_STEPS,
            prefill_tokens: 32,
            bandwidth_values: 1 << 12,
            product_side: 32,
            bytes_per_s: None,
            flops_per_s: None,
        }
    }

    /// The table's lines below its head, each cell on its own.
    fn lines(plan: &Plan) -> (String, Vec<Vec<String>>) {
        let mut said = Vec::new();
        run(plan, &mut |line| said.push(line.to_owned())).unwrap();
        let table = said.join("\n");
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let rows = table.lines().filter(|line| line.starts_with("| tiny"));
        (table.clone(), rows.map(cells).collect())
    }

    #[test]
    fn a_table_has_the_lines_that_were_asked_for_in_that_order() {
        let decode = ["decode of 1", "decode of 3"];
        let saturated = "6 requests, 3 at a time";
        let cases: [(&[&str], &[&str]); 4] = [
            (&["decode"], &decode),
            (&["prefill"], &["prefill of 32"]),
            (&["saturated"], &[saturated]),
            (
                &["prefill", "decode", "saturated"],
                &["prefill of 32", decode[0], decode[1], saturated],
            ),
        ];
        for (figures, want) in cases {
            let (_, rows) = lines(&plan(figures));
            let got: Vec<(&str, &str)> = rows.iter().map(|row| (&*row[2], &*row[3])).collect();
            let both = ["bf16", "int8"].into_iter();
            let want: Vec<(&str, &str)> = both
                .flat_map(|precision| want.iter().map(move |what| (precision, *what)))
                .collect();
            assert_eq!(got.len(), want.len(), "{figures:?}: {got:?}");
            for (got, want) in got.into_iter().zip(want) {
                assert_eq!(got.0, want.0);
                assert!(got.1.starts_with(want.1), "{got:?} is not {want:?}");
            }
        }
    }

    #[test]
    fn shares_are_of_the_peaks_that_are_given_and_the_table_says_whose_they_are() {
        let own = lines(&plan(&["decode"])).0;
        assert_eq!(own.matches("the engine's own, so").count(), 2, "{own}");
        let mut given = plan(&["decode"]);
        // Of a memory and products that are endless nothing is used.
        (given.bytes_per_s, given.flops_per_s) = (Some(1e30), Some(1e30));
        let (table, rows) = lines(&given);
        assert_eq!(table.matches("(given)").count(), 2, "{table}");
        assert!(!table.contains("the engine's own, so"), "{table}");
        for row in rows {
            assert_eq!(&row[6..8], ["0 %", "0 %"], "{row:?}");
        }
    }

    #[test]
    fn a_figure_is_known_by_its_name_alone() {
        for name in ["", "Decode", "decode ", "all"] {
            let unknown = name.parse::<Figure>().unwrap_err();
            assert_eq!(unknown, UnknownFigure(name.to_owned()));
        }
    }
}
