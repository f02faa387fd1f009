//! Kernels on weights of f32 and bfloat16: the product of a few rows, the table's rows,
//! and the layout that both read.
//!
//! A weight is `[columns, inner]`, its rows padded with zeros to whole vectors of sixteen
//! bytes, read as words: one value of f32, or two of bfloat16 with the first in the low
//! half.
//! Knows nothing of layers or requests.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the launchers that the macro writes"
)]

use cubecl::prelude::*;

use super::rows::{Fold, sum_over};

/// Units of a cube.
pub(super) const UNITS: usize = 128;
/// Units that share a dot product: a plane of CUDA's.
pub(super) const LANES: usize = 32;
/// Columns that such a group takes at a time, so that rows are read once for both.
pub(super) const COLUMNS: usize = 2;
/// Columns of a cube.
pub(super) const CUBE_COLUMNS: usize = UNITS / LANES * COLUMNS;

/// How a dense weight keeps its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kept {
    F32,
    Bf16,
}

impl Kept {
    /// Values in one vector of sixteen bytes.
    pub(super) const fn per_vector(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 8,
        }
    }
}

/// The two values of bfloat16 in a word: a bfloat16 is the upper half of an f32.
#[cube]
pub(super) fn low_half(word: u32) -> f32 {
    f32::reinterpret(word << 16u32)
}

#[cube]
pub(super) fn high_half(word: u32) -> f32 {
    f32::reinterpret(word & 0xffff_0000u32)
}

/// The dot product of one vector of the weight with the row's values from `at` on.
#[cube]
fn dot(
    words: Vector<u32, Const<4>>,
    x: &[Vector<f32, Const<4>>],
    at: usize,
    #[comptime] kept: Kept,
) -> f32 {
    match comptime!(kept) {
        Kept::F32 => {
            let x = x[at];
            let mut total = 0f32;
            #[unroll]
            for i in 0..4usize {
                total += f32::reinterpret(words.extract(i)) * x.extract(i);
            }
            total
        }
        Kept::Bf16 => {
            let (first, second) = (x[2 * at], x[2 * at + 1]);
            let mut total = 0f32;
            #[unroll]
            for i in 0..2usize {
                total += low_half(words.extract(i)) * first.extract(2 * i);
                total += high_half(words.extract(i)) * first.extract(2 * i + 1);
            }
            #[unroll]
            for i in 0..2usize {
                total += low_half(words.extract(2 + i)) * second.extract(2 * i);
                total += high_half(words.extract(2 + i)) * second.extract(2 * i + 1);
            }
            total
        }
    }
}

/// `y[row, column] = x[row] · w[column]` for `rows` rows (y of the grid takes so many
/// at a time). `inner` counts vectors of the weight.
#[cube(launch_unchecked)]
pub(super) fn product_kernel(
    x: &[Vector<f32, Const<4>>],
    w: &[Vector<u32, Const<4>>],
    y: &mut [f32],
    rows_all: u32,
    columns_all: u32,
    inner: u32,
    #[comptime] rows: usize,
    #[comptime] kept: Kept,
    #[comptime] fold: Fold,
) {
    let mut scratch = Shared::new_slice(UNITS);
    let (rows_all, columns_all, inner) = (rows_all as usize, columns_all as usize, inner as usize);
    let x_width = inner * comptime!(kept.per_vector() / 4);
    let lane = UNIT_POS as usize % LANES;
    let group = UNIT_POS as usize / LANES;
    let first_column = CUBE_POS_X as usize * CUBE_COLUMNS + group * COLUMNS;
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
            #[unroll]
            for r in 0..rows {
                let row = min(first_row + r, rows_all - 1);
                let x = &x[row * x_width..(row + 1) * x_width];
                sums[r * COLUMNS + c] += dot(words, x, at, kept);
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

/// Rows `ids` of a table, `width` values each, as f32.
#[cube(launch_unchecked)]
pub(super) fn embed_kernel(
    table: &[u32],
    ids: &[u32],
    out: &mut [f32],
    width: u32,
    row_words: u32,
    #[comptime] kept: Kept,
) {
    let width = width as usize;
    let table_row = ids[CUBE_POS_X as usize] as usize * row_words as usize;
    let row = CUBE_POS_X as usize * width;
    let mut i = UNIT_POS as usize;
    while i < width {
        out[row + i] = match comptime!(kept) {
            Kept::F32 => f32::reinterpret(table[table_row + i]),
            Kept::Bf16 => {
                let word = table[table_row + i / 2];
                if i % 2 == 1 {
                    high_half(word)
                } else {
                    low_half(word)
                }
            }
        };
        i += CUBE_DIM as usize;
    }
}

/// A weight of bfloat16 as f32, word by word: rows keep their padding.
#[cube(launch_unchecked)]
pub(super) fn widen_kernel(words: &[u32], out: &mut [f32], count: u32) {
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut i = ABSOLUTE_POS;
    while i < count as usize {
        out[2 * i] = low_half(words[i]);
        out[2 * i + 1] = high_half(words[i]);
        i += apart;
    }
}

/// Rows of `width` values of f32 as rows of `padded`, zeros past the end.
#[cube(launch_unchecked)]
pub(super) fn pad_kernel(x: &[f32], out: &mut [f32], width: u32, padded: u32, count: u32) {
    let (width, padded) = (width as usize, padded as usize);
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut i = ABSOLUTE_POS;
    while i < count as usize {
        let (row, column) = (i / padded, i % padded);
        let mut value = 0f32;
        if column < width {
            value = x[row * width + column];
        }
        out[i] = value;
        i += apart;
    }
}

/// As `pad_kernel`, of bfloat16: `padded` is even, `width` may be odd. A unit makes a
/// word.
#[cube(launch_unchecked)]
pub(super) fn pad_halves_kernel(
    x: &[u32],
    out: &mut [u32],
    width: u32,
    padded_words: u32,
    count: u32,
) {
    let (width, padded) = (width as usize, padded_words as usize);
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut i = ABSOLUTE_POS;
    while i < count as usize {
        let (row, word) = (i / padded, i % padded);
        let mut made = 0u32;
        #[unroll]
        for half in 0..2usize {
            let column = 2 * word + half;
            if column < width {
                let at = row * width + column;
                let bits = (x[at / 2] >> (16u32 * (at % 2) as u32)) & 0xffffu32;
                made |= bits << comptime!(16 * half as u32);
            }
        }
        out[i] = made;
        i += apart;
    }
}
