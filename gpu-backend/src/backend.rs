//! The engine's fused operations on a device; the model sees `Tensor<D>` and these.
//!
//! `LlmOps` is an extension of burn's backends: the CPU runs our own kernels
//! (`backend/cpu.rs`), and so do GPUs (`backend/cube.rs`). What one of them has no kernel
//! for is a composition of burn's operations in `backend/reference.rs`, which is also
//! what the kernels are tested against.
//! Knows nothing of layers or requests.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod device;
mod reference;

use std::fmt;
use std::str::FromStr;

use burn::backend::backend_extension;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, TensorMetadata};
use burn::tensor::{DType, Device, FloatDType, Int, IntDType, Shape, Tensor, TensorData};

use crate::kernels::{Activation, AttentionShape, StepLayout};
pub use device::{DeviceError, DeviceKind, memory_available_bytes, open};

/// Operations of a transformer layer that burn does not have.
///
/// All activations are f32. A *packed* weight has the backend's own inner order;
/// only `pack`, `quantise` and the operations here look inside.
#[backend_extension(Flex, Cube: cfg(feature = "cube"))]
pub trait LlmOps: Backend {
    /// Reorders `weight[N, K]` (f32 or bf16) for this backend.
    fn pack(weight: FloatTensor<Self>) -> FloatTensor<Self> {
        weight
    }

    /// Quantises `weight[N, K]` to int8: packed values and scales.
    fn quantise(weight: FloatTensor<Self>) -> (IntTensor<Self>, FloatTensor<Self>) {
        reference::quantise::<Self>(weight, 127)
    }

    /// Quantises `weight[N, K]` to int4: packed values and scales.
    fn quantise_int4(weight: FloatTensor<Self>) -> (IntTensor<Self>, FloatTensor<Self>) {
        reference::quantise::<Self>(weight, 7)
    }

