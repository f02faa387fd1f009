//! `LlmOps` composed of burn's own operations: what runs on a backend without
//! kernels of ours, and what the kernels are tested against.
//! Knows nothing of layers, requests, or any one device.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{FloatDType, IntDType, Shape, Slice, TensorData};

use crate::kernels::{Activation, AttentionShape, BLOCK_TOKENS, Span, StepLayout};

/// Values that share one scale, where rows are a multiple of that; else a whole row.
const GROUP: usize = 32;

/// Symmetric integers of at most `most`, with one scale per row and group.
pub(super) fn quantise<B: Backend>(
    weight: FloatTensor<B>,
    most: u8,
) -> (IntTensor<B>, FloatTensor<B>) {
    let (n, k) = (weight.shape()[0], weight.shape()[1]);
    let group = if k.is_multiple_of(GROUP) { GROUP } else { k };
    let groups = B::float_reshape(weight, Shape::new([n, k / group, group]));
    let max = B::float_max_dim(B::float_abs(groups.clone()), 2);
    let scale = B::float_div_scalar(max, f32::from(most).into());
    let scale = B::float_add_scalar(scale, 1e-12f32.into());
    let values = B::float_round(B::float_div(groups, scale.clone()));
    (
        B::float_into_int(B::float_reshape(values, Shape::new([n, k])), IntDType::I8),
        B::float_reshape(scale, Shape::new([n, k / group])),
    )
}

pub(super) fn dequantise<B: Backend>(
    values: IntTensor<B>,
    scales: FloatTensor<B>,
) -> FloatTensor<B> {
    let (n, k, groups) = (values.shape()[0], values.shape()[1], scales.shape()[1]);
    let values = B::int_into_float(values, FloatDType::F32);
    let values = B::float_reshape(values, Shape::new([n, groups, k / groups]));
    let scales = B::float_reshape(scales, Shape::new([n, groups, 1]));
    B::float_reshape(B::float_mul(values, scales), Shape::new([n, k]))
}

pub(super) fn linear<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    let weight = B::float_cast(weight, FloatDType::F32);
    B::float_matmul(x, B::float_swap_dims(weight, 0, 1))
}

pub(super) fn embed<B: Backend>(table: FloatTensor<B>, ids: &[u32]) -> FloatTensor<B> {
    let ids = indices::<B>(ids, &table);
    B::float_cast(B::float_select(table, 0, ids), FloatDType::F32)
}

pub(super) fn rms_norm<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let mean = B::float_mean_dim(B::float_mul(x.clone(), x.clone()), 1);
    let scale = B::float_recip(B::float_sqrt(B::float_add_scalar(mean, eps.into())));
    let width = x.shape()[1];
    let weight = B::float_reshape(weight, Shape::new([1, width]));
    B::float_mul(B::float_mul(x, scale), weight)
}

/// See [`super::LlmOps::qk_norm`].
pub(super) fn qk_norm<B: Backend>(
    qkv: FloatTensor<B>,
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    shape: AttentionShape,
    eps: f32,
) -> FloatTensor<B> {
    let (t, d) = (qkv.shape()[0], shape.head_dim);
    let (q, kv) = (shape.heads * d, shape.kv_heads * d);
    let heads = |from: usize, width: usize, weight: FloatTensor<B>| {
        let part = cut::<B>(qkv.clone(), &[0..t, from..from + width]);
        let part = B::float_reshape(part, Shape::new([t * width / d, d]));
        B::float_reshape(rms_norm::<B>(part, weight, eps), Shape::new([t, width]))
    };
    let values = cut::<B>(qkv.clone(), &[0..t, q + kv..q + 2 * kv]);
    B::float_cat(vec![heads(0, q, query), heads(q, kv, key), values], 1)
}

pub(super) fn gated<B: Backend>(gate_up: FloatTensor<B>, activation: Activation) -> FloatTensor<B> {
    let shape = gate_up.shape();
    let (rows, inner) = (shape[0], shape[1] / 2);
    let gate = cut::<B>(gate_up.clone(), &[0..rows, 0..inner]);
    let up = cut::<B>(gate_up, &[0..rows, inner..2 * inner]);
    B::float_mul(activate::<B>(gate, activation), up)
}

