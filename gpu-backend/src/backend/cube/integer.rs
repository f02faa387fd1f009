//! Kernels on weights of int8 and int4: rounding, products of integers with activations
//! that are rounded too, and back to floats.
//!
//! Rows of `inner` values are padded to whole groups, each with a scale. A word has four
//! bytes of int8, the first lowest; or eight values of int4 plus eight, values 0 to 3 in
//! the low halves of its bytes and 4 to 7 in the high ones.
//! Knows nothing of layers or requests.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the launchers that the macro writes"
)]

use cubecl::prelude::*;

use super::dense::{COLUMNS, CUBE_COLUMNS, LANES, UNITS};
use super::rows::{Fold, sum_over};

/// Values that share a scale, as on the CPU.
pub(super) const INT8_GROUP: usize = 64;
pub(super) const INT4_GROUP: usize = 32;

/// How an integer weight keeps its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bits {
    Eight,
    Four,
}

impl Bits {
    pub(super) const fn group(self) -> usize {
        match self {
            Self::Eight => INT8_GROUP,
            Self::Four => INT4_GROUP,
        }
    }

    pub(super) const fn per_word(self) -> usize {
        match self {
            Self::Eight => 4,
            Self::Four => 8,
        }
    }
}

/// What is rounded, each as on the CPU: activations to int8, or a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rounding {
    Activations,
    Int8,
    Int4,
}

impl Rounding {
    pub(super) const fn bits(self) -> Bits {
        match self {
            Self::Activations | Self::Int8 => Bits::Eight,
            Self::Int4 => Bits::Four,
        }
    }
}

/// The scale of a group from its value of largest magnitude. A weight's scale is one of
/// bfloat16, away from zero, so that no value is cut off; that of int4 is negative where
/// the value is positive: -8 stands for it.
#[cube]
fn scale_of(extreme: f32, #[comptime] rounding: Rounding) -> f32 {
    match comptime!(rounding) {
        Rounding::Activations => extreme.abs() / 127f32,
        Rounding::Int8 => away_from_zero(extreme.abs() / 127f32),
        Rounding::Int4 => away_from_zero(extreme * -0.125f32),
    }
}

/// The nearest value of bfloat16 that is not nearer to zero.
#[cube]
fn away_from_zero(scale: f32) -> f32 {
    f32::reinterpret((u32::reinterpret(scale) + 0xffffu32) & 0xffff_0000u32)
}

/// Rounds rows of `width` values: a unit makes one group's words and scale. `groups` are
/// those of a row.
#[cube(launch_unchecked)]
pub(super) fn round_kernel(
    x: &[f32],
    values: &mut [u32],
    scales: &mut [f32],
    width: u32,
    groups: u32,
    count: u32,
    #[comptime] group: usize,
    #[comptime] rounding: Rounding,
) {
    let bits = comptime!(rounding.bits());
    let words = comptime!(group / bits.per_word());
    let (width, groups) = (width as usize, groups as usize);
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut at = ABSOLUTE_POS;
    while at < count as usize {
        let row = (at / groups) * width;
        let first = (at % groups) * group;
        let mut extreme = 0f32;
        for i in 0..group {
            if first + i < width {
                let value = x[row + first + i];
                if value.abs() > extreme.abs() {
                    extreme = value;
                }
            }
        }
        let scale = scale_of(extreme, rounding);
        let mut inverse = 0f32;
        if scale.abs() > 1e-37f32 {
            inverse = 1f32 / scale;
        }
        scales[at] = scale;
        for w in 0..words {
            let mut word = 0u32;
            #[unroll]
            for i in 0..comptime!(bits.per_word()) {
                let column = first + w * comptime!(bits.per_word()) + i;
                let mut value = 0f32;
                if column < width {
                    value = (x[row + column] * inverse).round();
                }
                let value = i32::cast_from(value);
                word |= match comptime!(bits) {
                    Bits::Eight => (u32::reinterpret(value) & 0xffu32) << comptime!(8 * i as u32),
                    Bits::Four => {
                        let shift = comptime!(8 * (i as u32 % 4) + 4 * (i as u32 / 4));
                        // What is near plus eight has no integer of its own.
                        let value = min(value, 7i32);
                        (u32::reinterpret(value + 8i32) & 0xfu32) << shift
                    }
                };
            }
            values[at * words + w] = word;
        }
        at += apart;
    }
}

/// The dot product of a vector of the weight (`at` in its row) with the row's integers.
#[cube]
fn dot(
    words: Vector<i32, Const<4>>,
    x: &[Vector<i32, Const<4>>],
    at: usize,
    #[comptime] bits: Bits,
) -> i32 {
    match comptime!(bits) {
        Bits::Eight => {
            let x = x[at];
            let mut total = 0i32;
            #[unroll]
            for i in 0..4usize {
                total = dp4a(words.extract(i), x.extract(i), total);
            }
            total
        }
        Bits::Four => {
            let mut total = 0i32;
            #[unroll]
            for half in 0..2usize {
                let x = x[2 * at + half];
                #[unroll]
                for i in 0..2usize {
                    let word = words.extract(2 * half + i);
                    let (first, second) = (x.extract(2 * i), x.extract(2 * i + 1));
                    total = dp4a(word & 0x0f0f_0f0fi32, first, total);
                    total = dp4a((word >> 4i32) & 0x0f0f_0f0fi32, second, total);
                    // The values were kept plus eight.
                    let sum = dp4a(first, 0x0101_0101i32, dp4a(second, 0x0101_0101i32, 0i32));
                    total -= 8i32 * sum;
                }
            }
            total
        }
    }
}

