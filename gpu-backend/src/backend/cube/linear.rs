//! Products with weights: few rows by kernels that read each weight once, many by
//! cubek's matrix product, on weights that are widened first where they are rounded.
//! Knows nothing of layers or requests.

use burn::backend::Backend;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::cast;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

use super::dense::{self, Kept};
use super::integer::{self, Bits, Rounding};
use super::{argument, dims, empty, fold, pointwise, small, upload, whole};
use crate::backend::reference;

/// Rows that one pass over a dense weight serves; more go through a matrix product.
const ROWS_MAX: usize = 8;
/// Rows up to which integers are multiplied. Widening a weight of a byte to two costs
/// as much traffic as four more passes over it.
const INTEGER_ROWS_MAX: usize = 4 * ROWS_MAX;

fn kept(weight: &CubeTensor) -> Kept {
    match weight.dtype {
        DType::BF16 => Kept::Bf16,
        _ => Kept::F32,
    }
}

/// Rows padded to whole vectors.
pub(super) fn pack(weight: CubeTensor) -> CubeTensor {
    let weight = whole(weight);
    let kept = kept(&weight);
    pad(weight, kept.per_vector(), kept)
}

/// `x` with rows padded by zeros to a multiple of `to`.
fn pad(x: CubeTensor, to: usize, kept: Kept) -> CubeTensor {
    let [count, width] = dims(&x);
    let padded = width.next_multiple_of(to);
    if padded == width {
        return x;
    }
    let out = empty(&x, [count, padded], x.dtype);
    // SAFETY: a unit per value, or per two, of `out`; reads end where rows do.
    unsafe {
        match kept {
            Kept::F32 => {
                let values = count * padded;
                let (cubes, units) = pointwise(values);
                dense::pad_kernel::launch_unchecked(
                    &x.client,
                    cubes,
                    units,
                    argument(&x),
                    argument(&out),
                    small(width),
                    small(padded),
                    small(values),
                );
            }
            Kept::Bf16 => {
                let words = count * padded / 2;
                let (cubes, units) = pointwise(words);
                dense::pad_halves_kernel::launch_unchecked(
                    &x.client,
                    cubes,
                    units,
                    argument(&x),
                    argument(&out),
                    small(width),
                    small(padded / 2),
                    small(words),
                );
            }
        }
    }
    out
}

/// Rounds rows, with a scale per `group` values: words and scales.
pub(super) fn round(x: CubeTensor, group: usize, rounding: Rounding) -> (CubeTensor, CubeTensor) {
    let x = whole(x);
    let bits = rounding.bits();
    let [count, width] = dims(&x);
    let groups = width.div_ceil(group);
    let values = empty(&x, [count, groups * group / bits.per_word()], DType::U32);
    let scales = empty(&x, [count, groups], DType::F32);
    let (cubes, units) = pointwise(count * groups);
    // SAFETY: a unit per group; reads end where rows do.
    unsafe {
        integer::round_kernel::launch_unchecked(
            &x.client,
            cubes,
            units,
            argument(&x),
            argument(&values),
            argument(&scales),
            small(width),
            small(groups),
            small(count * groups),
            group,
            rounding,
        );
    }
    (values, scales)
}

/// `x[T, K] · weight`, of f32 or bfloat16.
pub(super) fn dense(x: CubeTensor, weight: CubeTensor, columns: usize) -> CubeTensor {
    let kept = kept(&weight);
    let x = pad(whole(x), kept.per_vector(), Kept::F32);
    let [count, _] = dims(&x);
    if count > ROWS_MAX {
        return many(x, weight);
    }
    let [_, inner] = dims(&weight);
    let y = empty(&x, [count, columns], DType::F32);
    let rows = count.next_power_of_two();
    // SAFETY: rows and columns past the end are read as the last ones and not written.
    unsafe {
        dense::product_kernel::launch_unchecked(
            &x.client,
            cubes(columns, count, rows),
            CubeDim::new_1d(small(dense::UNITS)),
            argument(&x),
            argument(&weight),
            argument(&y),
            small(count),
            small(columns),
            small(inner / kept.per_vector()),
            rows,
            kept,
            fold(&x),
        );
    }
    y
}

/// A cube per so many columns (x) and rows (y).
fn cubes(columns: usize, count: usize, rows: usize) -> CubeCount {
    let (x, y) = (columns.div_ceil(dense::CUBE_COLUMNS), count.div_ceil(rows));
    CubeCount::Static(small(x), small(y), 1)
}

/// `x[T, K] · weight[N, K]ᵀ` by cubek: in bfloat16 with sums of f32, where the device
/// has it and the weight is of it, or else in f32.
fn many(x: CubeTensor, weight: CubeTensor) -> CubeTensor {
    if weight.dtype == DType::BF16 && !has_bf16(&x) {
        return many(x, widened(&weight));
    }
    if weight.dtype == DType::F32 {
        return reference::linear::<CubeBackend>(x, weight);
    }
    let ([count, _], [columns, _]) = (dims(&x), dims(&weight));
    let x = cast(x, DType::BF16);
    let y = empty(&x, [count, columns], DType::F32);
    let weight = permute(weight, &[1, 0]);
    // Float products have a strategy for every shape.
    #[expect(clippy::expect_used, reason = "as burn's own product does")]
    matmul(x, weight, Some(y), MatmulStrategy::default(), DType::F32).expect("a strategy")
}

