//! `LlmOps` on the CPU: opens tensors to slices and calls the kernels.
//!
//! Invariant: outputs are fresh buffers, or the caller's own where it gave up its handle.
//! Knows nothing of layers or requests.

use burn::backend::Flex;
use burn::tensor::{DType, Shape};
use burn_flex::{FlexTensor, Layout};
use half::bf16;

use super::LlmOps;
use crate::kernels::attention::{Buffers, Cache, attention};
use crate::kernels::dense_attention::dense_attention;
use crate::kernels::lanes::level;
use crate::kernels::linear::{
    Packed, gather_row, linear, pack, padded, quantise_int4, quantise_int8,
};
use crate::kernels::{Activation, AttentionShape, StepLayout, pointwise};

impl LlmOps for Flex {
    fn pack(weight: FlexTensor) -> FlexTensor {
        let [n, k] = dims(&weight);
        let weight = contiguous(weight);
        let shape = Shape::new([padded(n), k]);
        match weight.dtype() {
            DType::BF16 => tensor(pack(slice::<bf16>(&weight), n, k), shape, DType::BF16),
            _ => tensor(pack(slice::<f32>(&weight), n, k), shape, DType::F32),
        }
    }

    fn quantise(weight: FlexTensor) -> (FlexTensor, FlexTensor) {
        quantised(weight, quantise_int8)
    }

    fn quantise_int4(weight: FlexTensor) -> (FlexTensor, FlexTensor) {
        quantised(weight, quantise_int4)
    }

    fn linear(x: FlexTensor, weight: FlexTensor, columns: usize) -> FlexTensor {
        product(x, dense(&weight), columns)
    }

    fn linear_int8(
        x: FlexTensor,
        weight: FlexTensor,
        scales: FlexTensor,
        columns: usize,
    ) -> FlexTensor {
        product(x, Packed::Int8(slice(&weight), slice(&scales)), columns)
    }

    fn linear_int4(
        x: FlexTensor,
        weight: FlexTensor,
        scales: FlexTensor,
        columns: usize,
    ) -> FlexTensor {
        product(x, Packed::Int4(slice(&weight), slice(&scales)), columns)
    }

    fn embed(table: FlexTensor, ids: &[u32]) -> FlexTensor {
        let [_, k] = dims(&table);
        rows(dense(&table), k, ids)
    }

    fn embed_int8(table: FlexTensor, scales: FlexTensor, ids: &[u32]) -> FlexTensor {
        let [_, k] = dims(&table);
        rows(Packed::Int8(slice(&table), slice(&scales)), k, ids)
    }

    fn embed_int4(table: FlexTensor, scales: FlexTensor, ids: &[u32]) -> FlexTensor {
        let [_, bytes] = dims(&table);
        let k = 2 * bytes;
        rows(Packed::Int4(slice(&table), slice(&scales)), k, ids)
    }

    fn rms_norm(x: FlexTensor, weight: FlexTensor, eps: f32) -> FlexTensor {
        let x = contiguous(x);
        let input = slice::<f32>(&x);
        let mut out = vec![0f32; input.len()];
        pointwise::rms_norm(level(), input, slice(&weight), eps, &mut out);
        tensor(out, x.layout().shape().clone(), DType::F32)
    }

    fn qk_norm(
        qkv: FlexTensor,
        query: FlexTensor,
        key: FlexTensor,
        shape: AttentionShape,
        eps: f32,
    ) -> FlexTensor {
        let mut qkv = contiguous(qkv);
        pointwise::qk_norm(qkv.storage_mut(), slice(&query), slice(&key), &shape, eps);
        qkv
    }

    fn gated(gate_up: FlexTensor, activation: Activation) -> FlexTensor {
        let [t, width] = dims(&gate_up);
        let inner = width / 2;
        let mut out = vec![0f32; t * inner];
        let gate_up = contiguous(gate_up);
        pointwise::gated(level(), slice(&gate_up), inner, activation, &mut out);
        tensor(out, Shape::new([t, inner]), DType::F32)
    }

    fn layer_norm(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, eps: f32) -> FlexTensor {
        let mut x = contiguous(x);
        pointwise::layer_norm(x.storage_mut(), slice(&weight), slice(&bias), eps);
        x
    }

    fn activate(x: FlexTensor, activation: Activation) -> FlexTensor {
        let [_, width] = dims(&x);
        let mut x = contiguous(x);
        pointwise::activate(level(), x.storage_mut(), activation, width);
        x
    }

    fn dense_attention(qkv: FlexTensor, shape: AttentionShape, lengths: &[usize]) -> FlexTensor {
        let width = shape.heads * shape.head_dim;
        let rows = dims(&qkv)[0];
        let mut out = vec![0f32; rows * width];
        let qkv = contiguous(qkv);
        dense_attention(level(), &shape, lengths, slice(&qkv), &mut out);
        tensor(out, Shape::new([rows, width]), DType::F32)
    }

    fn softcap(x: FlexTensor, cap: f32) -> FlexTensor {
        let [_, width] = dims(&x);
        let mut x = contiguous(x);
        pointwise::softcap_all(level(), x.storage_mut(), cap, width);
        x
    }

