//! From a model directory, or from a seed, to a model on a device. Every tensor that
//! the architecture needs must be there with its exact shape, or loading stops with
//! an error that names it, before the server accepts anything.
//! Knows nothing of tokens, requests or HTTP.

mod checkpoint;
mod encoder;
mod layout;
mod parts;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::backend::{KvCacheDtype, Precision};
use crate::layer::Layer;
use crate::model::config::{ConfigError, ModelConfig, Rope};
use crate::model::{Model, rope};
use checkpoint::Checkpoint;
pub use encoder::load_encoder;
pub use layout::check_layout;
use parts::Parts;

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "{} {found}; a directory in Hugging Face's layout is expected: config.json, \
         tokenizer.json and weights in safetensors", path.display()
    )]
    Format { path: PathBuf, found: String },
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
    Builder::new(&config, precision, device, |name: &str, shape: &[usize]| {
        checkpoint.finite(name, shape)
    })
    .model()
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
    Builder::new(&config, precision, device, |name: &str, shape: &[usize]| {
        let len = shape.iter().product();
        if name.ends_with("norm.weight") {
            return Ok(vec![1.0; len]);
        }
        // Tensors are made in no fixed order: each has a stream of its own.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(name.bytes().fold(0, |hash: u64, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        }));
        Ok((0..len).map(|_| rng.random_range(-0.04..0.04)).collect())
    })
    .model()
}

/// Builds a model from tensors that `source(name, shape)` gives by their Hugging Face
/// names; layers in parallel.
struct Builder<'a, S> {
    config: &'a ModelConfig,
    parts: Parts<'a, S>,
}

impl<'a, S> Builder<'a, S>
where
    S: Fn(&str, &[usize]) -> Result<Vec<f32>, LoadError> + Sync,
{
    fn new(config: &'a ModelConfig, precision: Precision, device: &'a Device, source: S) -> Self {
        let parts = Parts {
            precision,
            device,
            source,
        };
        Self { config, parts }
    }

    fn model(&self) -> Result<Model, LoadError> {
        let c = self.config;
        let table = |name: &str| self.parts.matrix(&[name], &[c.vocab], c.hidden);
        let embedding = table("model.embed_tokens.weight")?;
        let output = match c.tied {
            true => None,
            false => Some(table("lm_head.weight")?),
        };
        let angles = self.angles(&c.rope);
        let local_angles = c.local.as_ref().map(|local| match local.rope == c.rope {
            true => angles.clone(),
            false => self.angles(&local.rope),
        });
        let layer = |index: usize| {
            let window = c.sight(index).0;
            let table = window.and(local_angles.as_ref()).unwrap_or(&angles);
            self.layer(index, table.clone())
        };
        Ok(Model {
            layers: (0..c.layers)
                .into_par_iter()
                .map(layer)
                .collect::<Result<_, _>>()?,
            norm: self.norm("model.norm", c.hidden)?,
            config: c.clone(),
            device: self.parts.device.clone(),
            embedding,
            output,
            kv_cache: KvCacheDtype::Auto,
        })
    }

    fn angles(&self, rope: &Rope) -> Tensor<2> {
        let (context, head_dim) = (self.config.context, self.config.head_dim);
        let table = rope::angles(rope, head_dim, context);
        let table = TensorData::new(table, [context, head_dim]);
        Tensor::from_data(table, (self.parts.device, DType::F32))
    }

    /// An RMS norm's weight; Gemma's is written less one.
    fn norm(&self, prefix: &str, len: usize) -> Result<Tensor<1>, LoadError> {
        let mut values = (self.parts.source)(&format!("{prefix}.weight"), &[len])?;
        if self.config.norms_less_one {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        Ok(self.parts.upload(values))
    }

    fn layer(&self, index: usize, angles: Tensor<2>) -> Result<Layer, LoadError> {
        let c = self.config;
        let prefix = format!("model.layers.{index}");
        let attention = format!("{prefix}.self_attn");
        let mlp = format!("{prefix}.mlp");
        let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let (hidden, inner) = (c.hidden, c.inner);
        let projections = [("q_proj", q), ("k_proj", kv), ("v_proj", kv)];
        let gate_up = [("gate_proj", inner), ("up_proj", inner)];
        let linear = |prefix: &str, parts: &[(&str, usize)], inner, biased| {
            self.parts.linear(prefix, parts, inner, biased)
        };
        let norm = |name: &str| self.norm(&format!("{prefix}.{name}"), hidden);
        let head_norm = |name: &str| self.norm(&format!("{attention}.{name}"), c.head_dim);
        // With norms on both sides of each half, the names move by one.
        let (mlp_norm, post_norms) = match c.post_norms {
            false => ("post_attention_layernorm", None),
            true => (
                "pre_feedforward_layernorm",
                Some(("post_attention_layernorm", "post_feedforward_layernorm")),
            ),
        };
        Ok(Layer {
            shape: c.attention_shape(index),
            angles,
            eps: c.rms_eps,
            attention_norm: norm("input_layernorm")?,
            qkv: linear(&attention, &projections, hidden, c.qkv_bias)?,
            qk_norms: match c.qk_norm {
                true => Some((head_norm("q_norm")?, head_norm("k_norm")?)),
                false => None,
            },
            attention_out: linear(&attention, &[("o_proj", hidden)], q, c.attention_out_bias)?,
            attention_post_norm: post_norms.map(|(name, _)| norm(name)).transpose()?,
            mlp_norm: norm(mlp_norm)?,
            gate_up: linear(&mlp, &gate_up, hidden, c.mlp_bias)?,
            activation: c.activation,
            down: linear(&mlp, &[("down_proj", hidden)], inner, c.mlp_bias)?,
            mlp_post_norm: post_norms.map(|(_, name)| norm(name)).transpose()?,
        })
    }
}