/// The activation's curve over every value.
pub(super) fn activate<B: Backend>(x: FloatTensor<B>, activation: Activation) -> FloatTensor<B> {
    match activation {
        Activation::Silu => B::float_mul(B::sigmoid(x.clone()), x),
        Activation::GeluErf => B::gelu(x),
        Activation::GeluTanh => {
            let cube = B::float_mul(B::float_mul(x.clone(), x.clone()), x.clone());
            let inner = B::float_add(x.clone(), B::float_mul_scalar(cube, 0.044_715f32.into()));
            // ½ (1 + tanh(y)) is sigmoid(2y), and y is √(2/π) times the sum above.
            let twice = 2.0 * (2.0 * std::f32::consts::FRAC_1_PI).sqrt();
            B::float_mul(B::sigmoid(B::float_mul_scalar(inner, twice.into())), x)
        }
    }
}

pub(super) fn softcap<B: Backend>(x: FloatTensor<B>, cap: f32) -> FloatTensor<B> {
    let bounded = B::float_tanh(B::float_div_scalar(x, cap.into()));
    B::float_mul_scalar(bounded, cap.into())
}

pub(super) fn add_bias<B: Backend>(x: FloatTensor<B>, bias: FloatTensor<B>) -> FloatTensor<B> {
    let width = x.shape()[1];
    B::float_add(x, B::float_reshape(bias, Shape::new([1, width])))
}

pub(super) fn layer_norm<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let centred = B::float_sub(x.clone(), B::float_mean_dim(x, 1));
    add_bias::<B>(rms_norm::<B>(centred, weight, eps), bias)
}

/// See [`super::LlmOps::dense_attention`].
pub(super) fn dense_attention<B: Backend>(
    qkv: FloatTensor<B>,
    shape: AttentionShape,
    lengths: &[usize],
) -> FloatTensor<B> {
    let (d, hq, hk) = (shape.head_dim, shape.heads, shape.kv_heads);
    let t: usize = lengths.iter().sum();
    let rows = B::float_reshape(qkv, Shape::new([t, hq + 2 * hk, d]));
    let mut first = 0;
    let mut outputs = Vec::with_capacity(lengths.len());
    for len in lengths {
        let part = |from: usize, heads: usize| {
            let part = cut::<B>(
                rows.clone(),
                &[first..first + len, from..from + heads, 0..d],
            );
            B::float_permute(part, &[1, 0, 2])
        };
        // [hq, len, d] → [hk, group · len, d]: the heads of a group share keys and values.
        let q = B::float_reshape(part(0, hq), Shape::new([hk, hq / hk * len, d]));
        let keys = B::float_permute(part(hq, hk), &[0, 2, 1]);
        let scores = B::float_mul_scalar(B::float_matmul(q, keys), shape.scale.into());
        let out = B::float_matmul(B::softmax(scores, 2), part(hq + hk, hk));
        let out = B::float_permute(B::float_reshape(out, Shape::new([hq, *len, d])), &[1, 0, 2]);
        outputs.push(B::float_reshape(out, Shape::new([*len, hq * d])));
        first += len;
    }
    B::float_cat(outputs, 0)
}

/// See [`super::LlmOps::attention`].
pub(super) fn attention<B: Backend>(
    qkv: FloatTensor<B>,
    angles: FloatTensor<B>,
    keys: FloatTensor<B>,
    values: FloatTensor<B>,
    shape: AttentionShape,
    step: &StepLayout,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (q, keys, values) = store::<B>(qkv, angles, keys, values, &shape, step);
    let out = attend_all::<B>(q, &keys, &values, &shape, step);
    (out, keys, values)
}

