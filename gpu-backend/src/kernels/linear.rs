//! The matrix products of a layer on the CPU: `y[T, N] = x[T, K] · W[N, K]ᵀ` with
//! weights packed in panels of sixteen columns, f32, bfloat16 or int8.
//!
//! Invariant: each output is one chain of fused multiply-adds over `k` in order
//! (int8: one chain per group of `k`), whatever else is in the batch; a token's
//! bits do not depend on its neighbours.
//! Knows nothing of tensors, layers or requests.

#![expect(
    unsafe_code,
    reason = "the inner loops work on raw panels; bounds are checked once outside"
)]

use half::bf16;
use rayon::prelude::*;

use super::lanes::{Kernel, LANES, Lanes, Level, launch};
use super::shared::SharedMut;

/// Values of `k` that share one scale in an int8 weight.
pub(crate) const INT8_GROUP: usize = 64;

/// Below this many multiply-adds a product runs on the calling thread: handing it
/// to the pool costs some 5 µs, as much as about 200,000 multiply-adds.
const PARALLEL_MIN_MACS: usize = 200_000;

/// A packed weight: panel `p` holds columns `16p..16p+16`, `k`-major: `[N/16][K][16]`.
#[derive(Clone, Copy)]
pub(crate) enum Packed<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    /// Values, and scales `[N/16][K/GROUP][16]`.
    Int8(&'a [i8], &'a [f32]),
}

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

/// Quantises `w[n, k]` to symmetric int8 with one scale per column and group.
/// Returns panels and scales as [`Packed::Int8`] takes them.
pub(crate) fn quantise(w: &[f32], n: usize, k: usize) -> (Vec<i8>, Vec<f32>) {
    let groups = k.div_ceil(INT8_GROUP);
    let mut values = vec![0i8; padded(n) * k];
    let mut scales = vec![0f32; padded(n) * groups];
    values
        .par_chunks_mut(LANES * k)
        .zip(scales.par_chunks_mut(LANES * groups))
        .enumerate()
        .for_each(|(panel, (values, scales))| {
            for lane in 0..LANES.min(n - panel * LANES) {
                let row = &w[(panel * LANES + lane) * k..][..k];
                for (g, part) in row.chunks(INT8_GROUP).enumerate() {
                    let max = part.iter().fold(0f32, |m, v| m.max(v.abs()));
                    let scale = if max > 0.0 { max / 127.0 } else { 1.0 };
                    scales[g * LANES + lane] = scale;
                    for (i, v) in part.iter().enumerate() {
                        let q = (v / scale).round().clamp(-127.0, 127.0);
                        #[expect(
                            clippy::cast_possible_truncation,
                            reason = "clamped to i8's range"
                        )]
                        {
                            values[(g * INT8_GROUP + i) * LANES + lane] = q as i8;
                        }
                    }
                }
            }
        });
    (values, scales)
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
        Packed::Int8(w, scales) => {
            let groups = k.div_ceil(INT8_GROUP);
            for (i, o) in out.iter_mut().enumerate() {
                let scale = scales[(panel * groups + i / INT8_GROUP) * LANES + lane];
                *o = f32::from(w[at(i)]) * scale;
            }
        }
    }
}

/// `y[t, n] = x[t, k] · w`; `y` is fully overwritten.
pub(crate) fn linear(level: Level, x: &[f32], w: Packed<'_>, y: &mut [f32], n: usize, k: usize) {
    if n == 0 || k == 0 {
        return y.fill(0.0);
    }
    let rows = x.len() / k;
    let panels = padded(n) / LANES;
    let len = match w {
        Packed::F32(w) => w.len(),
        Packed::Bf16(w) => w.len(),
        Packed::Int8(w, scales) => {
            assert_eq!(
                scales.len(),
                panels * LANES * k.div_ceil(INT8_GROUP),
                "int8 scales"
            );
            w.len()
        }
    };
    assert_eq!(len, panels * LANES * k, "packed weight");
    assert_eq!((x.len(), y.len()), (rows * k, rows * n), "linear operands");
    let job = Job {
        x,
        rows,
        k,
        n,
        y: SharedMut::new(y),
    };
    let macs = rows * n * k;
    let threads = rayon::current_num_threads();
    if macs < PARALLEL_MIN_MACS || threads == 1 {
        return launch(
            level,
            Columns {
                job: &job,
                w,
                first: 0,
                end: panels,
            },
        );
    }
    // Four tasks a thread even out a core that another process took away.
    let per_task = panels.div_ceil(threads * 4).next_multiple_of(4);
    (0..panels.div_ceil(per_task))
        .into_par_iter()
        .for_each(|task| {
            let first = task * per_task;
            launch(
                level,
                Columns {
                    job: &job,
                    w,
                    first,
                    end: panels.min(first + per_task),
                },
            );
        });
}

/// One product; tasks write disjoint columns of `y`.
struct Job<'a> {
    x: &'a [f32],
    rows: usize,
    k: usize,
    n: usize,
    y: SharedMut<'a, f32>,
}

/// One task: the panels `first..end` of a job, which no other task writes.
struct Columns<'a> {
    job: &'a Job<'a>,
    w: Packed<'a>,
    first: usize,
    end: usize,
}

impl Kernel for Columns<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self {
            job, first, end, ..
        } = self;
        // SAFETY: `linear` checked all lengths; the panels are this task's alone.
        unsafe {
            match self.w {
                Packed::F32(w) => job.panels::<L, _>(&Dense(w), first, end),
                Packed::Bf16(w) => job.panels::<L, _>(&Dense(w), first, end),
                Packed::Int8(w, scales) => {
                    let groups = job.k.div_ceil(INT8_GROUP);
                    job.panels::<L, _>(&Grouped { w, scales, groups }, first, end);
                }
            }
        }
    }
}

