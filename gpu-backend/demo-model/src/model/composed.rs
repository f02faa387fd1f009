//! The forward pass from burn's own operations: the slow reference of `ops.rs`, and the way to
//! run on a device for which there are no fused kernels. It knows no parameter and no batch.

use std::sync::Arc;

use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::{Int, Tensor, TensorData};

use crate::ops::kernels::AttentionPlan;
use crate::ops::{RMS_NORM_EPS, Targets};

/// Added to a score that must not be seen.
const MASKED: f32 = -1e9;

/// RMS norm of every row.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>) -> Tensor<2> {
    let mean = (x.clone() * x.clone()).mean_dim(1);
    x / (mean + RMS_NORM_EPS).sqrt() * weight.unsqueeze_dim(0)
}

/// `silu(gate) * up`.
pub fn swiglu(gate_up: Tensor<2>) -> Tensor<2> {
    let [_, width] = gate_up.dims();
    let gate = gate_up.clone().narrow(1, 0, width / 2);
    let up = gate_up.narrow(1, width / 2, width / 2);
    gate.clone() * sigmoid(gate) * up
}

/// Weighted cross-entropy.
pub fn cross_entropy(logits: Tensor<2>, targets: &Arc<Targets>) -> Tensor<1> {
    let device = logits.device();
    let rows = targets.ids.len();
    let ids: Vec<i32> = targets.ids.iter().map(|t| *t as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, 1]), &device);
    let weights = TensorData::new(targets.weights.clone(), [rows, 1]);
    let weights = Tensor::<2>::from_data(weights, &device);
    (log_softmax(logits, 1).gather(1, ids) * weights)
        .sum()
        .neg()
}

/// Rotary causal attention with one block-diagonal mask over the whole batch.
pub fn attention(qkv: Tensor<2>, plan: &Arc<AttentionPlan>) -> Tensor<2> {
    let (hd, tokens) = (plan.head_dim, plan.tokens());
    let (queries, keys) = (plan.heads * hd, plan.kv_heads * hd);
    let heads = |from: usize, width: usize| -> Tensor<3> {
        let block: Tensor<2> = qkv.clone().narrow(1, from, width);
        block.reshape([tokens, width / hd, hd]).swap_dims(0, 1)
    };
    let q = rotate(heads(0, queries), plan);
    let repeat = plan.heads / plan.kv_heads;
    let k = spread(rotate(heads(queries, keys), plan), repeat);
    let v = spread(heads(queries + keys, keys), repeat);
    let mask = TensorData::new(mask(&plan.starts), [1, tokens, tokens]);
    let mask = Tensor::<3>::from_data(mask, &qkv.device());
    let scores = q.matmul(k.swap_dims(1, 2)) / (hd as f32).sqrt() + mask;
    softmax(scores, 2)
        .matmul(v)
        .swap_dims(0, 1)
        .reshape([tokens, queries])
}

/// Repeats every key/value head for the query heads that share it.
fn spread(x: Tensor<3>, repeat: usize) -> Tensor<3> {
    let [heads, tokens, hd] = x.dims();
    let x: Tensor<4> = x.unsqueeze_dim(1);
    x.repeat_dim(1, repeat)
        .reshape([heads * repeat, tokens, hd])
}

fn rotate(x: Tensor<3>, plan: &AttentionPlan) -> Tensor<3> {
    let half = plan.head_dim / 2;
    let table = |values: &[f32]| -> Tensor<3> {
        let mut rows = Vec::with_capacity(plan.tokens() * half);
        for window in plan.starts.windows(2) {
            rows.extend_from_slice(&values[..(window[1] - window[0]) * half]);
        }
        Tensor::from_data(TensorData::new(rows, [1, plan.tokens(), half]), &x.device())
    };
    let (cos, sin) = (table(&plan.rotary.cos), table(&plan.rotary.sin));
    let (low, high) = (
        x.clone().narrow(2, 0, half),
        x.clone().narrow(2, half, half),
    );
    let first = low.clone() * cos.clone() - high.clone() * sin.clone();
    Tensor::cat(vec![first, high * cos + low * sin], 2)
}

fn mask(starts: &[usize]) -> Vec<f32> {
    let tokens = starts.last().copied().unwrap_or(0);
    let mut mask = vec![MASKED; tokens * tokens];
    for window in starts.windows(2) {
        for i in window[0]..window[1] {
            mask[i * tokens + window[0]..=i * tokens + i].fill(0.0);
        }
    }
    mask
}