/// See [`super::LlmOps::attention_int8`]. The whole cache is widened and rounded again,
/// which changes no number that was rounded before.
pub(super) fn attention_int8<B: Backend>(
    qkv: FloatTensor<B>,
    angles: FloatTensor<B>,
    keys: IntTensor<B>,
    values: IntTensor<B>,
    scales: FloatTensor<B>,
    shape: AttentionShape,
    step: &StepLayout,
) -> (FloatTensor<B>, IntTensor<B>, IntTensor<B>, FloatTensor<B>) {
    let [blocks, hk, _, tokens] = shape.scales(keys.shape()[0]);
    let of = |i: usize, scales: &FloatTensor<B>| {
        cut::<B>(scales.clone(), &[0..blocks, 0..hk, i..i + 1, 0..tokens])
    };
    let widen = |numbers: IntTensor<B>, scales| {
        B::float_mul(B::int_into_float(numbers, FloatDType::F32), scales)
    };
    let key_scales = of(0, &scales);
    let value_scales = B::float_reshape(of(1, &scales), Shape::new([blocks, hk, tokens, 1]));
    let (keys, values) = (widen(keys, key_scales), widen(values, value_scales));
    let (q, keys, values) = store::<B>(qkv, angles, keys, values, &shape, step);
    let round = |x: FloatTensor<B>, dim: usize| {
        let max = B::float_max_dim(B::float_abs(x.clone()), dim);
        let scale = B::float_div_scalar(max, 127f32.into());
        let scale = B::float_add_scalar(scale, 1e-30f32.into());
        let rounded = B::float_round(B::float_div(x, scale.clone()));
        (B::float_into_int(rounded, IntDType::I8), scale)
    };
    let ((keys, key_scales), (values, value_scales)) = (round(keys, 2), round(values, 3));
    let out = attend_all::<B>(
        q,
        &widen(keys.clone(), key_scales.clone()),
        &widen(values.clone(), value_scales.clone()),
        &shape,
        step,
    );
    let value_scales = B::float_reshape(value_scales, Shape::new([blocks, hk, 1, tokens]));
    let scales = B::float_cat(vec![key_scales, value_scales], 2);
    (out, keys, values, scales)
}

/// Rotates, and writes keys and values to their slots. Returns `q[T, heads, d]` and the
/// caches.
fn store<B: Backend>(
    qkv: FloatTensor<B>,
    angles: FloatTensor<B>,
    mut keys: FloatTensor<B>,
    mut values: FloatTensor<B>,
    shape: &AttentionShape,
    step: &StepLayout,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (t, d, hq, hk) = (step.tokens(), shape.head_dim, shape.heads, shape.kv_heads);
    let rows = B::float_reshape(qkv, Shape::new([t, hq + 2 * hk, d]));
    let positions = indices::<B>(&step.positions, &angles);
    let angles = B::float_select(angles, 0, positions);
    let angles = B::float_reshape(angles, Shape::new([t, 1, d]));
    let q = rotate::<B>(cut::<B>(rows.clone(), &[0..t, 0..hq, 0..d]), angles.clone());
    let k = rotate::<B>(cut::<B>(rows.clone(), &[0..t, hq..hq + hk, 0..d]), angles);
    let v = cut::<B>(rows, &[0..t, hq + hk..hq + 2 * hk, 0..d]);
    for (row, slot) in step.slots.iter().enumerate() {
        let (block, offset) = (*slot as usize / BLOCK_TOKENS, *slot as usize % BLOCK_TOKENS);
        let at = [block..block + 1, 0..hk, 0..d, offset..offset + 1];
        let key = cut::<B>(k.clone(), &[row..row + 1, 0..hk, 0..d]);
        let key = B::float_reshape(key, Shape::new([1, hk, d, 1]));
        keys = B::float_slice_assign(keys, &at.map(Slice::from), key);
        let at = [block..block + 1, 0..hk, offset..offset + 1, 0..d];
        let value = cut::<B>(v.clone(), &[row..row + 1, 0..hk, 0..d]);
        let value = B::float_reshape(value, Shape::new([1, hk, 1, d]));
        values = B::float_slice_assign(values, &at.map(Slice::from), value);
    }
    (q, keys, values)
}

/// Every sequence of the step, one after the other.
fn attend_all<B: Backend>(
    q: FloatTensor<B>,
    keys: &FloatTensor<B>,
    values: &FloatTensor<B>,
    shape: &AttentionShape,
    step: &StepLayout,
) -> FloatTensor<B> {
    let (d, hq) = (shape.head_dim, shape.heads);
    let attend_span = |span: &Span| {
        let q = cut::<B>(q.clone(), &[span.rows.clone(), 0..hq, 0..d]);
        attend::<B>(q, keys.clone(), values.clone(), shape, span)
    };
    B::float_cat(step.spans.iter().map(attend_span).collect(), 0)
}

