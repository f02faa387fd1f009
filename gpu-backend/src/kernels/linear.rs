//! The matrix products of a layer on the CPU: `y[T, N] = x[T, K] · W[N, K]ᵀ` with
//! weights packed in panels of sixteen columns, f32, bfloat16, int8 or int4.
//!
//! Invariant: each output is one chain of fused multiply-adds in order, over `k` for
//! f32 and bfloat16, over groups of `k` (exact integer sums) for int8 and int4,
//! whatever else is in the batch; a token's bits do not depend on its neighbours.
//! Knows nothing of tensors, layers or requests.

#![expect(
    unsafe_code,
    reason = "the inner loops work on raw panels; bounds are checked once outside"
)]

mod dense;
mod integer;
mod pack;

use half::bf16;

use super::lanes::{Kernel, LANES, Lanes, Level, launch};
use super::shared::SharedMut;
use super::workers;
use dense::Dense;
use integer::{Activations, Grouped, Int4, Int8};
pub(crate) use integer::{largest, round};
pub(crate) use pack::{gather_row, pack, padded, quantise_int4, quantise_int8};

/// Below this many multiply-adds a product runs on the calling thread: handing it over
/// costs as much as some 20,000 of the fastest kind.
const PARALLEL_MIN_MACS: usize = 20_000;

/// A packed weight: panel `p` holds columns `16p..16p+16`.
#[derive(Clone, Copy)]
pub(crate) enum Packed<'a> {
    /// `[N/16][K][16]`.
    F32(&'a [f32]),
    /// `[N/16][K][16]`.
    Bf16(&'a [bf16]),
    /// Values plus 128 `[N/16][K/4][16][4]`, scales `[N/16][K/64][16]`; `K` padded.
    Int8(&'a [u8], &'a [bf16]),
    /// Values plus 8, two a byte, `[N/16][K/8][16][4]`, scales `[N/16][K/32][16]`; `K` padded.
    Int4(&'a [u8], &'a [bf16]),
}

impl Packed<'_> {
    /// Whether the weight is one of `n` columns and `k` values.
    fn fits(&self, n: usize, k: usize) -> bool {
        let columns = padded(n);
        let grouped = |group: usize, per_byte: usize, values: &[u8], scales: &[bf16]| {
            let groups = k.div_ceil(group);
            values.len() == columns * groups * group / per_byte && scales.len() == columns * groups
        };
        match self {
            Packed::F32(w) => w.len() == columns * k,
            Packed::Bf16(w) => w.len() == columns * k,
            Packed::Int8(w, scales) => grouped(integer::INT8_GROUP, 1, w, scales),
            Packed::Int4(w, scales) => grouped(integer::INT4_GROUP, 2, w, scales),
        }
    }
}

/// `y[t, n] = x[t, k] · w`; `y` is fully overwritten.
pub(crate) fn linear(level: Level, x: &[f32], w: Packed<'_>, y: &mut [f32], n: usize, k: usize) {
    if n == 0 || k == 0 {
        y.fill(0.0);
        return;
    }
    let rows = x.len() / k;
    assert!(w.fits(n, k), "packed weight");
    assert_eq!((x.len(), y.len()), (rows * k, rows * n), "linear operands");
    let y = Output {
        y: SharedMut::new(y),
        n,
    };
    let job = Job {
        level,
        rows,
        n,
        macs: rows * n * k,
    };
    match w {
        Packed::F32(w) => job.run(&Dense { x, w, k, y }),
        Packed::Bf16(w) => job.run(&Dense { x, w, k, y }),
        Packed::Int8(w, scales) => {
            let x = Activations::quantise::<Int8>(level, x, k);
            job.run(&Grouped::<Int8>::new(&x, w, scales, y));
        }
        Packed::Int4(w, scales) => {
            let x = Activations::quantise::<Int4>(level, x, k);
            job.run(&Grouped::<Int4>::new(&x, w, scales, y));
        }
    }
}

/// One product.
struct Job {
    level: Level,
    rows: usize,
    n: usize,
    macs: usize,
}

impl Job {
    fn run<P: Product>(&self, product: &P) {
        let panels = self.n.div_ceil(LANES);
        let columns = |first: usize, end: usize| {
            let rows = self.rows;
            launch(
                self.level,
                Columns {
                    product,
                    rows,
                    first,
                    end,
                },
            );
        };
        let threads = workers::threads();
        if self.macs < PARALLEL_MIN_MACS || threads == 1 {
            return columns(0, panels);
        }
        // Eight tasks a thread even out a core that another process took away; whole
        // tiles of panels each.
        let per_task = panels.div_ceil(threads * 8).next_multiple_of(2);
        workers::for_each(panels.div_ceil(per_task), |task| {
            let first = task * per_task;
            columns(first, panels.min(first + per_task));
        });
    }
}

/// One kind of product, tile by tile.
trait Product: Sync {
    /// The panels `first..end` for all `rows`, which no other task writes: panel by
    /// panel, so that a panel stays in cache while all rows pass over it.
    unsafe fn panels<L: Lanes>(&self, rows: usize, first: usize, end: usize);
}

/// One task: some panels of a product.
struct Columns<'a, P> {
    product: &'a P,
    rows: usize,
    first: usize,
    end: usize,
}

impl<P: Product> Kernel for Columns<'_, P> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: `linear` checked all lengths; the panels are this task's alone.
        unsafe {
            self.product.panels::<L>(self.rows, self.first, self.end);
        }
    }
}

/// Where sums go: `y[T, n]`, whose columns the tasks share out.
struct Output<'a> {
    y: SharedMut<'a, f32>,
    n: usize,
}

impl Output<'_> {
    /// Writes one tile of sums; the last panel may be narrower than sixteen columns.
    #[inline(always)]
    unsafe fn store<L: Lanes, const MR: usize, const NP: usize>(
        &self,
        acc: [[L; NP]; MR],
        row: usize,
        panel: usize,
    ) {
        for (r, sums) in acc.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                let column = (panel + p) * LANES;
                // SAFETY: `row + r < rows`, `column < n`, and the columns are this task's.
                unsafe {
                    let out = self.y.at((row + r) * self.n + column);
                    if column + LANES <= self.n {
                        sum.store(out);
                    } else {
                        let mut wide = [0f32; LANES];
                        sum.store(wide.as_mut_ptr());
                        let tail = self.n - column;
                        std::ptr::copy_nonoverlapping(wide.as_ptr(), out, tail);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