impl Job<'_> {
    /// Panel by panel: a panel stays in cache while all rows pass over it.
    #[inline(always)]
    unsafe fn panels<L: Lanes, W: Tile>(&self, w: &W, first: usize, end: usize) {
        let mut panel = first;
        // SAFETY: passed on from the caller; `panel + NP <= end` in each call.
        unsafe {
            while panel < end {
                let left = end - panel;
                // Few rows: several panels at a time keep enough chains in flight
                // to hide the latency of a multiply-add.
                panel += match self.rows {
                    1 if left >= 4 => self.rows_of::<L, W, 1, 4>(w, panel),
                    2 if left >= 2 => self.rows_of::<L, W, 2, 2>(w, panel),
                    3 if left >= 2 => self.rows_of::<L, W, 3, 2>(w, panel),
                    _ => self.rows_of::<L, W, 6, 1>(w, panel),
                };
            }
        }
    }

    /// All rows against `NP` panels, in tiles of `MR` rows. Returns `NP`.
    #[inline(always)]
    unsafe fn rows_of<L: Lanes, W: Tile, const MR: usize, const NP: usize>(
        &self,
        w: &W,
        panel: usize,
    ) -> usize {
        let mut row = 0;
        // SAFETY: passed on from the caller; `row + tile height <= rows` in each call.
        unsafe {
            while row + MR <= self.rows {
                w.tile::<L, MR, NP>(self, row, panel);
                row += MR;
            }
            match self.rows - row {
                0 => {}
                1 => w.tile::<L, 1, NP>(self, row, panel),
                2 => w.tile::<L, 2, NP>(self, row, panel),
                3 => w.tile::<L, 3, NP>(self, row, panel),
                4 => w.tile::<L, 4, NP>(self, row, panel),
                _ => w.tile::<L, 5, NP>(self, row, panel),
            }
        }
        NP
    }

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

/// A tile of `MR` rows by `NP` panels of one kind of weight.
trait Tile {
    unsafe fn tile<L: Lanes, const MR: usize, const NP: usize>(
        &self,
        job: &Job<'_>,
        row: usize,
        panel: usize,
    );
}

/// One stored weight value, widened to f32 lanes.
trait Value: Copy {
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L;
}

impl Value for f32 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L {
        // SAFETY: passed on from the caller.
        unsafe { L::load(p) }
    }
}

impl Value for bf16 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L {
        // SAFETY: passed on from the caller.
        unsafe { L::load_bf16(p) }
    }
}

impl Value for i8 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L {
        // SAFETY: passed on from the caller.
        unsafe { L::load_i8(p) }
    }
}

/// `acc += x[row.., from..to] · w[from..to]` for `MR` rows and `NP` panels.
#[inline(always)]
unsafe fn accumulate<L: Lanes, V: Value, const MR: usize, const NP: usize>(
    acc: &mut [[L; NP]; MR],
    x: *const f32,
    w: *const V,
    k: usize,
    from: usize,
    to: usize,
) {
    for i in from..to {
        // SAFETY: the caller's tile lies inside `x` and `w`.
        unsafe {
            let mut columns = [L::zero(); NP];
            for (p, column) in columns.iter_mut().enumerate() {
                *column = V::lanes(w.add((p * k + i) * LANES));
            }
            for (r, sums) in acc.iter_mut().enumerate() {
                let value = L::splat(*x.add(r * k + i));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = value.fma(column, *sum);
                }
            }
        }
    }
}

/// f32 or bfloat16 panels.
struct Dense<'a, V>(&'a [V]);

impl<V: Value> Tile for Dense<'_, V> {
    #[inline(always)]
    unsafe fn tile<L: Lanes, const MR: usize, const NP: usize>(
        &self,
        job: &Job<'_>,
        row: usize,
        panel: usize,
    ) {
        // SAFETY: the caller's tile lies inside the operands.
        unsafe {
            let mut acc = [[L::zero(); NP]; MR];
            let x = job.x.as_ptr().add(row * job.k);
            let w = self.0.as_ptr().add(panel * job.k * LANES);
            accumulate(&mut acc, x, w, job.k, 0, job.k);
            job.store(acc, row, panel);
        }
    }
}

/// Int8 panels with a scale per group.
struct Grouped<'a> {
    w: &'a [i8],
    scales: &'a [f32],
    groups: usize,
}

impl Tile for Grouped<'_> {
    #[inline(always)]
    unsafe fn tile<L: Lanes, const MR: usize, const NP: usize>(
        &self,
        job: &Job<'_>,
        row: usize,
        panel: usize,
    ) {
        // SAFETY: the caller's tile lies inside the operands.
        unsafe {
            let mut acc = [[L::zero(); NP]; MR];
            let x = job.x.as_ptr().add(row * job.k);
            let w = self.w.as_ptr().add(panel * job.k * LANES);
            for group in 0..self.groups {
                let mut part = [[L::zero(); NP]; MR];
                let from = group * INT8_GROUP;
                accumulate(&mut part, x, w, job.k, from, job.k.min(from + INT8_GROUP));
                for p in 0..NP {
                    let at = ((panel + p) * self.groups + group) * LANES;
                    let scale = L::load(self.scales.as_ptr().add(at));
                    for (sums, part) in acc.iter_mut().zip(&part) {
                        sums[p] = part[p].fma(scale, sums[p]);
                    }
                }
            }
            job.store(acc, row, panel);
        }
    }
}

#[cfg(test)]
mod tests;
