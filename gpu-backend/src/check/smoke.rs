//! The first comparisons on a device that is new: a launch, then a few cases of each kind. Of
//! odd widths CUDA pads the rows where a tensor is uploaded (to a power of two, of up to 512
//! bytes), which no other device does: norms, products and angles of such widths are among
//! them.
//! Knows nothing of models.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::attention::two_steps;
use super::steps::product;
use super::{CheckError, Pair, matrix, random, vector};
use crate::backend::{self, KvCacheDtype, Precision};
use crate::kernels::{Activation, AttentionShape};

/// Rows, columns and inner values, by the kernel that computes them: of one row, cubek's,
/// integer dot products, and cubek's beside a weight that is widened.
const PRODUCTS: [(Precision, usize, usize, usize); 6] = [
    (Precision::Bf16, 1, 200, 512),
    (Precision::Bf16, 9, 20, 40),
    (Precision::F32, 33, 70, 129),
    (Precision::Int8, 4, 130, 128),
    (Precision::Int4, 3, 48, 100),
    (Precision::Int8, 33, 70, 129),
];

/// A head's width and the cache: rows of angles of either width are padded.
const HEADS: [(usize, KvCacheDtype); 2] = [(80, KvCacheDtype::Auto), (96, KvCacheDtype::Int8)];

pub(super) fn smoke(pair: &mut Pair<'_>) -> Result<(), CheckError> {
    let rng = &mut ChaCha8Rng::seed_from_u64(6);
    rows(pair, rng)?;
    for (precision, rows, columns, inner) in PRODUCTS {
        product(pair, rng, precision, (rows, columns, inner))?;
    }
    for (head_dim, kept) in HEADS {
        let shape = AttentionShape {
            heads: 4,
            kv_heads: 2,
            head_dim,
            scale: 0.5,
            softcap: None,
            window: None,
        };
        // Keys of the second step are split, which is a kernel more.
        two_steps(pair, rng, &shape, &[(257, 1), (5, 1)], kept)?;
    }
    Ok(())
}

fn rows(pair: &mut Pair<'_>, rng: &mut ChaCha8Rng) -> Result<(), CheckError> {
    for (rows, width) in [(1, 1), (5, 257)] {
        let (x, y) = (random(rng, rows * width), random(rng, rows * width));
        pair.compare(format!("add of {rows} × {width}"), 0.0, |device| {
            backend::add(matrix(&x, rows, device), matrix(&y, rows, device))
        })?;
    }
    let (rows, width) = (3, 70);
    let (x, w) = (random(rng, rows * width), random(rng, width));
    let both = random(rng, rows * 2 * width);
    pair.compare(format!("rms_norm of {rows} × {width}"), 1e-5, |device| {
        backend::rms_norm(matrix(&x, rows, device), &vector(&w, device), 1e-5)
    })?;
    pair.compare(format!("gated of {rows} × {width}"), 1e-5, |device| {
        backend::gated(matrix(&both, rows, device), Activation::Silu)
    })
}
