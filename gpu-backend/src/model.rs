//! A decoder model: embedding, layers, norm, output matrix.
//!
//! Invariant: the model knows no request; it sees rows of tokens, their positions
//! and their slots in the cache.

pub mod config;
mod family;
pub mod rope;

use burn::tensor::{Device, Tensor};

use crate::backend::{self, KvCacheDtype, LayerCache, Matrix};
use crate::kernels::{AttentionShape, StepLayout};
use crate::layer::Layer;
pub use config::ModelConfig;

/// The weights, ready to run on one device.
#[derive(Debug)]
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) device: Device,
    pub(crate) embedding: Matrix,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Tensor<1>,
    /// Absent where the embedding table is used (tied).
    pub(crate) output: Option<Matrix>,
    /// How its caches keep their numbers.
    pub(crate) kv_cache: KvCacheDtype,
}

/// The paged cache of all layers.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<LayerCache>,
}

impl Model {
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// An empty cache of `blocks` blocks.
    pub fn cache(&self, blocks: usize) -> Cache {
        self.cache_of(blocks, self.kv_cache)
    }

    /// The model with caches that keep their numbers as `kept` says.
    #[must_use]
    pub fn with_kv_cache(self, kept: KvCacheDtype) -> Self {
        Self {
            kv_cache: kept,
            ..self
        }
    }

    /// As `cache`, keeping its numbers as `kept` says.
    pub fn cache_of(&self, blocks: usize, kept: KvCacheDtype) -> Cache {
        let cache = |layer: &Layer| LayerCache::new(&layer.shape, blocks, kept, &self.device);
        Cache {
            layers: self.layers.iter().map(cache).collect(),
        }
    }

    /// Runs `tokens`, laid out by `step`, and returns the logits `[wanted, vocab]` of
    /// the rows in `wanted`.
    pub fn forward(
        &self,
        tokens: &[u32],
        step: &StepLayout,
        wanted: &[u32],
        cache: &mut Cache,
    ) -> Tensor<2> {
        let mut x = self.embedding.rows(tokens);
        if let Some(scale) = self.config.embedding_scale {
            x = x.mul_scalar(scale);
        }
        for (layer, cache) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.forward(x, cache, step);
        }
        if wanted.len() != tokens.len() {
            x = backend::select_rows(x, wanted);
        }
        let x = backend::rms_norm(x, &self.norm, self.config.rms_eps);
        let logits = self.output.as_ref().unwrap_or(&self.embedding).apply(x);
        match self.config.logit_softcap {
            Some(cap) => backend::softcap(logits, cap),
            None => logits,
        }
    }
}

impl ModelConfig {
    /// The attention of layer `index`.
    pub(crate) fn attention_shape(&self, index: usize) -> AttentionShape {
        AttentionShape {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: self.attention_scale,
            softcap: self.attention_softcap,
            window: self.sight(index).0,
        }
    }

    /// Bytes that one block of the cache takes over all layers.
    pub fn block_bytes(&self, kept: KvCacheDtype) -> usize {
        let shape = self.attention_shape(0);
        let count = |dims: [usize; 4]| dims.iter().product::<usize>();
        let numbers = count(shape.keys(1)) + count(shape.values(1));
        let bytes = match kept {
            KvCacheDtype::Auto => numbers * size_of::<f32>(),
            KvCacheDtype::Int8 => numbers + count(shape.scales(1)) * size_of::<f32>(),
        };
        self.layers * bytes
    }
}
