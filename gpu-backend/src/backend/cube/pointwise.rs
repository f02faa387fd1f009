//! Kernels over single values. Each unit takes every so-many-th value, so that any count
//! fits any device's limit of cubes.
//! Knows nothing of layers or requests.

use cubecl::prelude::*;

use crate::kernels::Activation;

/// Units of a cube.
pub(super) const UNITS: u32 = 256;

#[cube]
fn curve(x: f32, #[comptime] activation: Activation) -> f32 {
    match comptime!(activation) {
        Activation::Silu => x / (1f32 + (0f32 - x).exp()),
        Activation::GeluErf => 0.5f32 * x * (1f32 + Erf::erf(x * std::f32::consts::FRAC_1_SQRT_2)),
        Activation::GeluTanh => {
            let inner = x + 0.044_715f32 * x * x * x;
            // ½ (1 + tanh(y)) is sigmoid(2y), and y is √(2/π) times the sum above.
            x / (1f32 + (-1.595_769_2f32 * inner).exp())
        }
    }
}

/// `activation(gate) · up` of rows `[gate | up]` of `inner` values each.
#[cube(launch_unchecked)]
pub(super) fn gated_kernel(
    gate_up: &[f32],
    out: &mut [f32],
    inner: u32,
    count: u32,
    #[comptime] activation: Activation,
) {
    let inner = inner as usize;
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut i = ABSOLUTE_POS;
    while i < count as usize {
        let gate = i + (i / inner) * inner;
        out[i] = curve(gate_up[gate], activation) * gate_up[gate + inner];
        i += apart;
    }
}

#[cube(launch_unchecked)]
pub(super) fn activate_kernel(x: &mut [f32], count: u32, #[comptime] activation: Activation) {
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut i = ABSOLUTE_POS;
    while i < count as usize {
        x[i] = curve(x[i], activation);
        i += apart;
    }
}

#[cube(launch_unchecked)]
pub(super) fn softcap_kernel(x: &mut [f32], count: u32, cap: f32) {
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut i = ABSOLUTE_POS;
    while i < count as usize {
        x[i] = cap * (x[i] / cap).tanh();
        i += apart;
    }
}

#[cube(launch_unchecked)]
pub(super) fn add_kernel(a: &mut [f32], b: &[f32], count: u32) {
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut i = ABSOLUTE_POS;
    while i < count as usize {
        a[i] += b[i];
        i += apart;
    }
}

#[cube(launch_unchecked)]
pub(super) fn add_bias_kernel(x: &mut [f32], bias: &[f32], width: u32, count: u32) {
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut i = ABSOLUTE_POS;
    while i < count as usize {
        x[i] += bias[i % width as usize];
        i += apart;
    }
}

/// A copy, four bytes at a time.
#[cube(launch_unchecked)]
pub(super) fn copy_kernel(from: &[u32], to: &mut [u32], count: u32) {
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut i = ABSOLUTE_POS;
    while i < count as usize {
        to[i] = from[i];
        i += apart;
    }
}
