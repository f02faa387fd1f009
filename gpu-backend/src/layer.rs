//! One transformer layer: attention and a gated feed-forward, each behind an RMS norm
//! and added to the residual. What a family adds to that (norms of heads, norms of what
//! is added, a window) is here where the layer has weights or a number for it.
//! Knows nothing of requests, of files, of families, or of which device it runs on.

use burn::tensor::Tensor;

use crate::backend::{self, LayerCache, Matrix};
use crate::kernels::{Activation, AttentionShape, StepLayout};

/// A matrix with an optional bias.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Matrix,
    pub(crate) bias: Option<Tensor<1>>,
}

impl Linear {
    pub(crate) fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let y = self.weight.apply(x);
        match &self.bias {
            Some(bias) => backend::add_bias(y, bias),
            None => y,
        }
    }
}

/// The weights of one layer, and what it computes with them.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) shape: AttentionShape,
    /// `[positions, head_dim]`, see `model/rope.rs`; layers share the table.
    pub(crate) angles: Tensor<2>,
    pub(crate) eps: f32,
    pub(crate) attention_norm: Tensor<1>,
    /// Queries, keys and values in one product.
    pub(crate) qkv: Linear,
    /// Norms of each query head and of each key head.
    pub(crate) qk_norms: Option<(Tensor<1>, Tensor<1>)>,
    pub(crate) attention_out: Linear,
    /// Norm of what the attention adds.
    pub(crate) attention_post_norm: Option<Tensor<1>>,
    pub(crate) mlp_norm: Tensor<1>,
    /// Gate and up projections in one product.
    pub(crate) gate_up: Linear,
    pub(crate) activation: Activation,
    pub(crate) down: Linear,
    /// Norm of what the feed-forward adds.
    pub(crate) mlp_post_norm: Option<Tensor<1>>,
}

impl Layer {
    /// `x[T, hidden] → [T, hidden]`, storing this step's keys and values in `cache`.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        cache: &mut LayerCache,
        step: &StepLayout,
    ) -> Tensor<2> {
        let normed = backend::rms_norm(x.clone(), &self.attention_norm, self.eps);
        let mut qkv = self.qkv.apply(normed);
        if let Some((query, key)) = &self.qk_norms {
            qkv = backend::qk_norm(qkv, query, key, self.shape, self.eps);
        }
        let attended = cache.attend(qkv, &self.angles, self.shape, step);
        let x = self.add(
            x,
            self.attention_out.apply(attended),
            &self.attention_post_norm,
        );

        let normed = backend::rms_norm(x.clone(), &self.mlp_norm, self.eps);
        let gated = backend::gated(self.gate_up.apply(normed), self.activation);
        self.add(x, self.down.apply(gated), &self.mlp_post_norm)
    }

    /// The residual and what a half of the layer adds to it.
    fn add(&self, x: Tensor<2>, half: Tensor<2>, norm: &Option<Tensor<1>>) -> Tensor<2> {
        match norm {
            Some(norm) => backend::add(x, backend::rms_norm(half, norm, self.eps)),
            None => backend::add(x, half),
        }
    }
}
