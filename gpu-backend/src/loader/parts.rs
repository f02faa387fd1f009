//! Vectors, matrices and linear maps on a device, from named tensors of a source.
//! Knows nothing of which tensors a model needs, nor where they come from.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::LoadError;
use crate::backend::{Matrix, Precision};
use crate::layer::Linear;

/// Makes a model's parts from tensors that `source(name, shape)` gives.
pub(super) struct Parts<'a, S> {
    pub(super) precision: Precision,
    pub(super) device: &'a Device,
    pub(super) source: S,
}

impl<S> Parts<'_, S>
where
    S: Fn(&str, &[usize]) -> Result<Vec<f32>, LoadError>,
{
    pub(super) fn upload(&self, values: Vec<f32>) -> Tensor<1> {
        let len = values.len();
        Tensor::from_data(TensorData::new(values, [len]), (self.device, DType::F32))
    }

    /// The matrices `names`, one below the other.
    pub(super) fn matrix(
        &self,
        names: &[&str],
        rows: &[usize],
        inner: usize,
    ) -> Result<Matrix, LoadError> {
        let mut values = Vec::new();
        for (name, rows) in names.iter().zip(rows) {
            let part = (self.source)(name, &[*rows, inner])?;
            if values.is_empty() {
                values = part;
            } else {
                values.extend(part);
            }
        }
        Ok(Matrix::new(
            values,
            rows.iter().sum(),
            inner,
            self.precision,
            self.device,
        ))
    }

    /// The projections `prefix.name` side by side in one product.
    pub(super) fn linear(
        &self,
        prefix: &str,
        parts: &[(&str, usize)],
        inner: usize,
        biased: bool,
    ) -> Result<Linear, LoadError> {
        let names: Vec<String> = parts.iter().map(|(n, _)| format!("{prefix}.{n}")).collect();
        let rows: Vec<usize> = parts.iter().map(|(_, rows)| *rows).collect();
        self.stacked(&names, &rows, inner, biased)
    }

    /// The linear maps `names`, side by side in one product.
    pub(super) fn stacked(
        &self,
        names: &[String],
        rows: &[usize],
        inner: usize,
        biased: bool,
    ) -> Result<Linear, LoadError> {
        let weights: Vec<String> = names.iter().map(|n| format!("{n}.weight")).collect();
        let weights: Vec<&str> = weights.iter().map(String::as_str).collect();
        let weight = self.matrix(&weights, rows, inner)?;
        if !biased {
            return Ok(Linear { weight, bias: None });
        }
        let mut values = Vec::new();
        for (name, rows) in names.iter().zip(rows) {
            values.extend((self.source)(&format!("{name}.bias"), &[*rows])?);
        }
        let bias = Some(self.upload(values));
        Ok(Linear { weight, bias })
    }
}