    /// `x[T, K] · weightᵀ → [T, columns]`.
    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        columns: usize,
    ) -> FloatTensor<Self> {
        let _ = columns;
        reference::linear::<Self>(x, weight)
    }

    /// As `linear`, on a weight from `quantise`; a backend may round `x` to int8, each
    /// row by itself.
    fn linear_int8(
        x: FloatTensor<Self>,
        weight: IntTensor<Self>,
        scales: FloatTensor<Self>,
        columns: usize,
    ) -> FloatTensor<Self> {
        let _ = columns;
        reference::linear::<Self>(x, reference::dequantise::<Self>(weight, scales))
    }

    /// As `linear_int8`, on a weight from `quantise_int4`.
    fn linear_int4(
        x: FloatTensor<Self>,
        weight: IntTensor<Self>,
        scales: FloatTensor<Self>,
        columns: usize,
    ) -> FloatTensor<Self> {
        let _ = columns;
        reference::linear::<Self>(x, reference::dequantise::<Self>(weight, scales))
    }

    /// Rows `ids` of a packed table: `[ids, K]`.
    fn embed(table: FloatTensor<Self>, ids: &[u32]) -> FloatTensor<Self> {
        reference::embed::<Self>(table, ids)
    }

    /// As `embed`, on a table from `quantise`: `[ids, K or more]`, zeros past `K`.
    fn embed_int8(
        table: IntTensor<Self>,
        scales: FloatTensor<Self>,
        ids: &[u32],
    ) -> FloatTensor<Self> {
        reference::embed::<Self>(reference::dequantise::<Self>(table, scales), ids)
    }

    /// As `embed_int8`, on a table from `quantise_int4`.
    fn embed_int4(
        table: IntTensor<Self>,
        scales: FloatTensor<Self>,
        ids: &[u32],
    ) -> FloatTensor<Self> {
        reference::embed::<Self>(reference::dequantise::<Self>(table, scales), ids)
    }

    /// RMS norm of each row.
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        reference::rms_norm::<Self>(x, weight, eps)
    }

    /// RMS norms of each query head by `query[head_dim]` and of each key head by
    /// `key[head_dim]`, in rows `[q heads | k heads | v heads]`.
    fn qk_norm(
        qkv: FloatTensor<Self>,
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        shape: AttentionShape,
        eps: f32,
    ) -> FloatTensor<Self> {
        reference::qk_norm::<Self>(qkv, query, key, shape, eps)
    }

    /// `activation(gate) · up` of rows `[gate | up]`.
    fn gated(gate_up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        reference::gated::<Self>(gate_up, activation)
    }

    /// Layer norm of each row.
    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        reference::layer_norm::<Self>(x, weight, bias, eps)
    }

    /// The activation's curve over every value.
    fn activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        reference::activate::<Self>(x, activation)
    }

    /// Attention within each of the sequences of `lengths` rows `[q | k | v heads]`, every
    /// token seeing every other: `[T, heads · head_dim]`.
    fn dense_attention(
        qkv: FloatTensor<Self>,
        shape: AttentionShape,
        lengths: &[usize],
    ) -> FloatTensor<Self> {
        reference::dense_attention::<Self>(qkv, shape, lengths)
    }

    /// `cap · tanh(x / cap)` of every value.
    fn softcap(x: FloatTensor<Self>, cap: f32) -> FloatTensor<Self> {
        reference::softcap::<Self>(x, cap)
    }

    /// `a + b` of equal shapes.
    fn add(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_add(a, b)
    }

    /// Adds a bias to each row.
    fn add_bias(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::add_bias::<Self>(x, bias)
    }

    /// Rotary positions, cache write and paged grouped-query attention.
    /// Returns `[T, heads · head_dim]` and the two caches, which are updated in place
    /// where the caller gave up its own handle.
    fn attention(
        qkv: FloatTensor<Self>,
        angles: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        shape: AttentionShape,
        step: &StepLayout,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        reference::attention::<Self>(qkv, angles, keys, values, shape, step)
    }

    /// Zeros for a cache, without gaps, which a device might leave between rows. Most of a
    /// cache may never be used, so that its memory is taken as it is written to, if the
    /// backend can.
    fn cache_zeros(like: FloatTensor<Self>, dims: [usize; 4]) -> FloatTensor<Self> {
        let count = Shape::new([dims.iter().product::<usize>()]);
        let zeros = Self::float_zeros(count, &like.device(), FloatDType::F32);
        Self::float_reshape(zeros, Shape::new(dims))
    }

    /// Empty keys and values of a cache of int8 beside its scales, in this backend's own
    /// order.
    fn cache_int8(
        scales: FloatTensor<Self>,
        shape: AttentionShape,
        blocks: usize,
    ) -> (IntTensor<Self>, IntTensor<Self>) {
        let zeros =
            |dims: [usize; 4]| Self::int_zeros(Shape::new(dims), &scales.device(), IntDType::I8);
        (zeros(shape.keys(blocks)), zeros(shape.values(blocks)))
    }

    /// As `attention`, with a cache of int8 and `scales[block, kv_head, keys' | values', 16]`.
    /// Returns the output, keys, values and scales.
    fn attention_int8(
        qkv: FloatTensor<Self>,
        angles: FloatTensor<Self>,
        keys: IntTensor<Self>,
        values: IntTensor<Self>,
        scales: FloatTensor<Self>,
        shape: AttentionShape,
        step: &StepLayout,
    ) -> (
        FloatTensor<Self>,
        IntTensor<Self>,
        IntTensor<Self>,
        FloatTensor<Self>,
    ) {
        reference::attention_int8::<Self>(qkv, angles, keys, values, scales, shape, step)
    }
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    Bf16,
    /// With a scale per column and group of values.
    Int8,
    /// With a scale per column and smaller group.
    Int4,
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            "int4" => Ok(Self::Int4),
            other => Err(format!(
                "unknown precision {other:?}; known: f32, bf16, int8, int4"
            )),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        })
    }
}

/// A weight matrix in this backend's own order.
#[derive(Clone, Debug)]
pub struct Matrix {
    storage: Storage,
    columns: usize,
    inner: usize,
}

#[derive(Clone, Debug)]
enum Storage {
    Dense(Tensor<2>),
    Int8(Quantised),
    Int4(Quantised),
}

#[derive(Clone, Debug)]
struct Quantised {
    values: Tensor<2, Int>,
    scales: Tensor<2>,
}

