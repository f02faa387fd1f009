//! Products with int8 and int4 weights: activations are rounded to int8 as they come,
//! with one scale per row and group of `k`; a group's sum is an exact integer.
//!
//! Weights are stored with a zero point added, so that they are unsigned bytes, as the
//! CPU's dot product wants them; what that adds to a sum, the zero point times the
//! sum of the activations, is where the sum starts.
//!
//! Invariant: a row's rounding depends on that row alone.
//! Knows nothing of threads.

use std::marker::PhantomData;

use half::bf16;

use super::{Output, Product};
use crate::kernels::lanes::{Kernel, LANES, Lanes, Level, QUAD, launch, quad_bytes};
use crate::kernels::shared::SharedMut;
use crate::kernels::workers;

/// Values of `k` that share one scale in an int8 weight.
pub(super) const INT8_GROUP: usize = 64;
/// Values of `k` that share one scale in an int4 weight.
pub(super) const INT4_GROUP: usize = 32;

/// The larger of both.
const GROUP_MAX: usize = 64;

/// A kind of integer weight.
pub(super) trait Format: Sync {
    /// Values of `k` that share one scale.
    const GROUP: usize;
    /// Added to a stored weight.
    const ZERO_POINT: i32;
    /// Weights in one stored byte.
    const PER_BYTE: usize;

    /// Adds the products of the 64 bytes at `w` of each panel (`stride` apart) with the
    /// activations at `x` of each row (`row` bytes apart).
    unsafe fn dot<L: Lanes, const MR: usize, const NP: usize>(
        sums: &mut [[L::Ints; NP]; MR],
        w: *const u8,
        stride: usize,
        x: *const u8,
        row: usize,
    );
}

pub(super) struct Int8;

impl Format for Int8 {
    const GROUP: usize = INT8_GROUP;
    const ZERO_POINT: i32 = 128;
    const PER_BYTE: usize = 1;

    #[inline(always)]
    unsafe fn dot<L: Lanes, const MR: usize, const NP: usize>(
        sums: &mut [[L::Ints; NP]; MR],
        w: *const u8,
        stride: usize,
        x: *const u8,
        row: usize,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let mut columns = [L::load_bytes(w); NP];
            for (p, column) in columns.iter_mut().enumerate().skip(1) {
                *column = L::load_bytes(w.add(p * stride));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = L::dot(*sum, column, x.add(r * row));
                }
            }
        }
    }
}

pub(super) struct Int4;

impl Format for Int4 {
    const GROUP: usize = INT4_GROUP;
    const ZERO_POINT: i32 = 8;
    const PER_BYTE: usize = 2;

    #[inline(always)]
    unsafe fn dot<L: Lanes, const MR: usize, const NP: usize>(
        sums: &mut [[L::Ints; NP]; MR],
        w: *const u8,
        stride: usize,
        x: *const u8,
        row: usize,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let mut columns = [L::load_nibbles(w); NP];
            for (p, column) in columns.iter_mut().enumerate().skip(1) {
                *column = L::load_nibbles(w.add(p * stride));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                for (sum, [low, high]) in sums.iter_mut().zip(columns) {
                    *sum = L::dot(*sum, low, x.add(r * row));
                    *sum = L::dot(*sum, high, x.add(r * row + L::QUAD_BYTES));
                }
            }
        }
    }
}

/// Rows rounded to int8.
pub(super) struct Activations {
    /// `[T, k]`, `k` padded with zeros to whole groups, in quads as the level's lanes want
    /// them.
    values: Vec<u8>,
    /// `[T, k / group]`.
    scales: Vec<f32>,
    /// Where each group's sum starts, `[T, k / group]`.
    starts: Vec<i32>,
    k: usize,
}

/// Rows of one task of the rounding.
const ROUND_ROWS: usize = 16;

