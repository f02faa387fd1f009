//! `LlmOps` on the CPU: opens tensors to slices and calls the kernels.
//!
//! Invariant: outputs are fresh buffers, or the caller's own where it gave up its handle.
//! Knows nothing of layers or requests.

use burn::backend::Flex;
use burn::tensor::{DType, Shape};
use burn_flex::{FlexTensor, Layout};
use half::bf16;

use super::LlmOps;
use crate::kernels::attention::{Buffers, attention};
use crate::kernels::lanes::level;
use crate::kernels::linear::{INT8_GROUP, Packed, gather_row, linear, pack, padded, quantise};
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
        let [n, k] = dims(&weight);
        let (values, scales) = quantise(slice(&contiguous(weight)), n, k);
        let groups = k.div_ceil(INT8_GROUP);
        (
            tensor(values, Shape::new([padded(n), k]), DType::I8),
            tensor(scales, Shape::new([padded(n), groups]), DType::F32),
        )
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

    fn embed(table: FlexTensor, ids: &[u32]) -> FlexTensor {
        let [_, k] = dims(&table);
        rows(dense(&table), k, ids)
    }

    fn embed_int8(table: FlexTensor, scales: FlexTensor, ids: &[u32]) -> FlexTensor {
        let [_, k] = dims(&table);
        rows(Packed::Int8(slice(&table), slice(&scales)), k, ids)
    }

    fn rms_norm(x: FlexTensor, weight: FlexTensor, eps: f32) -> FlexTensor {
        let x = contiguous(x);
        let input = slice::<f32>(&x);
        let mut out = vec![0f32; input.len()];
        pointwise::rms_norm(input, slice(&weight), eps, &mut out);
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

    fn softcap(x: FlexTensor, cap: f32) -> FlexTensor {
        let mut x = contiguous(x);
        pointwise::softcap_all(level(), x.storage_mut(), cap);
        x
    }

    fn add(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        let mut a = contiguous(a);
        pointwise::add_assign(a.storage_mut::<f32>(), slice(&contiguous(b)));
        a
    }

    fn add_bias(x: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let mut x = contiguous(x);
        pointwise::add_bias(x.storage_mut::<f32>(), slice(&contiguous(bias)));
        x
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
            keys: keys.storage_mut(),
            values: values.storage_mut(),
            out: &mut out,
        };
        attention(level(), &shape, step, buffers);
        (
            tensor(out, Shape::new([step.tokens(), width]), DType::F32),
            keys,
            values,
        )
    }
}

fn product(x: FlexTensor, weight: Packed<'_>, columns: usize) -> FlexTensor {
    let [t, k] = dims(&x);
    let x = contiguous(x);
    let mut y = vec![0f32; t * columns];
    linear(level(), slice(&x), weight, &mut y, columns, k);
    tensor(y, Shape::new([t, columns]), DType::F32)
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