impl Matrix {
    /// Packs `values`, the row-major `[columns, inner]` matrix of a checkpoint.
    pub fn new(
        values: Vec<f32>,
        columns: usize,
        inner: usize,
        precision: Precision,
        device: &Device,
    ) -> Self {
        let data = TensorData::new(values, [columns, inner]);
        let tensor = match precision {
            Precision::Bf16 => Tensor::<2>::from_data(data, (device, DType::BF16)),
            _ => Tensor::from_data(data, (device, DType::F32)),
        };
        let quantised = |(values, scales)| Quantised {
            values: Tensor::from_dispatch(values),
            scales: Tensor::from_dispatch(scales),
        };
        let tensor = tensor.into_dispatch();
        let storage = match precision {
            Precision::F32 | Precision::Bf16 => {
                Storage::Dense(Tensor::from_dispatch(Dispatch::pack(tensor)))
            }
            Precision::Int8 => Storage::Int8(quantised(Dispatch::quantise(tensor))),
            Precision::Int4 => Storage::Int4(quantised(Dispatch::quantise_int4(tensor))),
        };
        Self {
            storage,
            columns,
            inner,
        }
    }

    /// `x[T, inner] → [T, columns]`.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let x = x.into_dispatch();
        Tensor::from_dispatch(match &self.storage {
            Storage::Dense(w) => Dispatch::linear(x, w.clone().into_dispatch(), self.columns),
            Storage::Int8(w) => {
                let (values, scales) = (w.values.clone(), w.scales.clone());
                let (values, scales) = (values.into_dispatch(), scales.into_dispatch());
                Dispatch::linear_int8(x, values, scales, self.columns)
            }
            Storage::Int4(w) => {
                let (values, scales) = (w.values.clone(), w.scales.clone());
                let (values, scales) = (values.into_dispatch(), scales.into_dispatch());
                Dispatch::linear_int4(x, values, scales, self.columns)
            }
        })
    }

    /// The matrix as a table: one row of `inner` values per id.
    pub fn rows(&self, ids: &[u32]) -> Tensor<2> {
        let rows = Tensor::from_dispatch(match &self.storage {
            Storage::Dense(w) => Dispatch::embed(w.clone().into_dispatch(), ids),
            Storage::Int8(w) => {
                let (values, scales) = (w.values.clone(), w.scales.clone());
                Dispatch::embed_int8(values.into_dispatch(), scales.into_dispatch(), ids)
            }
            Storage::Int4(w) => {
                let (values, scales) = (w.values.clone(), w.scales.clone());
                Dispatch::embed_int4(values.into_dispatch(), scales.into_dispatch(), ids)
            }
        });
        if rows.dims()[1] == self.inner {
            rows
        } else {
            rows.narrow(1, 0, self.inner)
        }
    }
}

/// RMS norm of each row of `x[T, H]`.
pub fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f32) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::rms_norm(
        x.into_dispatch(),
        weight.clone().into_dispatch(),
        eps,
    ))
}

/// RMS norms of each query head by `query` and of each key head by `key`, before they
/// are rotated; values stay as they are.
pub fn qk_norm(
    qkv: Tensor<2>,
    query: &Tensor<1>,
    key: &Tensor<1>,
    shape: AttentionShape,
    eps: f32,
) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::qk_norm(
        qkv.into_dispatch(),
        query.clone().into_dispatch(),
        key.clone().into_dispatch(),
        shape,
        eps,
    ))
}

/// `activation(gate) · up` of rows `[gate | up]`.
pub fn gated(gate_up: Tensor<2>, activation: Activation) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::gated(gate_up.into_dispatch(), activation))
}

/// Layer norm of each row of `x[T, H]`.
pub fn layer_norm(x: Tensor<2>, weight: &Tensor<1>, bias: &Tensor<1>, eps: f32) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::layer_norm(
        x.into_dispatch(),
        weight.clone().into_dispatch(),
        bias.clone().into_dispatch(),
        eps,
    ))
}

/// The activation's curve over every value.
pub fn activate(x: Tensor<2>, activation: Activation) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::activate(x.into_dispatch(), activation))
}

/// Attention within each of the sequences of `lengths` rows, every token seeing every
/// other: `qkv[T, …] → [T, heads · head_dim]`.
pub fn dense_attention(qkv: Tensor<2>, shape: AttentionShape, lengths: &[usize]) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::dense_attention(
        qkv.into_dispatch(),
        shape,
        lengths,
    ))
}

/// `cap · tanh(x / cap)` of every value.
pub fn softcap(x: Tensor<2>, cap: f32) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::softcap(x.into_dispatch(), cap))
}

/// `a + b`, in `a`'s memory where nobody else holds it.
pub fn add(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::add(a.into_dispatch(), b.into_dispatch()))
}

