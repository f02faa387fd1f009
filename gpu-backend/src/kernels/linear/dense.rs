//! Products with f32 and bfloat16 weights: fused multiply-adds in f32, activations
//! unrounded.
//! Knows nothing of threads.

use super::{Output, Product};
use crate::kernels::lanes::{LANES, Lanes, Value};

/// `x[T, k]` against panels `w`.
pub(super) struct Dense<'a, V> {
    pub(super) x: &'a [f32],
    pub(super) w: &'a [V],
    pub(super) k: usize,
    pub(super) y: Output<'a>,
}

impl<V: Value> Product for Dense<'_, V> {
    #[inline(always)]
    unsafe fn panels<L: Lanes>(&self, rows: usize, first: usize, end: usize) {
        let mut panel = first;
        // SAFETY: passed on from the caller; `panel + NP <= end` in each call.
        unsafe {
            while panel < end {
                let left = end - panel;
                // Few rows: several panels at a time keep enough chains in flight
                // to hide the latency of a multiply-add.
                panel += match rows {
                    1 if left >= 4 => self.rows_of::<L, 4>(rows, panel),
                    _ if left >= 2 && (L::WIDE || rows < 4) => self.rows_of::<L, 2>(rows, panel),
                    _ => self.rows_of::<L, 1>(rows, panel),
                };
            }
        }
    }
}

impl<V: Value> Dense<'_, V> {
    /// All rows against `NP` panels, in the tallest tiles for which there are
    /// registers. Returns `NP`.
    #[inline(always)]
    unsafe fn rows_of<L: Lanes, const NP: usize>(&self, rows: usize, panel: usize) -> usize {
        let mut row = 0;
        // SAFETY: passed on from the caller; `row + tile height <= rows` in each call.
        unsafe {
            while row < rows {
                row += match rows - row {
                    12.. if L::WIDE && NP < 4 => self.tile::<L, 12, NP>(row, panel),
                    8.. if L::WIDE && NP < 4 => self.tile::<L, 8, NP>(row, panel),
                    6.. if NP < 4 => self.tile::<L, 6, NP>(row, panel),
                    4.. if NP < 4 => self.tile::<L, 4, NP>(row, panel),
                    3 if NP < 4 => self.tile::<L, 3, NP>(row, panel),
                    2 if NP < 4 => self.tile::<L, 2, NP>(row, panel),
                    _ => self.tile::<L, 1, NP>(row, panel),
                };
            }
        }
        NP
    }

    /// `MR` rows against `NP` panels. Returns `MR`.
    #[inline(always)]
    unsafe fn tile<L: Lanes, const MR: usize, const NP: usize>(
        &self,
        row: usize,
        panel: usize,
    ) -> usize {
        // SAFETY: the caller's tile lies inside the operands.
        unsafe {
            let mut acc = [[L::zero(); NP]; MR];
            let x = self.x.as_ptr().add(row * self.k);
            let w = self.w.as_ptr().add(panel * self.k * LANES);
            for i in 0..self.k {
                let mut columns = [L::zero(); NP];
                for (p, column) in columns.iter_mut().enumerate() {
                    *column = V::lanes(w.add((p * self.k + i) * LANES));
                }
                for (r, sums) in acc.iter_mut().enumerate() {
                    let value = L::splat(*x.add(r * self.k + i));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = value.fma(column, *sum);
                    }
                }
            }
            self.y.store(acc, row, panel);
        }
        MR
    }
}