/// One sequence: `q[rows, heads, d]` against its gathered keys and values.
fn attend<B: Backend>(
    q: FloatTensor<B>,
    keys: FloatTensor<B>,
    values: FloatTensor<B>,
    shape: &AttentionShape,
    span: &Span,
) -> FloatTensor<B> {
    let (d, hq, hk, rows) = (shape.head_dim, shape.heads, shape.kv_heads, span.rows.len());
    let group = hq / hk;
    let (blocks, total) = (span.blocks.len(), span.context + rows);
    let ids = indices::<B>(&span.blocks, &q);
    // [blocks, hk, d, 16] → [hk, d, keys]
    let keys = B::float_permute(B::float_select(keys, 0, ids.clone()), &[1, 2, 0, 3]);
    let keys = B::float_reshape(keys, Shape::new([hk, d, blocks * BLOCK_TOKENS]));
    let keys = cut::<B>(keys, &[0..hk, 0..d, 0..total]);
    // [blocks, hk, 16, dp] → [hk, keys, d]
    let values = B::float_permute(B::float_select(values, 0, ids), &[1, 0, 2, 3]);
    let dp = values.shape()[3];
    let values = B::float_reshape(values, Shape::new([hk, blocks * BLOCK_TOKENS, dp]));
    let values = cut::<B>(values, &[0..hk, 0..total, 0..d]);
    // [rows, hq, d] → [hk, group · rows, d]
    let q = B::float_permute(q, &[1, 0, 2]);
    let q = B::float_reshape(q, Shape::new([hk, group * rows, d]));
    let scores = B::float_mul_scalar(B::float_matmul(q, keys), shape.scale.into());
    let scores = match shape.softcap {
        Some(cap) => softcap::<B>(scores, cap),
        None => scores,
    };
    let mask: Vec<f32> = (0..group * rows)
        .flat_map(|r| {
            let last = span.context + r % rows;
            let seen = shape.first_visible(last)..=last;
            (0..total).map(move |key| if seen.contains(&key) { 0.0 } else { -1e30 })
        })
        .collect();
    let mask = B::float_from_data(
        TensorData::new(mask, [1, group * rows, total]),
        &scores.device(),
    );
    let weights = B::softmax(B::float_add(scores, mask), 2);
    let out = B::float_reshape(B::float_matmul(weights, values), Shape::new([hq, rows, d]));
    let out = B::float_permute(out, &[1, 0, 2]);
    B::float_reshape(out, Shape::new([rows, hq * d]))
}

/// Rotates `x[T, heads, d]` by `angles[T, 1, cosines | sines]`.
fn rotate<B: Backend>(x: FloatTensor<B>, angles: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let (t, heads, d) = (shape[0], shape[1], shape[2]);
    let half = d / 2;
    let (low, high) = (
        cut::<B>(x.clone(), &[0..t, 0..heads, 0..half]),
        cut::<B>(x, &[0..t, 0..heads, half..d]),
    );
    let (cos, sin) = (
        cut::<B>(angles.clone(), &[0..t, 0..1, 0..half]),
        cut::<B>(angles, &[0..t, 0..1, half..d]),
    );
    let left = B::float_sub(
        B::float_mul(low.clone(), cos.clone()),
        B::float_mul(high.clone(), sin.clone()),
    );
    let right = B::float_add(B::float_mul(high, cos), B::float_mul(low, sin));
    B::float_cat(vec![left, right], 2)
}

fn cut<B: Backend>(x: FloatTensor<B>, ranges: &[std::ops::Range<usize>]) -> FloatTensor<B> {
    let slices: Vec<Slice> = ranges.iter().cloned().map(Slice::from).collect();
    B::float_slice(x, &slices)
}

/// `ids` as an index tensor beside `like`.
fn indices<B: Backend>(ids: &[u32], like: &FloatTensor<B>) -> IntTensor<B> {
    let ids: Vec<i32> = ids
        .iter()
        .map(|id| i32::try_from(*id).unwrap_or(i32::MAX))
        .collect();
    let count = ids.len();
    B::int_from_data(TensorData::new(ids, [count]), &like.device())
}
