//! One transformer layer of the Llama architecture: attention and a SwiGLU
//! feed-forward, each behind an RMS norm and added to the residual.
//! Knows nothing of requests, of files, or of which device it runs on.

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
    fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let y = self.weight.apply(x);
        match &self.bias {
            Some(bias) => backend::add_bias(y, bias),
            None => y,
        }
    }
}

/// The weights of one layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Tensor<1>,
    /// Queries, keys and values in one product.
    pub(crate) qkv: Linear,
    pub(crate) attention_out: Linear,
    pub(crate) mlp_norm: Tensor<1>,
    /// Gate and up projections in one product.
    pub(crate) gate_up: Linear,
    pub(crate) down: Linear,
}

/// What is the same for all layers of a model.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) shape: AttentionShape,
    /// `[positions, head_dim]`, see `model/rope.rs`.
    pub(crate) angles: Tensor<2>,
    pub(crate) eps: f32,
}

impl Layer {
    /// `x[T, hidden] → [T, hidden]`, storing this step's keys and values in `cache`.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        shared: &Shared,
        cache: &mut LayerCache,
        step: &StepLayout,
    ) -> Tensor<2> {
        let normed = backend::rms_norm(x.clone(), &self.attention_norm, shared.eps);
        let qkv = self.qkv.apply(normed);
        let attended = cache.attend(qkv, &shared.angles, shared.shape, step);
        let x = backend::add(x, self.attention_out.apply(attended));

        let normed = backend::rms_norm(x.clone(), &self.mlp_norm, shared.eps);
        let gated = backend::gated(self.gate_up.apply(normed), Activation::Silu);
        backend::add(x, self.down.apply(gated))
    }
}