/// Adds `bias` to each row.
pub fn add_bias(x: Tensor<2>, bias: &Tensor<1>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::add_bias(
        x.into_dispatch(),
        bias.clone().into_dispatch(),
    ))
}

/// Rows `rows` of `x`, in that order.
pub fn select_rows(x: Tensor<2>, rows: &[u32]) -> Tensor<2> {
    let rows: Vec<i32> = rows
        .iter()
        .map(|row| i32::try_from(*row).unwrap_or(i32::MAX))
        .collect();
    let count = rows.len();
    let device = x.device();
    x.select(
        0,
        Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device),
    )
}

/// How the KV cache keeps its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvCacheDtype {
    /// As they are computed: f32.
    #[default]
    Auto,
    /// With a scale per token and head: a quarter of the memory.
    Int8,
}

impl FromStr for KvCacheDtype {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "int8" => Ok(Self::Int8),
            other => Err(format!(
                "unknown KV cache dtype {other:?}; known: auto, int8"
            )),
        }
    }
}

impl fmt::Display for KvCacheDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Int8 => "int8",
        })
    }
}

/// One layer's part of the paged cache.
#[derive(Debug)]
pub struct LayerCache {
    /// Absent only while a step is writing to it.
    kept: Option<Kept>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a layer")]
enum Kept {
    F32 {
        keys: Tensor<4>,
        values: Tensor<4>,
    },
    Int8 {
        keys: Tensor<4, Int>,
        values: Tensor<4, Int>,
        scales: Tensor<4>,
    },
}

impl LayerCache {
    pub fn new(shape: &AttentionShape, blocks: usize, kept: KvCacheDtype, device: &Device) -> Self {
        let (keys, values) = (shape.keys(blocks), shape.values(blocks));
        let kept = match kept {
            KvCacheDtype::Auto => Kept::F32 {
                keys: zeros(keys, device),
                values: zeros(values, device),
            },
            KvCacheDtype::Int8 => {
                let scales = zeros(shape.scales(blocks), device);
                let (keys, values) =
                    Dispatch::cache_int8(scales.clone().into_dispatch(), *shape, blocks);
                Kept::Int8 {
                    keys: Tensor::from_dispatch(keys),
                    values: Tensor::from_dispatch(values),
                    scales,
                }
            }
        };
        Self { kept: Some(kept) }
    }

    /// Stores this step's keys and values and attends: `qkv[T, …] → [T, heads · head_dim]`.
    pub fn attend(
        &mut self,
        qkv: Tensor<2>,
        angles: &Tensor<2>,
        shape: AttentionShape,
        step: &StepLayout,
    ) -> Tensor<2> {
        let (qkv, angles) = (qkv.into_dispatch(), angles.clone().into_dispatch());
        #[expect(
            clippy::expect_used,
            reason = "put back below; `attend` cannot be re-entered"
        )]
        let (out, kept) = match self.kept.take().expect("a step at a time") {
            Kept::F32 { keys, values } => {
                let (keys, values) = (keys.into_dispatch(), values.into_dispatch());
                let (out, keys, values) =
                    Dispatch::attention(qkv, angles, keys, values, shape, step);
                let (keys, values) = (Tensor::from_dispatch(keys), Tensor::from_dispatch(values));
                (out, Kept::F32 { keys, values })
            }
            Kept::Int8 {
                keys,
                values,
                scales,
            } => {
                let (keys, values) = (keys.into_dispatch(), values.into_dispatch());
                let scales = scales.into_dispatch();
                let (out, keys, values, scales) =
                    Dispatch::attention_int8(qkv, angles, keys, values, scales, shape, step);
                let kept = Kept::Int8 {
                    keys: Tensor::from_dispatch(keys),
                    values: Tensor::from_dispatch(values),
                    scales: Tensor::from_dispatch(scales),
                };
                (out, kept)
            }
        };
        self.kept = Some(kept);
        Tensor::from_dispatch(out)
    }
}

/// See [`LlmOps::cache_zeros`].
fn zeros(dims: [usize; 4], device: &Device) -> Tensor<4> {
    let like = Tensor::<1>::zeros([1], (device, DType::F32)).into_dispatch();
    Tensor::from_dispatch(Dispatch::cache_zeros(like, dims))
}

#[cfg(test)]
mod tests;
