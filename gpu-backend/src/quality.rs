//! What rounding costs: perplexity of a text, and how far the logits are from those of
//! float32 weights, for each way of keeping weights and cache.
//! Knows nothing of requests; it calls the model itself.

use std::fmt;
use std::path::Path;

use crate::backend::{self, DeviceKind, KvCacheDtype, Precision};
use crate::kernels::workers::Workers;
use crate::kernels::{BLOCK_TOKENS, Span, StepLayout};
use crate::loader::{self, LoadError};
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Sixty dialogues of the bundled model's own kind, from its generator
/// (`demo-model data --count 60 --seed 20261124`), parted by empty lines.
const DIALOGUES: &str = include_str!("quality/dialogues.txt");
/// Longest sequence, in tokens; what is longer is cut.
const SEQUENCE_TOKENS_MAX: usize = 512;

/// What is compared; the first is what the others are compared with.
const VARIANTS: [(Precision, KvCacheDtype); 6] = [
    (Precision::F32, KvCacheDtype::Auto),
    (Precision::Bf16, KvCacheDtype::Auto),
    (Precision::Int8, KvCacheDtype::Auto),
    (Precision::Int4, KvCacheDtype::Auto),
    (Precision::F32, KvCacheDtype::Int8),
    (Precision::Int8, KvCacheDtype::Int8),
];

/// One variant beside float32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    pub weights: Precision,
    pub kv_cache: KvCacheDtype,
    pub perplexity: f64,
    /// Largest and mean difference of a logit.
    pub error_max: f64,
    pub error_mean: f64,
    /// Share of positions with the same most likely token.
    pub agreement: f64,
}

/// Nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    #[error("the device failed: {0}")]
    Device(String),
    #[error("the text has no two tokens in a row")]
    Empty,
}

/// Measures the model in `dir` on `text`, or on dialogues of the bundled model's kind.
///
/// # Errors
/// The model cannot be loaded, or the text is too short.
pub fn run(dir: &Path, text: Option<&str>, threads: usize) -> Result<Vec<Figures>, QualityError> {
    let config = ModelConfig::read(dir).map_err(LoadError::from)?;
    let tokenizer = Tokenizer::load_within(dir, config.vocab)?;
    let mut sequences = Vec::new();
    for part in text.unwrap_or(DIALOGUES).split("\n\n") {
        let tokens = tokenizer.encode(part.trim(), false)?;
        let pieces = tokens.chunks(SEQUENCE_TOKENS_MAX).filter(|p| p.len() > 1);
        sequences.extend(pieces.map(<[u32]>::to_vec));
    }
    if sequences.is_empty() {
        return Err(QualityError::Empty);
    }
    let device = backend::open(DeviceKind::Cpu).map_err(|e| QualityError::Device(e.to_string()))?;
    let mut workers = Workers::new(threads).map_err(QualityError::Threads)?;
    let exact = loader::load(dir, Precision::F32, &device)?;
    workers.install(|| {
        let mut figures = Vec::new();
        for (weights, kv_cache) in VARIANTS {
            let model = loader::load(dir, weights, &device)?;
            let mut sums = Sums::default();
            for tokens in &sequences {
                let want = logits(&exact, KvCacheDtype::Auto, tokens)?;
                let got = logits(&model, kv_cache, tokens)?;
                sums.add(tokens, &want, &got);
            }
            figures.push(sums.figures(weights, kv_cache));
        }
        Ok(figures)
    })
}

/// The logits `[tokens, vocab]` of a sequence from its start.
fn logits(model: &Model, kv_cache: KvCacheDtype, tokens: &[u32]) -> Result<Vec<f32>, QualityError> {
    let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    let blocks = tokens.len().div_ceil(BLOCK_TOKENS);
    let rows: Vec<u32> = (0..count).collect();
    let step = StepLayout {
        positions: rows.clone(),
        slots: rows.clone(),
        spans: vec![Span {
            rows: 0..tokens.len(),
            context: 0,
            blocks: (0..count).take(blocks).collect(),
        }],
        ..StepLayout::default()
    };
    let mut cache = model.cache_of(blocks, kv_cache);
    let logits = model.forward(tokens, &step, &rows, &mut cache);
    logits
        .try_into_data()
        .ok()
        .and_then(|data| data.try_into_vec().ok())
        .ok_or_else(|| QualityError::Device("no logits came back".to_owned()))
}

