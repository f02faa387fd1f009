//! The device, and the engine's fused operations on it. This is the only file that
//! names a device or a device's feature; the model sees `Tensor<D>` and these
//! operations.
//!
//! `LlmOps` is an extension of burn's backends: the CPU runs our own kernels
//! (`backend/cpu.rs`), any other backend the compositions of burn's operations in
//! `backend/reference.rs`, which are also what the kernels are tested against.
//! Knows nothing of layers or requests.

mod cpu;
mod reference;

use std::fmt;
use std::str::FromStr;

use burn::backend::backend_extension;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::kernels::{Activation, AttentionShape, StepLayout};

/// Operations of a transformer layer that burn does not have.
///
/// All activations are f32. A *packed* weight has the backend's own inner order;
/// only `pack`, `quantise` and the operations here look inside.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"))]
pub trait LlmOps: Backend {
    /// Reorders `weight[N, K]` (f32 or bf16) for this backend.
    fn pack(weight: FloatTensor<Self>) -> FloatTensor<Self> {
        weight
    }

    /// Quantises `weight[N, K]` to int8: packed values and scales.
    fn quantise(weight: FloatTensor<Self>) -> (IntTensor<Self>, FloatTensor<Self>) {
        reference::quantise::<Self>(weight)
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

    /// As `linear`, on a quantised weight.
    fn linear_int8(
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

    /// As `embed`, on a quantised table.
    fn embed_int8(
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
}

/// CubeCL's backends (CUDA) run the reference compositions.
#[cfg(feature = "cuda")]
impl LlmOps for burn::backend::Cuda {}

/// A device that the engine can be told to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    #[default]
    Cpu,
    Cuda,
}

/// A device that this build or this machine does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("unknown device {0:?}; known: cpu, cuda")]
    Unknown(String),
    #[error("this binary was built without the feature `cuda`")]
    NotBuilt,
    #[error("no CUDA driver library (libcuda) on this machine")]
    NoDriver,
}

impl FromStr for DeviceKind {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            other => Err(DeviceError::Unknown(other.to_owned())),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

/// Opens a device, or says why it cannot be had.
///
/// # Errors
/// The feature is not built in, or there is no driver.
pub fn open(kind: DeviceKind) -> Result<Device, DeviceError> {
    match kind {
        DeviceKind::Cpu => Ok(Device::flex()),
        DeviceKind::Cuda => open_cuda(),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda() -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt)
}

#[cfg(feature = "cuda")]
fn open_cuda() -> Result<Device, DeviceError> {
    // cudarc panics on its first call where the library is missing: ask before.
    // SAFETY: it only looks for the shared library by its names.
    #[expect(unsafe_code, reason = "cudarc's probe loads a shared library")]
    let present = unsafe { cudarc::driver::sys::is_culib_present() };
    if present {
        Ok(Device::cuda(0))
    } else {
        Err(DeviceError::NoDriver)
    }
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    Bf16,
    Int8,
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            other => Err(format!(
                "unknown precision {other:?}; known: f32, bf16, int8"
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
        })
    }
}

/// A weight matrix in this backend's own order.
#[derive(Clone, Debug)]
pub struct Matrix {
    storage: Storage,
    columns: usize,
}

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "handles; each matrix is thousands of times larger"
)]
enum Storage {
    Dense(Tensor<2>),
    Int8 {
        values: Tensor<2, Int>,
        scales: Tensor<2>,
    },
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
            Precision::F32 | Precision::Int8 => Tensor::from_data(data, (device, DType::F32)),
        };
        let storage = match precision {
            Precision::F32 | Precision::Bf16 => Storage::Dense(Tensor::from_dispatch(
                Dispatch::pack(tensor.into_dispatch()),
            )),
            Precision::Int8 => {
                let (values, scales) = Dispatch::quantise(tensor.into_dispatch());
                Storage::Int8 {
                    values: Tensor::from_dispatch(values),
                    scales: Tensor::from_dispatch(scales),
                }
            }
        };
        Self { storage, columns }
    }

    /// `x[T, inner] → [T, columns]`.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let x = x.into_dispatch();
        Tensor::from_dispatch(match &self.storage {
            Storage::Dense(w) => Dispatch::linear(x, w.clone().into_dispatch(), self.columns),
            Storage::Int8 { values, scales } => Dispatch::linear_int8(
                x,
                values.clone().into_dispatch(),
                scales.clone().into_dispatch(),
                self.columns,
            ),
        })
    }

    /// The matrix as a table: one row of `inner` values per id.
    pub fn rows(&self, ids: &[u32]) -> Tensor<2> {
        Tensor::from_dispatch(match &self.storage {
            Storage::Dense(w) => Dispatch::embed(w.clone().into_dispatch(), ids),
            Storage::Int8 { values, scales } => Dispatch::embed_int8(
                values.clone().into_dispatch(),
                scales.clone().into_dispatch(),
                ids,
            ),
        })
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

/// One layer's part of the paged cache.
#[derive(Debug)]
pub struct LayerCache {
    /// Absent only while a step is writing to it.
    keys_values: Option<(Tensor<4>, Tensor<4>)>,
}

impl LayerCache {
    pub fn new(shape: &AttentionShape, blocks: usize, device: &Device) -> Self {
        let keys = Tensor::zeros(shape.keys(blocks), (device, DType::F32));
        let values = Tensor::zeros(shape.values(blocks), (device, DType::F32));
        Self {
            keys_values: Some((keys, values)),
        }
    }

    /// Stores this step's keys and values and attends: `qkv[T, …] → [T, heads · head_dim]`.
    pub fn attend(
        &mut self,
        qkv: Tensor<2>,
        angles: &Tensor<2>,
        shape: AttentionShape,
        step: &StepLayout,
    ) -> Tensor<2> {
        #[expect(
            clippy::expect_used,
            reason = "put back below; `attend` cannot be re-entered"
        )]
        let (keys, values) = self.keys_values.take().expect("a step at a time");
        let (out, keys, values) = Dispatch::attention(
            qkv.into_dispatch(),
            angles.clone().into_dispatch(),
            keys.into_dispatch(),
            values.into_dispatch(),
            shape,
            step,
        );
        self.keys_values = Some((Tensor::from_dispatch(keys), Tensor::from_dispatch(values)));
        Tensor::from_dispatch(out)
    }
}

#[cfg(test)]
mod tests;
