//! A Llama-architecture model: embedding, layers, norm, output matrix.
//!
//! Invariant: the model knows no request; it sees rows of tokens, their positions
//! and their slots in the cache.

pub mod config;
pub mod rope;

use burn::tensor::{Device, Tensor};

use crate::backend::{self, KvCacheDtype, LayerCache, Matrix};
use crate::kernels::{AttentionShape, StepLayout};
use crate::layer::{Layer, Shared};
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
    pub(crate) shared: Shared,
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
        let layer = |_| LayerCache::new(&self.shared.shape, blocks, kept, &self.device);
        Cache {
            layers: (0..self.config.layers).map(layer).collect(),
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
        for (layer, cache) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.forward(x, &self.shared, cache, step);
        }
        let x = if wanted.len() == tokens.len() {
            x
        } else {
            backend::select_rows(x, wanted)
        };
        let x = backend::rms_norm(x, &self.norm, self.shared.eps);
        self.output.as_ref().unwrap_or(&self.embedding).apply(x)
    }
}

impl ModelConfig {
    pub(crate) fn attention_shape(&self) -> AttentionShape {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a head has a few hundred dimensions"
        )]
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        AttentionShape {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale,
            softcap: None,
            window: None,
        }
    }

    /// Bytes that one block of the cache takes over all layers.
    pub fn block_bytes(&self, kept: KvCacheDtype) -> usize {
        let shape = self.attention_shape();
        let count = |dims: [usize; 4]| dims.iter().product::<usize>();
        let numbers = count(shape.keys(1)) + count(shape.values(1));
        let bytes = match kept {
            KvCacheDtype::Auto => numbers * size_of::<f32>(),
            KvCacheDtype::Int8 => numbers + count(shape.scales(1)) * size_of::<f32>(),
        };
        self.layers * bytes
    }
}
