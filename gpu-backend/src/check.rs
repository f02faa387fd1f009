//! Whether a device computes what the CPU does: every fused operation on odd and on usual
//! shapes, and whole models, prefill and decode. What the tests ask of a device in
//! software, `gpu-backend check-device` asks of a real one.
//! Knows nothing of requests.

mod attention;
mod model;
mod smoke;
mod steps;

use std::fmt;
use std::str::FromStr;

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

/// A part of the comparisons. A kernel that reads out of its memory leaves a CUDA context in
/// which all that follows fails, so a process may run one group and leave the next to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// A few of each kind, and widths whose rows CUDA pads: seconds, where the rest takes a
    /// minute.
    Smoke,
    Rows,
    Products,
    Attention,
    Dense,
    Models,
}

/// A group that there is none of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown group {0:?}; known: smoke, rows, products, attention, dense, models")]
pub struct UnknownGroup(String);

impl Group {
    pub const ALL: [Self; 6] = [
        Self::Smoke,
        Self::Rows,
        Self::Products,
        Self::Attention,
        Self::Dense,
        Self::Models,
    ];

    fn run(self, pair: &mut Pair<'_>) -> Result<(), CheckError> {
        match self {
            Self::Smoke => smoke::smoke(pair),
            Self::Rows => steps::row_wise(pair),
            Self::Products => steps::products(pair),
            Self::Attention => attention::paged(pair),
            Self::Dense => attention::dense(pair),
            Self::Models => model::models(pair),
        }
    }
}

impl FromStr for Group {
    type Err = UnknownGroup;

    fn from_str(name: &str) -> Result<Self, UnknownGroup> {
        let known = Self::ALL.into_iter();
        let mut named = known.filter(|group| group.to_string() == name);
        named.next().ok_or_else(|| UnknownGroup(name.to_owned()))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smoke => "smoke",
            Self::Rows => "rows",
            Self::Products => "products",
            Self::Attention => "attention",
            Self::Dense => "dense",
            Self::Models => "models",
        })
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

/// Compares a device with the CPU, group by group, and tells of each comparison once it is
/// made.
///
/// # Errors
/// A device cannot be had, or gives no result.
pub fn device(
    kind: DeviceKind,
    groups: &[Group],
    told: &mut dyn FnMut(&Check),
) -> Result<Vec<Check>, CheckError> {
    let mut pair = Pair {
        cpu: backend::open(DeviceKind::Cpu)?,
        other: backend::open(kind)?,
        checks: Vec::new(),
        told,
    };
    for group in groups {
        group.run(&mut pair)?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_known_by_its_name() {
        for group in Group::ALL {
            assert_eq!(group.to_string().parse(), Ok(group));
        }
        for name in ["", "Smoke", "smoke ", "row", "all"] {
            let unknown = name.parse::<Group>().unwrap_err();
            assert_eq!(unknown, UnknownGroup(name.to_owned()));
        }
    }

    /// Beside itself the CPU is right, so that what a group finds on a device is the device's.
    #[test]
    fn the_smoke_test_passes_beside_itself_and_has_padded_rows_and_every_precision() {
        let mut told = Vec::new();
        let mut tell = |check: &Check| told.push(check.name.clone());
        let checks = device(DeviceKind::Cpu, &[Group::Smoke], &mut tell).unwrap();
        assert_eq!(told.len(), checks.len());
        for check in &checks {
            assert_eq!(check.verdict(), Verdict::Right, "{check}");
        }
        let meets = |part: &str| checks.iter().any(|check| check.name.contains(part));
        for part in [
            "of 80", "of 96", "5 × 257", "f32, ", "bf16, ", "int8, ", "int4, ",
        ] {
            assert!(meets(part), "no case has {part:?}: {told:?}");
        }
    }
}
