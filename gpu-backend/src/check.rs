//! Whether a device computes what the CPU does: every fused operation on odd and on usual
//! shapes, and whole models, prefill and decode. What the tests ask of a device in
//! software, `gpu-backend check-device` asks of a real one.
//! Knows nothing of requests.

mod attention;
mod model;
mod steps;

use std::fmt;

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::backend::{self, DeviceError, DeviceKind};

/// One comparison with the CPU.
#[derive(Clone, Debug)]
pub struct Check {
    pub name: String,
    /// The largest difference, over one plus the largest value.
    pub error: f32,
    pub bound: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    Wrong,
}

impl Check {
    pub fn verdict(&self) -> Verdict {
        if self.error <= self.bound {
            Verdict::Right
        } else {
            Verdict::Wrong
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict() {
            Verdict::Right => "ok",
            Verdict::Wrong => "WRONG",
        };
        write!(
            f,
            "{verdict} {} (error {:.1e}, at most {:.1e})",
            self.name, self.error, self.bound
        )
    }
}

/// A device whose results could not be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("{0}: {1}")]
    Failed(String, String),
}

/// The two devices that are compared.
struct Pair<'a> {
    cpu: Device,
    other: Device,
    checks: Vec<Check>,
    told: &'a mut dyn FnMut(&Check),
}

/// Compares a device with the CPU, and tells of each comparison once it is made.
///
/// # Errors
/// A device cannot be had, or gives no result.
pub fn device(kind: DeviceKind, told: &mut dyn FnMut(&Check)) -> Result<Vec<Check>, CheckError> {
    let mut pair = Pair {
        cpu: backend::open(DeviceKind::Cpu)?,
        other: backend::open(kind)?,
        checks: Vec::new(),
        told,
    };
    steps::row_wise(&mut pair)?;
    steps::products(&mut pair)?;
    attention::paged(&mut pair)?;
    attention::dense(&mut pair)?;
    model::models(&mut pair)?;
    Ok(pair.checks)
}

impl Pair<'_> {
    /// Runs `f` on both devices and compares what it gives.
    fn compare(
        &mut self,
        name: impl Into<String>,
        bound: f32,
        f: impl Fn(&Device) -> Tensor<2>,
    ) -> Result<(), CheckError> {
        let (want, got) = (f(&self.cpu), f(&self.other));
        self.push(name.into(), bound, want, got)
    }

    fn push(
        &mut self,
        name: String,
        bound: f32,
        want: Tensor<2>,
        got: Tensor<2>,
    ) -> Result<(), CheckError> {
        let shapes = (want.dims(), got.dims());
        let (want, got) = (numbers(&name, want)?, numbers(&name, got)?);
        if shapes.0 != shapes.1 {
            let problem = format!("{:?} values against {:?}", shapes.1, shapes.0);
            return Err(CheckError::Failed(name, problem));
        }
        let error = difference(&want, &got);
        let check = Check { name, error, bound };
        (self.told)(&check);
        self.checks.push(check);
        Ok(())
    }
}

fn numbers(name: &str, t: Tensor<2>) -> Result<Vec<f32>, CheckError> {
    let failed = |problem: String| CheckError::Failed(name.to_owned(), problem);
    let data: TensorData = t.try_into_data().map_err(|e| failed(format!("{e:?}")))?;
    data.try_into_vec().map_err(|e| failed(format!("{e:?}")))
}

/// The largest difference over one plus the largest value; infinite where a number is
/// none.
fn difference(want: &[f32], got: &[f32]) -> f32 {
    let largest = want.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let apart = want.iter().zip(got).map(|(w, g)| (w - g).abs());
    let most = apart.fold(
        0f32,
        |most, x| if x >= 0.0 { most.max(x) } else { f32::INFINITY },
    );
    most / (1.0 + largest)
}

/// Values of −1 to 1.
fn random(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn matrix(values: &[f32], rows: usize, device: &Device) -> Tensor<2> {
    let width = values.len() / rows;
    Tensor::from_data(TensorData::new(values.to_vec(), [rows, width]), device)
}

fn vector(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

/// Positions and slots fit 32 bits.
fn small(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
