//! The operations on rows and the products with weights.
//! Knows nothing of models.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{CheckError, Pair, matrix, random, vector};
use crate::backend::{self, Matrix, Precision};
use crate::kernels::{Activation, AttentionShape};

/// Rows and their width.
const ROWS: [(usize, usize); 6] = [(1, 1), (3, 70), (2, 64), (5, 257), (1, 2048), (4, 300)];
/// Rows, columns and inner values of a product: below and above the numbers of rows at
/// which kernels change, widths that are no whole vectors or groups.
const PRODUCTS: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (1, 5, 7),
    (1, 200, 512),
    (2, 37, 64),
    (3, 48, 100),
    (4, 130, 128),
    (7, 33, 257),
    (8, 64, 96),
    (9, 20, 40),
    (32, 24, 320),
    (33, 70, 129),
    (65, 40, 64),
];
const ACTIVATIONS: [Activation; 3] = [Activation::Silu, Activation::GeluTanh, Activation::GeluErf];

pub(super) fn row_wise(pair: &mut Pair<'_>) -> Result<(), CheckError> {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    for (rows, width) in ROWS {
        let size = format!("of {rows} × {width}");
        let (x, y) = (random(rng, rows * width), random(rng, rows * width));
        let (w, b) = (random(rng, width), random(rng, width));
        let both = random(rng, rows * 2 * width);
        pair.compare(format!("rms_norm {size}"), 1e-5, |device| {
            backend::rms_norm(matrix(&x, rows, device), &vector(&w, device), 1e-5)
        })?;
        // Of one value, the distance from the mean is zero, and its norm is all rounding.
        pair.compare(format!("layer_norm {size}"), 1e-4, |device| {
            let (w, b) = (vector(&w, device), vector(&b, device));
            backend::layer_norm(matrix(&x, rows, device), &w, &b, 1e-5)
        })?;
        pair.compare(format!("add_bias {size}"), 0.0, |device| {
            backend::add_bias(matrix(&x, rows, device), &vector(&b, device))
        })?;
        pair.compare(format!("add {size}"), 0.0, |device| {
            backend::add(matrix(&x, rows, device), matrix(&y, rows, device))
        })?;
        pair.compare(format!("softcap {size}"), 1e-5, |device| {
            backend::softcap(matrix(&x, rows, device), 0.7)
        })?;
        for activation in ACTIVATIONS {
            pair.compare(format!("gated, {activation:?}, {size}"), 1e-5, |device| {
                backend::gated(matrix(&both, rows, device), activation)
            })?;
            pair.compare(
                format!("activate, {activation:?}, {size}"),
                1e-5,
                |device| backend::activate(matrix(&x, rows, device), activation),
            )?;
        }
    }
    norms_of_heads(pair)
}

fn norms_of_heads(pair: &mut Pair<'_>) -> Result<(), CheckError> {
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    for (rows, heads, kv_heads, head_dim) in [(1, 1, 1, 2), (3, 6, 2, 34), (2, 4, 1, 256)] {
        let shape = AttentionShape {
            heads,
            kv_heads,
            head_dim,
            scale: 1.0,
            softcap: None,
            window: None,
        };
        let qkv = random(rng, rows * shape.qkv_width());
        let (q, k) = (random(rng, head_dim), random(rng, head_dim));
        let name = format!("qk_norm of {rows} rows, {heads}/{kv_heads} heads of {head_dim}");
        pair.compare(name, 1e-5, |device| {
            let (q, k) = (vector(&q, device), vector(&k, device));
            backend::qk_norm(matrix(&qkv, rows, device), &q, &k, shape, 1e-5)
        })?;
    }
    Ok(())
}

/// What a product of so many rows may be off. Both round weights to the same integers.
/// Errors of single values add up as the root of their number, as the sums themselves
/// do, and the largest of some thousand sums is as far out as the largest error.
fn product_bound(precision: Precision, rows: usize) -> f32 {
    match precision {
        // Few rows: sums of f32 in another order.
        Precision::F32 | Precision::Bf16 if rows <= 8 => 1e-5,
        // A GPU's matrix product may round both sides to 10 bits (TF32): by up to 2⁻¹¹.
        Precision::F32 => 1e-3,
        // Activations are rounded to bfloat16: by up to 2⁻⁹.
        Precision::Bf16 => 4e-3,
        // Activations are rounded to int8, by up to 2⁻⁸ of the group's largest, on both
        // sides (a value half way between integers to either) or on the CPU alone; then
        // products of integers and scales are rounded to bfloat16 instead.
        Precision::Int8 | Precision::Int4 => 1e-2,
    }
}

/// What a row of a table may be off: a value half way between two integers may fall on
/// either side, one step of 127 or of 8 away, and half of that over one plus the largest.
fn row_bound(precision: Precision) -> f32 {
    match precision {
        Precision::F32 | Precision::Bf16 => 0.0,
        Precision::Int8 => 4e-3,
        Precision::Int4 => 6.4e-2,
    }
}

pub(super) fn products(pair: &mut Pair<'_>) -> Result<(), CheckError> {
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let precisions = [
        Precision::F32,
        Precision::Bf16,
        Precision::Int8,
        Precision::Int4,
    ];
    for size in PRODUCTS {
        for precision in precisions {
            product(pair, rng, precision, size)?;
        }
    }
    Ok(())
}

/// A product of `(rows, columns, inner values)`, and rows of its weight as of a table.
pub(super) fn product(
    pair: &mut Pair<'_>,
    rng: &mut ChaCha8Rng,
    precision: Precision,
    (rows, columns, inner): (usize, usize, usize),
) -> Result<(), CheckError> {
    let (x, w) = (random(rng, rows * inner), random(rng, columns * inner));
    let ids: Vec<u32> = (0..5).map(|i| (i * 7) % super::small(columns)).collect();
    let packed = |device: &_| Matrix::new(w.clone(), columns, inner, precision, device);
    let size = format!("{precision}, {rows} × {inner} × {columns}");
    pair.compare(
        format!("linear, {size}"),
        product_bound(precision, rows),
        |device| packed(device).apply(matrix(&x, rows, device)),
    )?;
    pair.compare(format!("embed, {size}"), row_bound(precision), |device| {
        packed(device).rows(&ids)
    })
}
