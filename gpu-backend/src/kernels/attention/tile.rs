//! The inner loops of attention: some query rows of one key-value head against all keys
//! they see, group by group of blocks. The softmax is computed on line over the groups
//! (Milakov and Gimelshein, 2018).
//! Knows nothing of threads, nor of how the cache was written.

use std::ops::Range;

use super::Task;
use crate::kernels::lanes::{Kernel, LANES, Lanes, Value};
use crate::kernels::linear::padded;
use crate::kernels::pointwise::{exp, softcap};
use crate::kernels::shared::SharedMut;
use crate::kernels::{AttentionShape, BLOCK_TOKENS, StepLayout};

/// Blocks that are scored together.
const GROUP_BLOCKS: usize = 4;
/// Keys of one group.
const GROUP_KEYS: usize = GROUP_BLOCKS * BLOCK_TOKENS;
/// Query rows (heads of tokens) that share the loads of one group.
const ROWS: usize = 4;

/// One layer's cache; the scales are empty where it holds f32.
pub(super) struct Read<'a, C> {
    keys: &'a [C],
    values: &'a [C],
    scales: &'a [f32],
}

impl<'a, C> Read<'a, C> {
    pub(super) fn new(keys: &'a [C], values: &'a [C], scales: &'a [f32]) -> Self {
        Self {
            keys,
            values,
            scales,
        }
    }
}

/// One task's operands.
pub(super) struct Tile<'a, C> {
    pub(super) shape: &'a AttentionShape,
    pub(super) step: &'a StepLayout,
    pub(super) task: &'a Task,
    pub(super) qkv: &'a [f32],
    pub(super) cache: &'a Read<'a, C>,
    pub(super) out: &'a SharedMut<'a, f32>,
}

/// The running softmax of one query row.
#[derive(Clone, Copy)]
struct Running {
    max: f32,
    sum: f32,
}

impl<C: Value> Kernel for Tile<'_, C> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let dp = padded(self.shape.head_dim);
        let rows = self.task.tokens * self.group();
        let first = self.position(0);
        let last = self.position(rows - 1);
        let start = Running {
            max: f32::NEG_INFINITY,
            sum: 0.0,
        };
        let mut running = vec![start; rows];
        let mut sums = vec![0f32; rows * dp];
        let groups = self.shape.first_visible(first) / GROUP_KEYS..last / GROUP_KEYS + 1;
        for group in groups {
            for row in (0..rows).step_by(ROWS) {
                let end = rows.min(row + ROWS);
                let part = Part {
                    tile: &self,
                    group,
                    row,
                    running: &mut running[row..end],
                    sums: &mut sums[row * dp..end * dp],
                };
                // SAFETY: passed on from the caller.
                unsafe {
                    match end - row {
                        1 => part.add::<L, 1>(),
                        2 => part.add::<L, 2>(),
                        3 => part.add::<L, 3>(),
                        _ => part.add::<L, ROWS>(),
                    }
                }
            }
        }
        self.write(&running, &sums);
    }
}

impl<C: Value> Tile<'_, C> {
    /// Query heads of the task's key-value head; rows are `[token][head]`.
    #[inline(always)]
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// A row's position in its sequence.
    #[inline(always)]
    fn position(&self, row: usize) -> usize {
        let span = &self.step.spans[self.task.span];
        span.context + self.task.first + row / self.group()
    }

    /// Where a row's query lies in `qkv`.
    #[inline(always)]
    fn query(&self, row: usize) -> *const f32 {
        let (d, group) = (self.shape.head_dim, self.group());
        let span = &self.step.spans[self.task.span];
        let token = span.rows.start + self.task.first + row / group;
        let head = self.task.kv_head * group + row % group;
        self.qkv[token * self.shape.qkv_width() + head * d..][..d].as_ptr()
    }

    /// Which keys of a group a row sees.
    #[inline(always)]
    fn visible(&self, row: usize, group: usize) -> Range<usize> {
        let (position, start) = (self.position(row), group * GROUP_KEYS);
        let from = self
            .shape
            .first_visible(position)
            .saturating_sub(start)
            .min(GROUP_KEYS);
        let to = GROUP_KEYS.min((position + 1).saturating_sub(start));
        from..to.max(from)
    }

    /// Divides by the softmax's sum and writes this task's heads of its rows.
    fn write(&self, running: &[Running], sums: &[f32]) {
        let (shape, task) = (self.shape, self.task);
        let (d, group) = (shape.head_dim, self.group());
        let first = self.step.spans[task.span].rows.start + task.first;
        let rows = running.iter().zip(sums.chunks_exact(padded(d)));
        for (i, (state, sums)) in rows.enumerate() {
            let (token, head) = (first + i / group, task.kv_head * group + i % group);
            // SAFETY: rows and heads belong to exactly one task.
            let out = unsafe { self.out.slice((token * shape.heads + head) * d, d) };
            for (o, s) in out.iter_mut().zip(sums) {
                *o = s / state.sum;
            }
        }
    }
}