/// Sums over positions.
#[derive(Default)]
struct Sums {
    surprise: f64,
    predicted: f64,
    error: f64,
    errors: f64,
    error_max: f64,
    same: f64,
    positions: f64,
}

impl Sums {
    fn add(&mut self, tokens: &[u32], want: &[f32], got: &[f32]) {
        let vocab = got.len() / tokens.len();
        let rows = want.chunks_exact(vocab).zip(got.chunks_exact(vocab));
        for (i, (want, got)) in rows.enumerate() {
            for (want, got) in want.iter().zip(got) {
                let error = f64::from(want - got).abs();
                self.error += error;
                self.errors += 1.0;
                self.error_max = self.error_max.max(error);
            }
            self.positions += 1.0;
            if argmax(want) == argmax(got) {
                self.same += 1.0;
            }
            if let Some(next) = tokens.get(i + 1) {
                self.surprise += surprise(got, *next as usize);
                self.predicted += 1.0;
            }
        }
    }

    fn figures(&self, weights: Precision, kv_cache: KvCacheDtype) -> Figures {
        Figures {
            weights,
            kv_cache,
            perplexity: (self.surprise / self.predicted).exp(),
            error_max: self.error_max,
            error_mean: self.error / self.errors,
            agreement: self.same / self.positions,
        }
    }
}

/// -ln p of a token.
fn surprise(logits: &[f32], token: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    sum.ln() - f64::from(logits[token] - max)
}

fn argmax(logits: &[f32]) -> Option<usize> {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map(|(i, _)| i)
}

impl Figures {
    /// The columns of [`Figures`]' lines.
    pub const HEAD: &'static str =
        "weights  KV cache  perplexity  max error  mean error  same argmax";
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written out first, so that the columns line up.
        let (weights, kv_cache) = (self.weights.to_string(), self.kv_cache.to_string());
        write!(
            f,
            "{weights:7}  {kv_cache:8}  {:10.4}  {:9.4}  {:10.5}  {:9.2} %",
            self.perplexity,
            self.error_max,
            self.error_mean,
            self.agreement * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_the_bundled_model_hardly_changes_what_it_says() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/skerry-demo");
        let figures = run(&dir, None, 2).unwrap();
        let of = |weights, kv_cache| {
            let found = figures
                .iter()
                .find(|f| f.weights == weights && f.kv_cache == kv_cache);
            *found.unwrap()
        };
        let exact = of(Precision::F32, KvCacheDtype::Auto);
        assert_eq!((exact.error_max, exact.agreement), (0.0, 1.0));
        // The checkpoint itself is bfloat16: nothing is lost.
        let bf16 = of(Precision::Bf16, KvCacheDtype::Auto);
        assert_eq!((bf16.error_max, bf16.agreement), (0.0, 1.0));
        assert!(
            (1.0..15.0).contains(&exact.perplexity),
            "its own kind of text: {}",
            exact.perplexity
        );
        for (weights, kv_cache, agreement, worse) in [
            (Precision::Int8, KvCacheDtype::Auto, 0.99, 1.01),
            (Precision::F32, KvCacheDtype::Int8, 0.99, 1.01),
            (Precision::Int8, KvCacheDtype::Int8, 0.98, 1.01),
            (Precision::Int4, KvCacheDtype::Auto, 0.93, 1.15),
        ] {
            let got = of(weights, kv_cache);
            assert!(got.error_max > 0.0, "nothing was rounded: {got}");
            assert!(got.agreement >= agreement, "{got}");
            assert!(got.perplexity <= exact.perplexity * worse, "{got}");
        }
    }

    #[test]
    fn surprise_is_the_negative_log_of_the_softmax() {
        let logits = [1.0, 2.0, 3.0f32];
        let total: f64 = (0..3).map(|t| (-surprise(&logits, t)).exp()).sum();
        assert!((total - 1.0).abs() < 1e-9);
        assert!((surprise(&[0.0; 8], 3) - 8f64.ln()).abs() < 1e-9);
    }
}
