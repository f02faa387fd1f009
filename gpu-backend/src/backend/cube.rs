//! `LlmOps` on a GPU, as kernels in CubeCL: CUDA C++ on NVIDIA's, WGSL through Vulkan on
//! any. Says for each operation which kernels run, over how many cubes.
//!
//! Invariant: kernels read and write whole tensors in row-major order; `whole` makes any
//! other so. What an operation changes in place is either its caller's own, or a copy.
//! Knows nothing of layers or requests.

#![expect(
    unsafe_code,
    reason = "kernels check no bounds: each reads and writes what its launch here gives it"
)]

mod attention;
mod dense;
mod integer;
mod linear;
mod pointwise;
mod rows;

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::LlmOps;
use crate::kernels::{Activation, AttentionShape, StepLayout};
use integer::{Bits, Rounding};
use rows::Fold;

/// Cubes of a kernel over single values; more are left to its loop.
const POINTWISE_CUBES_MAX: usize = 4096;

impl LlmOps for CubeBackend {
    fn pack(weight: CubeTensor) -> CubeTensor {
        linear::pack(weight)
    }

    fn quantise(weight: CubeTensor) -> (CubeTensor, CubeTensor) {
        linear::round(weight, Bits::Eight.group(), Rounding::Int8)
    }

    fn quantise_int4(weight: CubeTensor) -> (CubeTensor, CubeTensor) {
        linear::round(weight, Bits::Four.group(), Rounding::Int4)
    }

    fn linear(x: CubeTensor, weight: CubeTensor, columns: usize) -> CubeTensor {
        linear::dense(x, weight, columns)
    }

    fn linear_int8(
        x: CubeTensor,
        weight: CubeTensor,
        scales: CubeTensor,
        columns: usize,
    ) -> CubeTensor {
        linear::integer(x, weight, scales, columns, Bits::Eight)
    }

    fn linear_int4(
        x: CubeTensor,
        weight: CubeTensor,
        scales: CubeTensor,
        columns: usize,
    ) -> CubeTensor {
        linear::integer(x, weight, scales, columns, Bits::Four)
    }

    fn embed(table: CubeTensor, ids: &[u32]) -> CubeTensor {
        linear::embed_dense(table, ids)
    }

    fn embed_int8(table: CubeTensor, scales: CubeTensor, ids: &[u32]) -> CubeTensor {
        linear::embed_integer(table, scales, ids, Bits::Eight)
    }

    fn embed_int4(table: CubeTensor, scales: CubeTensor, ids: &[u32]) -> CubeTensor {
        linear::embed_integer(table, scales, ids, Bits::Four)
    }

    fn rms_norm(x: CubeTensor, weight: CubeTensor, eps: f32) -> CubeTensor {
        let (x, weight) = (whole(x), whole(weight));
        let [count, width] = dims(&x);
        let out = empty(&x, [count, width], DType::F32);
        // SAFETY: a cube per row, of `width` values each.
        unsafe {
            rows::rms_norm_kernel::launch_unchecked(
                &x.client,
                CubeCount::Static(small(count), 1, 1),
                CubeDim::new_1d(small(rows::UNITS)),
                argument(&x),
                argument(&weight),
                argument(&out),
                small(width),
                eps,
                fold(&x),
            );
        }
        out
    }

    fn qk_norm(
        qkv: CubeTensor,
        query: CubeTensor,
        key: CubeTensor,
        shape: AttentionShape,
        eps: f32,
    ) -> CubeTensor {
        let (qkv, query, key) = (own(qkv), whole(query), whole(key));
        let [count, width] = dims(&qkv);
        // SAFETY: a cube per row and head of it.
        unsafe {
            rows::qk_norm_kernel::launch_unchecked(
                &qkv.client,
                CubeCount::Static(small(shape.heads + shape.kv_heads), small(count), 1),
                CubeDim::new_1d(small(rows::HEAD_UNITS)),
                argument(&qkv),
                argument(&query),
                argument(&key),
                small(shape.heads),
                small(width),
                eps,
                shape.head_dim,
                fold(&qkv),
            );
        }
        qkv
    }

    fn gated(gate_up: CubeTensor, activation: Activation) -> CubeTensor {
        let gate_up = whole(gate_up);
        let [count, width] = dims(&gate_up);
        let inner = width / 2;
        let out = empty(&gate_up, [count, inner], DType::F32);
        let (cubes, units) = pointwise(count * inner);
        // SAFETY: as many values as `out` has, from twice as many.
        unsafe {
            pointwise::gated_kernel::launch_unchecked(
                &out.client,
                cubes,
                units,
                argument(&gate_up),
                argument(&out),
                small(inner),
                small(count * inner),
                activation,
            );
        }
        out
    }

    fn layer_norm(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, eps: f32) -> CubeTensor {
        let (x, weight, bias) = (whole(x), whole(weight), whole(bias));
        let [count, width] = dims(&x);
        let out = empty(&x, [count, width], DType::F32);
        // SAFETY: a cube per row, of `width` values each.
        unsafe {
            rows::layer_norm_kernel::launch_unchecked(
                &x.client,
                CubeCount::Static(small(count), 1, 1),
                CubeDim::new_1d(small(rows::UNITS)),
                argument(&x),
                argument(&weight),
                argument(&bias),
                argument(&out),
                small(width),
                eps,
                fold(&x),
            );
        }
        out
    }