/// Up to [`ROWS`] query rows against one group of blocks.
struct Part<'a, C> {
    tile: &'a Tile<'a, C>,
    group: usize,
    row: usize,
    running: &'a mut [Running],
    sums: &'a mut [f32],
}

impl<C: Value> Part<'_, C> {
    #[inline(always)]
    unsafe fn add<L: Lanes, const R: usize>(mut self) {
        let visible: [_; R] = std::array::from_fn(|r| self.tile.visible(self.row + r, self.group));
        let from = visible.iter().map(|v| v.start).min().unwrap_or(0);
        let to = visible.iter().map(|v| v.end).max().unwrap_or(0);
        if from >= to {
            return;
        }
        // The blocks that any row sees; the others may not exist.
        let seen = from / BLOCK_TOKENS..to.div_ceil(BLOCK_TOKENS);
        let span = &self.tile.step.spans[self.tile.task.span];
        // Where a block that is not seen stands, one that is does its work in vain.
        let blocks: [usize; GROUP_BLOCKS] = std::array::from_fn(|b| {
            let b = b.clamp(seen.start, seen.end - 1);
            let block = span.blocks[self.group * GROUP_BLOCKS + b] as usize;
            block * self.tile.shape.kv_heads + self.tile.task.kv_head
        });
        // SAFETY: passed on from the caller; `span.blocks` are blocks of the cache.
        unsafe {
            let mut weights = self.scores::<L, R>(&blocks);
            for (r, weights) in weights.iter_mut().enumerate() {
                self.softmax(r, weights, visible[r].clone());
            }
            self.scale_values::<R>(&blocks, &mut weights);
            self.mix::<L, R>(&blocks, &weights, from, to);
        }
    }

    /// Each row's query times each key.
    #[inline(always)]
    unsafe fn scores<L: Lanes, const R: usize>(
        &self,
        blocks: &[usize; GROUP_BLOCKS],
    ) -> [[f32; GROUP_KEYS]; R] {
        let d = self.tile.shape.head_dim;
        let cache = self.tile.cache;
        let queries: [*const f32; R] = std::array::from_fn(|r| self.tile.query(self.row + r));
        let keys = blocks.map(|b| cache.keys[b * d * BLOCK_TOKENS..][..d * BLOCK_TOKENS].as_ptr());
        let mut weights = [[0f32; GROUP_KEYS]; R];
        // SAFETY: each of `keys` holds `d` vectors, each query `d` values.
        unsafe {
            let mut scores = [[L::zero(); GROUP_BLOCKS]; R];
            for i in 0..d {
                let key = keys.map(|keys| C::lanes::<L>(keys.add(i * LANES)));
                for (scores, query) in scores.iter_mut().zip(queries) {
                    let q = L::splat(*query.add(i));
                    for (score, key) in scores.iter_mut().zip(key) {
                        *score = q.fma(key, *score);
                    }
                }
            }
            for (scores, weights) in scores.iter().zip(&mut weights) {
                for (b, score) in scores.iter().enumerate() {
                    let score = match self.scales(blocks[b], 0) {
                        Some(scales) => score.mul(L::load(scales.as_ptr())),
                        None => *score,
                    };
                    score.store(weights.as_mut_ptr().add(b * LANES));
                }
            }
        }
        weights
    }

    /// The scales of a block's keys (0) or values (1), where the cache has them.
    #[inline(always)]
    fn scales(&self, block: usize, of: usize) -> Option<&[f32]> {
        let scales = self.tile.cache.scales;
        (!scales.is_empty()).then(|| &scales[(2 * block + of) * BLOCK_TOKENS..][..BLOCK_TOKENS])
    }

    /// From scores to weights, and what was summed before brought to the same maximum.
    #[inline(always)]
    fn softmax(&mut self, r: usize, weights: &mut [f32; GROUP_KEYS], visible: Range<usize>) {
        if visible.is_empty() {
            weights.fill(0.0);
            return;
        }
        if let Some(cap) = self.tile.shape.softcap {
            weights.iter_mut().for_each(|w| *w = softcap(*w, cap));
        }
        weights[..visible.start].fill(f32::NEG_INFINITY);
        weights[visible.end..].fill(f32::NEG_INFINITY);
        let state = &mut self.running[r];
        let max = reduce(weights, |a, b| if a > b { a } else { b });
        let max = if max > state.max { max } else { state.max };
        for w in weights.iter_mut() {
            *w = exp(*w - max);
        }
        weights[..visible.start].fill(0.0);
        weights[visible.end..].fill(0.0);
        if max != state.max {
            // e^-∞ of a first group is near zero, and so are its empty sums.
            let shrink = exp(state.max - max);
            state.sum *= shrink;
            let dp = padded(self.tile.shape.head_dim);
            self.sums[r * dp..(r + 1) * dp]
                .iter_mut()
                .for_each(|s| *s *= shrink);
            state.max = max;
        }
        state.sum += reduce(weights, |a, b| a + b);
    }

    /// Moves the values' scales into the weights.
    #[inline(always)]
    fn scale_values<const R: usize>(
        &self,
        blocks: &[usize; GROUP_BLOCKS],
        weights: &mut [[f32; GROUP_KEYS]; R],
    ) {
        for (b, block) in blocks.iter().enumerate() {
            let Some(scales) = self.scales(*block, 1) else {
                return;
            };
            for weights in weights.iter_mut() {
                let weights = &mut weights[b * BLOCK_TOKENS..][..BLOCK_TOKENS];
                for (w, scale) in weights.iter_mut().zip(scales) {
                    *w *= scale;
                }
            }
        }
    }

    /// Adds the values of the keys `from..to`, weighted.
    #[inline(always)]
    unsafe fn mix<L: Lanes, const R: usize>(
        &mut self,
        blocks: &[usize; GROUP_BLOCKS],
        weights: &[[f32; GROUP_KEYS]; R],
        from: usize,
        to: usize,
    ) {
        let dp = padded(self.tile.shape.head_dim);
        let values = self.tile.cache.values;
        let values = blocks.map(|b| values[b * BLOCK_TOKENS * dp..][..BLOCK_TOKENS * dp].as_ptr());
        let mut column = 0;
        // SAFETY: each of `values` holds 16 rows of `dp`, `sums` holds `R` rows of `dp`.
        unsafe {
            while column < dp {
                column += match (dp - column) / LANES {
                    4.. => self.mix_columns::<L, R, 4>(&values, weights, from..to, column),
                    2 | 3 => self.mix_columns::<L, R, 2>(&values, weights, from..to, column),
                    _ => self.mix_columns::<L, R, 1>(&values, weights, from..to, column),
                };
            }
        }
    }

    /// As `mix`, for `N` vectors of columns. Returns how many columns those are.
    #[inline(always)]
    unsafe fn mix_columns<L: Lanes, const R: usize, const N: usize>(
        &mut self,
        values: &[*const C; GROUP_BLOCKS],
        weights: &[[f32; GROUP_KEYS]; R],
        keys: Range<usize>,
        column: usize,
    ) -> usize {
        let dp = padded(self.tile.shape.head_dim);
        // SAFETY: passed on from the caller.
        unsafe {
            let at = |r: usize, n: usize| r * dp + column + n * LANES;
            let mut sums = [[L::zero(); N]; R];
            for (r, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(self.sums.as_ptr().add(at(r, n)));
                }
            }
            for j in keys {
                let row = values[j / BLOCK_TOKENS].add(j % BLOCK_TOKENS * dp + column);
                let value: [L; N] = std::array::from_fn(|n| C::lanes(row.add(n * LANES)));
                for (sums, weights) in sums.iter_mut().zip(weights) {
                    let weight = L::splat(weights[j]);
                    for (sum, value) in sums.iter_mut().zip(value) {
                        *sum = weight.fma(value, *sum);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (n, sum) in sums.iter().enumerate() {
                    sum.store(self.sums.as_mut_ptr().add(at(r, n)));
                }
            }
        }
        N * LANES
    }
}

/// All values into one, in an order that suits vectors.
#[inline(always)]
fn reduce(values: &[f32; GROUP_KEYS], by: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; GROUP_KEYS];
    lanes.copy_from_slice(values);
    let mut width = GROUP_KEYS / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = by(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}