fn has_bf16(t: &CubeTensor) -> bool {
    CubeBackend::supports_dtype(&t.device, DType::BF16)
}

/// A weight of bfloat16 as f32.
fn widened(weight: &CubeTensor) -> CubeTensor {
    let [columns, inner] = dims(weight);
    let out = empty(weight, [columns, inner], DType::F32);
    let words = columns * inner / 2;
    let (cubes, units) = pointwise(words);
    // SAFETY: two values a word, and rows of whole words.
    unsafe {
        dense::widen_kernel::launch_unchecked(
            &out.client,
            cubes,
            units,
            argument(weight),
            argument(&out),
            small(words),
        );
    }
    out
}

/// `x[T, K]` times a rounded weight: few rows are rounded too (to int8, with a scale per
/// group of the weight's size); for many, the weight is widened.
pub(super) fn integer(
    x: CubeTensor,
    weight: CubeTensor,
    scales: CubeTensor,
    columns: usize,
    bits: Bits,
) -> CubeTensor {
    let [count, _] = dims(&x);
    let [_, words] = dims(&weight);
    if count > INTEGER_ROWS_MAX {
        let x = pad(whole(x), bits.group(), Kept::F32);
        let weight = dequantised(&weight, &scales, bits);
        return many(x, weight);
    }
    let (x, x_scales) = round(x, bits.group(), Rounding::Activations);
    let y = empty(&x, [count, columns], DType::F32);
    let rows = count.next_power_of_two().min(ROWS_MAX);
    // SAFETY: rows and columns past the end are read as the last ones and not written.
    unsafe {
        integer::product_kernel::launch_unchecked(
            &x.client,
            cubes(columns, count, rows),
            CubeDim::new_1d(small(dense::UNITS)),
            argument(&x),
            argument(&x_scales),
            argument(&weight),
            argument(&scales),
            argument(&y),
            small(count),
            small(columns),
            small(words / 4),
            rows,
            bits,
            fold(&x),
        );
    }
    y
}

/// A rounded weight in the type that products of many rows take.
fn dequantised(weight: &CubeTensor, scales: &CubeTensor, bits: Bits) -> CubeTensor {
    let [columns, words] = dims(weight);
    let inner = words * bits.per_word();
    let (dtype, kind) = if has_bf16(weight) {
        (DType::BF16, FloatKind::BF16)
    } else {
        (DType::F32, FloatKind::F32)
    };
    let out = empty(weight, [columns, inner], dtype);
    let pairs = columns * inner / 2;
    let (cubes, units) = pointwise(pairs);
    // SAFETY: groups, and so rows, are of whole pairs.
    unsafe {
        integer::widen_kernel::launch_unchecked(
            &out.client,
            cubes,
            units,
            argument(weight),
            argument(scales),
            argument(&out),
            small(inner),
            small(pairs),
            bits,
            ElemType::Float(kind),
        );
    }
    out
}

/// Rows `ids` of a table of f32 or bfloat16, padding and all.
pub(super) fn embed_dense(table: CubeTensor, ids: &[u32]) -> CubeTensor {
    let [_, width] = dims(&table);
    let kept = kept(&table);
    let row_words = match kept {
        Kept::F32 => width,
        Kept::Bf16 => width / 2,
    };
    let out = empty(&table, [ids.len(), width], DType::F32);
    // SAFETY: a cube per id, which the caller takes from the vocabulary.
    unsafe {
        dense::embed_kernel::launch_unchecked(
            &table.client,
            CubeCount::Static(small(ids.len()), 1, 1),
            CubeDim::new_1d(small(dense::UNITS)),
            argument(&table),
            argument(&upload(&table, ids)),
            argument(&out),
            small(width),
            small(row_words),
            kept,
        );
    }
    out
}

/// As `embed_dense`, of a rounded table.
pub(super) fn embed_integer(
    table: CubeTensor,
    scales: CubeTensor,
    ids: &[u32],
    bits: Bits,
) -> CubeTensor {
    let [_, words] = dims(&table);
    let width = words * bits.per_word();
    let out = empty(&table, [ids.len(), width], DType::F32);
    // SAFETY: as above.
    unsafe {
        integer::embed_kernel::launch_unchecked(
            &table.client,
            CubeCount::Static(small(ids.len()), 1, 1),
            CubeDim::new_1d(small(dense::UNITS)),
            argument(&table),
            argument(&scales),
            argument(&upload(&table, ids)),
            argument(&out),
            small(width),
            bits,
        );
    }
    out
}
