//! From a checkpoint's row-major matrix to panels, and one row back out of them.
//! Knows nothing of products.

use half::bf16;
use rayon::prelude::*;

use super::Packed;
use super::integer::{Format, INT4_GROUP, INT8_GROUP, Int4, Int8};
use crate::kernels::lanes::{LANES, QUAD};

/// Values of the longest group.
const GROUP_MAX: usize = if INT8_GROUP > INT4_GROUP {
    INT8_GROUP
} else {
    INT4_GROUP
};

/// Columns rounded up to whole panels.
pub(crate) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(LANES)
}

/// Packs `w[n, k]` (row-major) into panels; columns past `n` are zero.
pub(crate) fn pack<T: Copy + Default + Send + Sync>(w: &[T], n: usize, k: usize) -> Vec<T> {
    let mut out = vec![T::default(); padded(n) * k];
    if k == 0 {
        return out;
    }
    out.par_chunks_mut(LANES * k)
        .enumerate()
        .for_each(|(panel, chunk)| {
            for lane in 0..LANES.min(n - panel * LANES) {
                let row = &w[(panel * LANES + lane) * k..][..k];
                for (i, value) in row.iter().enumerate() {
                    chunk[i * LANES + lane] = *value;
                }
            }
        });
    out
}

/// Rounds `w[n, k]` to symmetric int8 with one scale per column and 64 values.
/// Returns values and scales as [`Packed::Int8`] takes them.
pub(crate) fn quantise_int8(w: &[f32], n: usize, k: usize) -> (Vec<u8>, Vec<bf16>) {
    quantise::<Int8>(w, n, k, |part| {
        let max = part.iter().fold(0f32, |m, v| m.max(v.abs()));
        max / 127.0
    })
}

/// Rounds `w[n, k]` to int4, -8 to 7, with one scale per column and 32 values, which
/// is negative where the value of largest magnitude is positive: -8 stands for it.
/// Returns values and scales as [`Packed::Int4`] takes them.
pub(crate) fn quantise_int4(w: &[f32], n: usize, k: usize) -> (Vec<u8>, Vec<bf16>) {
    quantise::<Int4>(w, n, k, |part| {
        let extreme = part
            .iter()
            .fold(0f32, |m, v| if v.abs() > m.abs() { *v } else { m });
        extreme / -8.0
    })
}

fn quantise<F: Format>(
    w: &[f32],
    n: usize,
    k: usize,
    scale_of: impl Fn(&[f32]) -> f32 + Sync,
) -> (Vec<u8>, Vec<bf16>) {
    let groups = k.div_ceil(F::GROUP);
    let panel_bytes = LANES * groups * F::GROUP / F::PER_BYTE;
    // The zero point everywhere: columns past `n` and values past `k` are zero.
    let zero = (0..F::PER_BYTE).fold(0, |byte, i| byte | zero_point::<F>() << (4 * i));
    let mut values = vec![zero; padded(n) / LANES * panel_bytes];
    let mut scales = vec![bf16::ONE; padded(n) * groups];
    if k == 0 {
        return (values, scales);
    }
    values
        .par_chunks_mut(panel_bytes)
        .zip(scales.par_chunks_mut(LANES * groups))
        .enumerate()
        .for_each(|(panel, (values, scales))| {
            for lane in 0..LANES.min(n - panel * LANES) {
                let row = &w[(panel * LANES + lane) * k..][..k];
                for (g, part) in row.chunks(F::GROUP).enumerate() {
                    let scale = representable(scale_of(part));
                    scales[g * LANES + lane] = scale;
                    // Rounded apart from the scattered writes, so that it vectorises.
                    let (mut numbers, scale) = ([0u8; GROUP_MAX], scale.to_f32());
                    for (number, v) in numbers.iter_mut().zip(part) {
                        *number = stored::<F>(v / scale);
                    }
                    for (i, number) in numbers[..part.len()].iter().enumerate() {
                        let (byte, shift) = place::<F>(g * F::GROUP + i, lane);
                        values[byte] = values[byte] & !(mask::<F>() << shift) | number << shift;
                    }
                }
            }
        });
    (values, scales)
}

/// The scale as it is stored, away from zero, so that no value is cut off.
fn representable(scale: f32) -> bf16 {
    let near = bf16::from_f32(scale);
    let far = if near.to_f32().abs() < scale.abs() {
        bf16::from_bits(near.to_bits() + 1)
    } else {
        near
    };
    // A group of zeros, or of what f32 can hardly tell from them.
    if far.to_f32().abs() > f32::MIN_POSITIVE {
        far
    } else {
        bf16::ONE
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what a byte or a nibble holds"
)]
fn stored<F: Format>(value: f32) -> u8 {
    // 1.5 · 2²³: adding it rounds to an integer, ties to even, in one instruction where
    // `round_ties_even` is a call on a CPU that is not known to have SSE 4.1.
    const ROUND: f32 = 12_582_912.0;
    let zero = f32::from(zero_point::<F>());
    let least = if F::PER_BYTE == 1 { 1.0 } else { 0.0 };
    (value + ROUND - ROUND + zero).clamp(least, f32::from(mask::<F>())) as u8
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "128 or 8"
)]
fn zero_point<F: Format>() -> u8 {
    F::ZERO_POINT as u8
}

/// The bits of one value.
fn mask<F: Format>() -> u8 {
    u8::MAX >> (8 - 8 / F::PER_BYTE)
}

/// Byte and shift of value `i` of column `lane` in its panel.
fn place<F: Format>(i: usize, lane: usize) -> (usize, usize) {
    let step = QUAD * F::PER_BYTE;
    let (chunk, inside) = (i / step, i % step);
    (
        (chunk * LANES + lane) * QUAD + inside % QUAD,
        4 * (inside / QUAD),
    )
}

/// Row `row` of the unpacked weight into `out` (an embedding look-up in a tied table).
pub(crate) fn gather_row(w: Packed<'_>, k: usize, row: usize, out: &mut [f32]) {
    let (panel, lane) = (row / LANES, row % LANES);
    let at = |i: usize| (panel * k + i) * LANES + lane;
    match w {
        Packed::F32(w) => out.iter_mut().enumerate().for_each(|(i, o)| *o = w[at(i)]),
        Packed::Bf16(w) => out
            .iter_mut()
            .enumerate()
            .for_each(|(i, o)| *o = w[at(i)].to_f32()),
        Packed::Int8(w, scales) => gather_quantised::<Int8>(w, scales, k, row, out),
        Packed::Int4(w, scales) => gather_quantised::<Int4>(w, scales, k, row, out),
    }
}

fn gather_quantised<F: Format>(w: &[u8], scales: &[bf16], k: usize, row: usize, out: &mut [f32]) {
    let (panel, lane) = (row / LANES, row % LANES);
    let groups = k.div_ceil(F::GROUP);
    let first = panel * LANES * groups * F::GROUP / F::PER_BYTE;
    for (i, o) in out.iter_mut().enumerate() {
        let scale = scales[(panel * groups + i / F::GROUP) * LANES + lane];
        let (byte, shift) = place::<F>(i, lane);
        let value = w[first + byte] >> shift & mask::<F>();
        *o = (f32::from(value) - f32::from(zero_point::<F>())) * scale.to_f32();
    }
}

const _: () = assert!(
    INT8_GROUP.is_multiple_of(QUAD) && INT4_GROUP.is_multiple_of(2 * QUAD),
    "groups are whole steps"
);
