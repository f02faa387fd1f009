//! Kernels over rows: norms of rows and of heads. A cube has one row.
//! Knows nothing of layers or requests.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the launchers that the macro writes"
)]

use cubecl::prelude::*;

/// Units of a cube: some four values each for the narrowest models.
pub(super) const UNITS: usize = 256;

/// How a cube adds up over its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fold {
    /// Through shared memory.
    Shared,
    /// Within planes of 32 units by their own instruction, between them through shared
    /// memory.
    Planes,
}

/// The sum of `value` over each group of `lanes` units, in every unit of it. All units
/// of the cube must call it. `scratch` has a place per unit.
#[cube]
pub(super) fn sum_over(
    value: f32,
    scratch: &mut Shared<[f32]>,
    #[comptime] lanes: usize,
    #[comptime] fold: Fold,
) -> f32 {
    if comptime!(fold == Fold::Planes && lanes == 32) {
        plane_sum(value)
    } else if comptime!(fold == Fold::Planes && lanes > 32) {
        let unit = UNIT_POS as usize;
        let lane = unit % 32;
        let of_plane = plane_sum(value);
        if lane == 0 {
            scratch[unit / 32] = of_plane;
        }
        sync_cube();
        let first = (unit / lanes) * (lanes / 32);
        let mut total = 0f32;
        #[unroll]
        for plane in 0..lanes / 32 {
            total += scratch[first + plane];
        }
        sync_cube();
        total
    } else {
        let unit = UNIT_POS as usize;
        let lane = unit % lanes;
        scratch[unit] = value;
        sync_cube();
        #[unroll]
        for halving in 0..comptime!(lanes.ilog2() as usize) {
            let apart = comptime!(lanes >> (halving + 1));
            if lane < apart {
                scratch[unit] += scratch[unit + apart];
            }
            sync_cube();
        }
        let total = scratch[unit - lane];
        sync_cube();
        total
    }
}

/// `x / rms(x) · weight`.
#[cube(launch_unchecked)]
pub(super) fn rms_norm_kernel(
    x: &[f32],
    weight: &[f32],
    out: &mut [f32],
    width: u32,
    eps: f32,
    #[comptime] fold: Fold,
) {
    let mut scratch = Shared::new_slice(UNITS);
    let width = width as usize;
    let row = CUBE_POS_X as usize * width;
    let mut squares = 0f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        let value = x[row + i];
        squares += value * value;
        i += UNITS;
    }
    let mean = sum_over(squares, &mut scratch, UNITS, fold) / f32::cast_from(width as u32);
    let factor = 1f32 / (mean + eps).sqrt();
    let mut i = UNIT_POS as usize;
    while i < width {
        out[row + i] = x[row + i] * factor * weight[i];
        i += UNITS;
    }
}

/// `(x - mean) / deviation · weight + bias`.
#[cube(launch_unchecked)]
pub(super) fn layer_norm_kernel(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    out: &mut [f32],
    width: u32,
    eps: f32,
    #[comptime] fold: Fold,
) {
    let mut scratch = Shared::new_slice(UNITS);
    let count = f32::cast_from(width);
    let width = width as usize;
    let row = CUBE_POS_X as usize * width;
    let mut total = 0f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        total += x[row + i];
        i += UNITS;
    }
    let mean = sum_over(total, &mut scratch, UNITS, fold) / count;
    let mut squares = 0f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        let apart = x[row + i] - mean;
        squares += apart * apart;
        i += UNITS;
    }
    let variance = sum_over(squares, &mut scratch, UNITS, fold) / count;
    let factor = 1f32 / (variance + eps).sqrt();
    let mut i = UNIT_POS as usize;
    while i < width {
        out[row + i] = (x[row + i] - mean) * factor * weight[i] + bias[i];
        i += UNITS;
    }
}

/// Units of a cube that has one head.
pub(super) const HEAD_UNITS: usize = 32;

/// RMS norms of the query and key heads of rows `[q heads | k heads | v heads]`, in
/// place. A cube per row (y) and head to norm (x).
#[cube(launch_unchecked)]
pub(super) fn qk_norm_kernel(
    qkv: &mut [f32],
    query: &[f32],
    key: &[f32],
    heads: u32,
    width: u32,
    eps: f32,
    #[comptime] head_dim: usize,
    #[comptime] fold: Fold,
) {
    let mut scratch = Shared::new_slice(HEAD_UNITS);
    let head = CUBE_POS_X as usize;
    let base = CUBE_POS_Y as usize * width as usize + head * head_dim;
    let mut squares = 0f32;
    let mut i = UNIT_POS as usize;
    while i < head_dim {
        let value = qkv[base + i];
        squares += value * value;
        i += HEAD_UNITS;
    }
    let total = sum_over(squares, &mut scratch, HEAD_UNITS, fold);
    let mean = total / f32::cast_from(head_dim as u32);
    let factor = 1f32 / (mean + eps).sqrt();
    let mut i = UNIT_POS as usize;
    while i < head_dim {
        let weight = if CUBE_POS_X < heads { query[i] } else { key[i] };
        qkv[base + i] = qkv[base + i] * factor * weight;
        i += HEAD_UNITS;
    }
}