impl Activations {
    /// Rounds `x[T, k]` for weights of the format `F`.
    pub(super) fn quantise<F: Format>(level: Level, x: &[f32], k: usize) -> Self {
        let (rows, groups) = (x.len() / k, k.div_ceil(F::GROUP));
        let padded = groups * F::GROUP;
        let row_bytes = padded / QUAD * quad_bytes(level);
        let mut values = vec![0u8; rows * row_bytes];
        let mut scales = vec![0f32; rows * groups];
        let mut starts = vec![0i32; rows * groups];
        let (v, s, o) = (
            SharedMut::new(&mut values),
            SharedMut::new(&mut scales),
            SharedMut::new(&mut starts),
        );
        workers::for_each(rows.div_ceil(ROUND_ROWS), |task| {
            for row in task * ROUND_ROWS..rows.min((task + 1) * ROUND_ROWS) {
                // SAFETY: each row belongs to one task.
                let (values, scales, starts) = unsafe {
                    (
                        v.slice(row * row_bytes, row_bytes),
                        s.slice(row * groups, groups),
                        o.slice(row * groups, groups),
                    )
                };
                launch(
                    level,
                    Round::<F> {
                        x: &x[row * k..][..k],
                        values,
                        scales,
                        starts,
                        format: PhantomData,
                    },
                );
            }
        });
        Self {
            values,
            scales,
            starts,
            k: padded,
        }
    }
}

/// One row to round.
struct Round<'a, F> {
    x: &'a [f32],
    values: &'a mut [u8],
    scales: &'a mut [f32],
    starts: &'a mut [i32],
    format: PhantomData<F>,
}

impl<F: Format> Kernel for Round<'_, F> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let groups = self
            .x
            .chunks(F::GROUP)
            .zip(
                self.values
                    .chunks_exact_mut(F::GROUP / QUAD * L::QUAD_BYTES),
            )
            .zip(self.scales.iter_mut().zip(self.starts));
        for ((x, values), (scale, start)) in groups {
            *scale = largest(x) / 127.0;
            // A group of zeros, or of what f32 can hardly tell from them, is zero.
            let inverse = if *scale > f32::MIN_POSITIVE {
                1.0 / *scale
            } else {
                0.0
            };
            let mut rounded = [0i8; GROUP_MAX];
            *start = -F::ZERO_POINT * round(x, inverse, &mut rounded);
            let quads = values.chunks_exact_mut(LANES / QUAD * L::QUAD_BYTES);
            for (rounded, quads) in rounded.chunks_exact(LANES).zip(quads) {
                // SAFETY: both have room for sixteen.
                unsafe { L::store_quads(rounded.as_ptr(), quads.as_mut_ptr()) };
            }
        }
    }
}

/// The largest magnitude; as integers, because those have no NaN to be careful with.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    const MAGNITUDE: u32 = 0x7fff_ffff;
    let most = x.iter().fold(0u32, |m, v| m.max(v.to_bits() & MAGNITUDE));
    f32::from_bits(most)
}

/// Rounds `x · inverse` to the nearest integers, halves to even. Returns their sum.
#[inline(always)]
pub(crate) fn round(x: &[f32], inverse: f32, out: &mut [i8]) -> i32 {
    // 1.5 · 2²³: adding it leaves the integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let mut sum = 0;
    for (o, v) in out.iter_mut().zip(x) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low byte is the integer: it is between -127 and 127"
        )]
        {
            *o = (v * inverse + ROUND).to_bits() as i8;
        }
        sum += i32::from(*o);
    }
    sum
}

/// Rounded activations against integer panels with a scale per column and group.
pub(super) struct Grouped<'a, F> {
    x: &'a Activations,
    w: &'a [u8],
    scales: &'a [bf16],
    y: Output<'a>,
    format: PhantomData<F>,
}

impl<'a, F: Format> Grouped<'a, F> {
    pub(super) fn new(x: &'a Activations, w: &'a [u8], scales: &'a [bf16], y: Output<'a>) -> Self {
        Self {
            x,
            w,
            scales,
            y,
            format: PhantomData,
        }
    }
}