    fn activate(x: CubeTensor, activation: Activation) -> CubeTensor {
        let x = own(x);
        let count = x.shape().num_elements();
        let (cubes, units) = pointwise(count);
        // SAFETY: every value once, in place.
        unsafe {
            pointwise::activate_kernel::launch_unchecked(
                &x.client,
                cubes,
                units,
                argument(&x),
                small(count),
                activation,
            );
        }
        x
    }

    fn softcap(x: CubeTensor, cap: f32) -> CubeTensor {
        let x = own(x);
        let count = x.shape().num_elements();
        let (cubes, units) = pointwise(count);
        // SAFETY: every value once, in place.
        unsafe {
            pointwise::softcap_kernel::launch_unchecked(
                &x.client,
                cubes,
                units,
                argument(&x),
                small(count),
                cap,
            );
        }
        x
    }

    fn add(a: CubeTensor, b: CubeTensor) -> CubeTensor {
        let (a, b) = (own(a), whole(b));
        let count = a.shape().num_elements();
        let (cubes, units) = pointwise(count);
        // SAFETY: every value once, in place; the shapes are equal.
        unsafe {
            pointwise::add_kernel::launch_unchecked(
                &a.client,
                cubes,
                units,
                argument(&a),
                argument(&b),
                small(count),
            );
        }
        a
    }

    fn add_bias(x: CubeTensor, bias: CubeTensor) -> CubeTensor {
        let (x, bias) = (own(x), whole(bias));
        let [count, width] = dims(&x);
        let (cubes, units) = pointwise(count * width);
        // SAFETY: every value once, in place; the bias has a row's width.
        unsafe {
            pointwise::add_bias_kernel::launch_unchecked(
                &x.client,
                cubes,
                units,
                argument(&x),
                argument(&bias),
                small(width),
                small(count * width),
            );
        }
        x
    }

    fn attention(
        qkv: CubeTensor,
        angles: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        shape: AttentionShape,
        step: &StepLayout,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        attention::over_f32(qkv, angles, keys, values, &shape, step)
    }

    fn cache_int8(
        scales: CubeTensor,
        shape: AttentionShape,
        blocks: usize,
    ) -> (CubeTensor, CubeTensor) {
        attention::cache_int8(&scales, &shape, blocks)
    }

    fn attention_int8(
        qkv: CubeTensor,
        angles: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        scales: CubeTensor,
        shape: AttentionShape,
        step: &StepLayout,
    ) -> (CubeTensor, CubeTensor, CubeTensor, CubeTensor) {
        attention::over_int8(qkv, angles, keys, values, scales, &shape, step)
    }
}

/// The tensor in row-major order.
fn whole(t: CubeTensor) -> CubeTensor {
    into_contiguous(t)
}

/// The tensor in row-major order, to be changed in place: a copy, where another holds it.
fn own(t: CubeTensor) -> CubeTensor {
    let held_once = t.can_mut();
    let t = whole(t);
    // What `whole` made is nobody else's.
    if held_once || t.can_mut() {
        return t;
    }
    let out = empty_device_contiguous_dtype(t.client.clone(), t.device.clone(), t.shape(), t.dtype);
    let words = (t.shape().num_elements() * t.dtype.size()).div_ceil(4);
    let (cubes, units) = pointwise(words);
    // SAFETY: buffers are of whole words.
    unsafe {
        pointwise::copy_kernel::launch_unchecked(
            &t.client,
            cubes,
            units,
            argument(&t),
            argument(&out),
            small(words),
        );
    }
    out
}

fn dims(t: &CubeTensor) -> [usize; 2] {
    t.shape().dims()
}

/// A new tensor beside `like`.
fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::from(shape), dtype)
}

/// Words on the device that `like` is on.
fn upload(like: &CubeTensor, words: &[u32]) -> CubeTensor {
    let handle = like.client.create_from_slice(bytemuck::cast_slice(words));
    let shape = Shape::from([words.len()]);
    CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        shape,
        handle,
        DType::U32,
    )
}

/// The tensor as a kernel's buffer, whatever its type there.
fn argument(t: &CubeTensor) -> BufferArg {
    // SAFETY: the length is the tensor's own.
    unsafe { BufferArg::from_raw_parts(t.handle.clone(), t.shape().num_elements()) }
}

/// Sizes on a device are 32 bits: a larger buffer is not made.
fn small(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Cubes and units for a kernel over `count` values.
fn pointwise(count: usize) -> (CubeCount, CubeDim) {
    let cubes = count.div_ceil(pointwise::UNITS as usize);
    let cubes = cubes.clamp(1, POINTWISE_CUBES_MAX);
    (
        CubeCount::Static(small(cubes), 1, 1),
        CubeDim::new_1d(pointwise::UNITS),
    )
}

/// How cubes add up on this device.
fn fold(t: &CubeTensor) -> Fold {
    let properties = t.client.properties();
    let hardware = &properties.hardware;
    let planes = hardware.plane_size_min == 32 && hardware.plane_size_max == 32;
    if planes
        && properties
            .features
            .plane
            .contains(cubecl::ir::features::Plane::Ops)
    {
        Fold::Planes
    } else {
        Fold::Shared
    }
}
