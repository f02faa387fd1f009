//! From a model directory, or from a seed, to a model on a device. Every tensor that
//! the architecture needs must be there with its exact shape, or loading stops with
//! an error that names it, before the server accepts anything.
//! Knows nothing of tokens, requests or HTTP.

mod checkpoint;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::backend::{KvCacheDtype, Matrix, Precision};
use crate::layer::{Layer, Linear, Shared};
use crate::model::config::{ConfigError, ModelConfig};
use crate::model::{Model, rope};
use checkpoint::Checkpoint;

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: is not valid JSON: {source}", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{}: is truncated or damaged: {source}", path.display())]
    Damaged {
        path: PathBuf,
        source: safetensors::SafeTensorError,
    },
    #[error("{}: shard name {file:?} is not a plain file name", path.display())]
    ShardName { path: PathBuf, file: String },
    #[error("tensor `{tensor}` is missing from the checkpoint")]
    Missing { tensor: String },
    #[error("tensor `{tensor}` has shape {got:?}, the configuration needs {want:?}")]
    Shape {
        tensor: String,
        want: Vec<usize>,
        got: Vec<usize>,
    },
    #[error("{}: tensor `{tensor}` has type {dtype}; supported: F32, F16, BF16", path.display())]
    Dtype {
        path: PathBuf,
        tensor: String,
        dtype: String,
    },
    #[error("tensor `{tensor}` holds a value that is not a finite number")]
    NotFinite { tensor: String },
}

/// Loads a Hugging Face model directory.
///
/// # Errors
/// Names the file, key or tensor that is missing, damaged or not supported.
pub fn load(dir: &Path, precision: Precision, device: &Device) -> Result<Model, LoadError> {
    let config = ModelConfig::read(dir)?;
    let checkpoint = Checkpoint::open(dir)?;
    // Some checkpoints leave `tie_word_embeddings` unset and simply have no output matrix.
    let tied = config.tied || !checkpoint.has("lm_head.weight");
    let config = ModelConfig { tied, ..config };
    build(config, precision, device, |name, shape| {
        let values = checkpoint.tensor(name, shape)?;
        if values.iter().all(|v| v.is_finite()) {
            Ok(values)
        } else {
            Err(LoadError::NotFinite {
                tensor: name.to_owned(),
            })
        }
    })
}

/// A model of random weights: a benchmark's speed does not depend on their values.
///
/// # Errors
/// None in practice; the signature is that of [`load`].
pub fn random(
    config: ModelConfig,
    precision: Precision,
    device: &Device,
    seed: u64,
) -> Result<Model, LoadError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    build(config, precision, device, |name, shape| {
        let len = shape.iter().product();
        if name.ends_with("norm.weight") {
            return Ok(vec![1.0; len]);
        }
        Ok((0..len).map(|_| rng.random_range(-0.04..0.04)).collect())
    })
}

/// Reads tensors by their Hugging Face names from `source(name, shape)`.
struct Builder<'a, S> {
    config: &'a ModelConfig,
    precision: Precision,
    device: &'a Device,
    source: S,
}

fn build<S>(
    config: ModelConfig,
    precision: Precision,
    device: &Device,
    source: S,
) -> Result<Model, LoadError>
where
    S: FnMut(&str, &[usize]) -> Result<Vec<f32>, LoadError>,
{
    let mut b = Builder {
        config: &config,
        precision,
        device,
        source,
    };
    let embedding = b.matrix(
        &["model.embed_tokens.weight"],
        &[config.vocab],
        config.hidden,
    )?;
    let layers = (0..config.layers)
        .map(|i| b.layer(i))
        .collect::<Result<_, _>>()?;
    let norm = b.vector("model.norm.weight", config.hidden)?;
    let output = match config.tied {
        true => None,
        false => Some(b.matrix(&["lm_head.weight"], &[config.vocab], config.hidden)?),
    };
    let angles = TensorData::new(
        rope::angles(&config, config.context),
        [config.context, config.head_dim],
    );
    let shared = Shared {
        shape: config.attention_shape(),
        angles: Tensor::from_data(angles, (device, DType::F32)),
        eps: config.rms_eps,
    };
    let device = device.clone();
    Ok(Model {
        config,
        device,
        embedding,
        layers,
        norm,
        output,
        kv_cache: KvCacheDtype::Auto,
        shared,
    })
}

impl<S> Builder<'_, S>
where
    S: FnMut(&str, &[usize]) -> Result<Vec<f32>, LoadError>,
{
    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, LoadError> {
        let data = TensorData::new((self.source)(name, &[len])?, [len]);
        Ok(Tensor::from_data(data, (self.device, DType::F32)))
    }

    /// The matrices `names`, one below the other.
    fn matrix(
        &mut self,
        names: &[&str],
        rows: &[usize],
        inner: usize,
    ) -> Result<Matrix, LoadError> {
        let mut values = Vec::new();
        for (name, rows) in names.iter().zip(rows) {
            let part = (self.source)(name, &[*rows, inner])?;
            if values.is_empty() {
                values = part;
            } else {
                values.extend(part);
            }
        }
        Ok(Matrix::new(
            values,
            rows.iter().sum(),
            inner,
            self.precision,
            self.device,
        ))
    }

    /// The projections `prefix.name` side by side in one product.
    fn linear(
        &mut self,
        prefix: &str,
        parts: &[(&str, usize)],
        inner: usize,
        biased: bool,
    ) -> Result<Linear, LoadError> {
        let named = |suffix: &str| -> Vec<String> {
            parts
                .iter()
                .map(|(name, _)| format!("{prefix}.{name}.{suffix}"))
                .collect()
        };
        let weights = named("weight");
        let weights: Vec<&str> = weights.iter().map(String::as_str).collect();
        let rows: Vec<usize> = parts.iter().map(|(_, rows)| *rows).collect();
        let weight = self.matrix(&weights, &rows, inner)?;
        let bias = if biased {
            let mut values = Vec::new();
            for (name, rows) in named("bias").iter().zip(&rows) {
                values.extend((self.source)(name, &[*rows])?);
            }
            let len = values.len();
            Some(Tensor::from_data(
                TensorData::new(values, [len]),
                (self.device, DType::F32),
            ))
        } else {
            None
        };
        Ok(Linear { weight, bias })
    }

    fn layer(&mut self, index: usize) -> Result<Layer, LoadError> {
        let c = self.config;
        let prefix = format!("model.layers.{index}");
        let attention = format!("{prefix}.self_attn");
        let mlp = format!("{prefix}.mlp");
        let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let (hidden, inner) = (c.hidden, c.inner);
        let projections = [("q_proj", q), ("k_proj", kv), ("v_proj", kv)];
        Ok(Layer {
            attention_norm: self.vector(&format!("{prefix}.input_layernorm.weight"), hidden)?,
            qkv: self.linear(&attention, &projections, hidden, c.attention_bias)?,
            attention_out: self.linear(&attention, &[("o_proj", hidden)], q, c.attention_bias)?,
            mlp_norm: self.vector(&format!("{prefix}.post_attention_layernorm.weight"), hidden)?,
            gate_up: self.linear(
                &mlp,
                &[("gate_proj", inner), ("up_proj", inner)],
                hidden,
                c.mlp_bias,
            )?,
            down: self.linear(&mlp, &[("down_proj", hidden)], inner, c.mlp_bias)?,
        })
    }
}