impl<F: Format> Product for Grouped<'_, F> {
    #[inline(always)]
    unsafe fn panels<L: Lanes>(&self, rows: usize, first: usize, end: usize) {
        let mut panel = first;
        // SAFETY: passed on from the caller; `panel + NP <= end` in each call.
        unsafe {
            while panel < end {
                panel += if L::WIDE && end - panel >= 2 {
                    self.rows_of::<L, 2>(rows, panel)
                } else {
                    self.rows_of::<L, 1>(rows, panel)
                };
            }
        }
    }
}

impl<F: Format> Grouped<'_, F> {
    /// All rows against `NP` panels, in tiles of equal height as far as that goes:
    /// a low tile has too few chains to hide the latency of a dot product. Returns `NP`.
    #[inline(always)]
    unsafe fn rows_of<L: Lanes, const NP: usize>(&self, rows: usize, panel: usize) -> usize {
        let tallest = if L::WIDE { 6 } else { 4 };
        let mut row = 0;
        // SAFETY: passed on from the caller; `row + tile height <= rows` in each call.
        unsafe {
            while row < rows {
                let left = rows - row;
                row += match left.div_ceil(left.div_ceil(tallest)) {
                    1 => self.tile::<L, 1, NP, 4>(row, panel),
                    2 => self.tile::<L, 2, NP, 2>(row, panel),
                    3 => self.tile::<L, 3, NP, 1>(row, panel),
                    4 => self.tile::<L, 4, NP, 1>(row, panel),
                    5 => self.tile::<L, 5, NP, 1>(row, panel),
                    _ => self.tile::<L, 6, NP, 1>(row, panel),
                };
            }
        }
        NP
    }

    /// `MR` rows against `NP` panels, each group's sum in `C` parts. Returns `MR`.
    #[inline(always)]
    unsafe fn tile<L: Lanes, const MR: usize, const NP: usize, const C: usize>(
        &self,
        row: usize,
        panel: usize,
    ) -> usize {
        let (k, groups) = (self.x.k, self.x.k / F::GROUP);
        // One step takes 64 bytes of each panel.
        let (step, steps) = (L::QUAD_BYTES * F::PER_BYTE, F::GROUP / (QUAD * F::PER_BYTE));
        let row_bytes = k / QUAD * L::QUAD_BYTES;
        let stride = k / F::PER_BYTE * LANES;
        // SAFETY: the caller's tile lies inside the operands.
        unsafe {
            let mut acc = [[L::zero(); NP]; MR];
            let mut w = self.w.as_ptr().add(panel * stride);
            let mut x = self.x.values.as_ptr().add(row * row_bytes);
            for group in 0..groups {
                let mut parts = [[[L::splat_int(0); NP]; MR]; C];
                for (r, sums) in parts[0].iter_mut().enumerate() {
                    *sums =
                        [L::splat_int(*self.x.starts.as_ptr().add((row + r) * groups + group)); NP];
                }
                for _ in 0..steps / C {
                    for sums in &mut parts {
                        F::dot::<L, MR, NP>(sums, w, stride, x, row_bytes);
                        w = w.add(QUAD * LANES);
                        x = x.add(step);
                    }
                }
                for p in 0..NP {
                    let at = ((panel + p) * groups + group) * LANES;
                    let scale = L::load_bf16(self.scales.as_ptr().add(at));
                    for (r, sums) in acc.iter_mut().enumerate() {
                        let mut sum = parts[0][r][p];
                        for part in &parts[1..] {
                            sum = L::add_ints(sum, part[r][p]);
                        }
                        let of_row = *self.x.scales.as_ptr().add((row + r) * groups + group);
                        sums[p] = L::from_ints(sum).fma(scale.mul(L::splat(of_row)), sums[p]);
                    }
                }
            }
            self.y.store(acc, row, panel);
        }
        MR
    }
}