    fn add(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        let [_, width] = dims(&a);
        let mut a = contiguous(a);
        pointwise::add_assign(level(), a.storage_mut(), slice(&contiguous(b)), width);
        a
    }

    fn add_bias(x: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let mut x = contiguous(x);
        pointwise::add_bias(level(), x.storage_mut(), slice(&contiguous(bias)));
        x
    }

    // The kernel gives pages of zeros, each when it is first written to.
    fn cache_zeros(_: FlexTensor, dims: [usize; 4]) -> FlexTensor {
        let zeros = vec![0f32; dims.iter().product()];
        tensor(zeros, Shape::new(dims), DType::F32)
    }

    fn cache_int8(_: FlexTensor, shape: AttentionShape, blocks: usize) -> (FlexTensor, FlexTensor) {
        let zeros = |dims: [usize; 4]| {
            let zeros = vec![0i8; dims.iter().product()];
            tensor(zeros, Shape::new(dims), DType::I8)
        };
        (zeros(shape.keys(blocks)), zeros(shape.values(blocks)))
    }

    fn attention(
        qkv: FlexTensor,
        angles: FlexTensor,
        mut keys: FlexTensor,
        mut values: FlexTensor,
        shape: AttentionShape,
        step: &StepLayout,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let mut qkv = contiguous(qkv);
        let width = shape.heads * shape.head_dim;
        let mut out = vec![0f32; step.tokens() * width];
        let buffers = Buffers {
            qkv: qkv.storage_mut(),
            angles: slice(&angles),
            cache: Cache::F32 {
                keys: keys.storage_mut(),
                values: values.storage_mut(),
            },
            out: &mut out,
        };
        attention(level(), &shape, step, buffers);
        (
            tensor(out, Shape::new([step.tokens(), width]), DType::F32),
            keys,
            values,
        )
    }

    fn attention_int8(
        qkv: FlexTensor,
        angles: FlexTensor,
        mut keys: FlexTensor,
        mut values: FlexTensor,
        mut scales: FlexTensor,
        shape: AttentionShape,
        step: &StepLayout,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let mut qkv = contiguous(qkv);
        let width = shape.heads * shape.head_dim;
        let mut out = vec![0f32; step.tokens() * width];
        let buffers = Buffers {
            qkv: qkv.storage_mut(),
            angles: slice(&angles),
            cache: Cache::Int8 {
                keys: keys.storage_mut(),
                values: values.storage_mut(),
                scales: scales.storage_mut(),
            },
            out: &mut out,
        };
        attention(level(), &shape, step, buffers);
        let out = tensor(out, Shape::new([step.tokens(), width]), DType::F32);
        (out, keys, values, scales)
    }
}

fn product(x: FlexTensor, weight: Packed<'_>, columns: usize) -> FlexTensor {
    let [t, k] = dims(&x);
    let x = contiguous(x);
    let mut y = vec![0f32; t * columns];
    linear(level(), slice(&x), weight, &mut y, columns, k);
    tensor(y, Shape::new([t, columns]), DType::F32)
}

/// Values and scales by `quantise`; the values' second dimension is in bytes.
fn quantised(
    weight: FlexTensor,
    quantise: impl Fn(&[f32], usize, usize) -> (Vec<u8>, Vec<bf16>),
) -> (FlexTensor, FlexTensor) {
    let [n, k] = dims(&weight);
    let (values, scales) = quantise(slice(&contiguous(weight)), n, k);
    let bytes = values.len() / padded(n);
    let groups = scales.len() / padded(n);
    (
        tensor(values, Shape::new([padded(n), bytes]), DType::U8),
        tensor(scales, Shape::new([padded(n), groups]), DType::BF16),
    )
}

fn rows(table: Packed<'_>, k: usize, ids: &[u32]) -> FlexTensor {
    let mut out = vec![0f32; ids.len() * k];
    for (row, id) in out.chunks_exact_mut(k).zip(ids) {
        gather_row(table, k, *id as usize, row);
    }
    tensor(out, Shape::new([ids.len(), k]), DType::F32)
}

fn dense(weight: &FlexTensor) -> Packed<'_> {
    match weight.dtype() {
        DType::BF16 => Packed::Bf16(slice(weight)),
        _ => Packed::F32(slice(weight)),
    }
}

/// A tensor whose storage is exactly its elements in order.
fn contiguous(t: FlexTensor) -> FlexTensor {
    let whole = t.layout().num_elements() * t.dtype().size();
    if t.is_contiguous() && t.layout().start_offset() == 0 && t.bytes().len() == whole {
        t
    } else {
        t.to_contiguous()
    }
}

fn slice<E: burn::tensor::Element + bytemuck::Pod>(t: &FlexTensor) -> &[E] {
    t.storage()
}

fn dims(t: &FlexTensor) -> [usize; 2] {
    let shape = t.layout().shape();
    [shape[0], shape[1]]
}

fn tensor<E: burn::tensor::Element + bytemuck::Pod + Send + Sync>(
    values: Vec<E>,
    shape: Shape,
    dtype: DType,
) -> FlexTensor {
    FlexTensor::new(
        burn::tensor::Bytes::from_elems(values),
        Layout::contiguous(shape),
        dtype,
    )
}