/// `y[row, column]` of rounded rows and a rounded weight. `inner` counts vectors of the
/// weight, `x_scales` are of groups of the weight's size.
#[cube(launch_unchecked)]
pub(super) fn product_kernel(
    x: &[Vector<i32, Const<4>>],
    x_scales: &[f32],
    w: &[Vector<i32, Const<4>>],
    w_scales: &[f32],
    y: &mut [f32],
    rows_all: u32,
    columns_all: u32,
    inner: u32,
    #[comptime] rows: usize,
    #[comptime] bits: Bits,
    #[comptime] fold: Fold,
) {
    let mut scratch = Shared::new_slice(UNITS);
    let (rows_all, columns_all, inner) = (rows_all as usize, columns_all as usize, inner as usize);
    // A vector of the weight is 16 values of int8 or 32 of int4, a whole group of it.
    let per_group = comptime!(bits.group() / bits.per_word() / 4);
    let x_width = inner * comptime!(bits.per_word() / 4);
    let groups = inner / per_group;
    let lane = UNIT_POS as usize % LANES;
    let first_column = CUBE_POS_X as usize * CUBE_COLUMNS + UNIT_POS as usize / LANES * COLUMNS;
    let first_row = CUBE_POS_Y as usize * rows;
    let mut sums = Array::<f32>::new(rows * COLUMNS);
    #[unroll]
    for i in 0..rows * COLUMNS {
        sums[i] = 0f32;
    }
    let mut at = lane;
    while at < inner {
        #[unroll]
        for c in 0..COLUMNS {
            // A column past the end is computed as the last one, and dropped.
            let column = min(first_column + c, columns_all - 1);
            let words = w[column * inner + at];
            let scale = w_scales[column * groups + at / per_group];
            #[unroll]
            for r in 0..rows {
                let row = min(first_row + r, rows_all - 1);
                let x_scale = x_scales[row * groups + at / per_group];
                let exact = dot(words, &x[row * x_width..(row + 1) * x_width], at, bits);
                sums[r * COLUMNS + c] += f32::cast_from(exact) * (scale * x_scale);
            }
        }
        at += LANES;
    }
    #[unroll]
    for r in 0..rows {
        #[unroll]
        for c in 0..COLUMNS {
            let total = sum_over(sums[r * COLUMNS + c], &mut scratch, LANES, fold);
            let (row, column) = (first_row + r, first_column + c);
            if lane == 0 && row < rows_all && column < columns_all {
                y[row * columns_all + column] = total;
            }
        }
    }
}

/// The value at `column` of a row that begins at word `row`, without its scale.
#[cube]
fn value(words: &[u32], row: usize, column: usize, #[comptime] bits: Bits) -> f32 {
    let word = words[row + column / comptime!(bits.per_word())];
    let i = (column % comptime!(bits.per_word())) as u32;
    match comptime!(bits) {
        Bits::Eight => f32::cast_from(i32::reinterpret(word << (24u32 - 8u32 * i)) >> 24i32),
        Bits::Four => {
            let shift = 8u32 * (i % 4u32) + 4u32 * (i / 4u32);
            f32::cast_from((word >> shift) & 0xfu32) - 8f32
        }
    }
}

/// A weight as f32 or as bfloat16, padded rows and all. A unit makes two values.
#[cube(launch_unchecked)]
pub(super) fn widen_kernel<E: Numeric>(
    words: &[u32],
    scales: &[f32],
    out: &mut [E],
    width: u32,
    pairs: u32,
    #[comptime] bits: Bits,
    #[define(E)] _made: ElemType,
) {
    let width = width as usize;
    let row_words = width / comptime!(bits.per_word());
    let groups = width / comptime!(bits.group());
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut i = ABSOLUTE_POS;
    while i < pairs as usize {
        let (row, column) = (2 * i / width, 2 * i % width);
        let scale = scales[row * groups + column / comptime!(bits.group())];
        out[2 * i] = E::cast_from(value(words, row * row_words, column, bits) * scale);
        out[2 * i + 1] = E::cast_from(value(words, row * row_words, column + 1, bits) * scale);
        i += apart;
    }
}

/// Rows `ids` of a table, `width` values each.
#[cube(launch_unchecked)]
pub(super) fn embed_kernel(
    table: &[u32],
    scales: &[f32],
    ids: &[u32],
    out: &mut [f32],
    width: u32,
    #[comptime] bits: Bits,
) {
    let width = width as usize;
    let id = ids[CUBE_POS_X as usize] as usize;
    let words = id * (width / comptime!(bits.per_word()));
    let groups = id * (width / comptime!(bits.group()));
    let row = CUBE_POS_X as usize * width;
    let mut i = UNIT_POS as usize;
    while i < width {
        let scale = scales[groups + i / comptime!(bits.group())];
        out[row + i] = value(table, words, i, bits) * scale;
        i += CUBE_DIM as usize;
    }
}
