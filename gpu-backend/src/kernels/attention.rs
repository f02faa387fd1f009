//! Rotary positions, the write into the paged KV cache, and grouped-query attention
//! over its blocks, fused for the CPU.
//!
//! Cache layout, for blocks of sixteen tokens: keys `[block, kv_head, head_dim, 16]`
//! (one load gives a dimension of sixteen keys), values `[block, kv_head, 16, head_dim
//! padded to 16]`. The softmax is computed on line over blocks (Milakov and
//! Gimelshein, 2018).
//!
//! Invariant: a query's bits depend on its own sequence's keys and values alone, block
//! by block in order; neither chunking nor the rest of the batch changes them.
//! Knows nothing of layers or requests.

#![expect(
    unsafe_code,
    reason = "tasks write disjoint rows and heads of the same buffers"
)]

use std::ops::Range;

use rayon::prelude::*;

use super::lanes::{Kernel, LANES, Lanes, Level, launch};
use super::linear::padded;
use super::pointwise::{exp, softcap};
use super::shared::SharedMut;
use super::{AttentionShape, BLOCK_TOKENS, StepLayout};

const _: () = assert!(BLOCK_TOKENS == LANES, "a block's keys fill one vector");

/// Query tokens of one task: enough to share a block's loads, few enough to spread.
const TILE_TOKENS: usize = 16;
/// Query heads that share the loads of one block at a time.
const TILE_HEADS: usize = 4;
/// Below this many key positions (over all heads) one thread does the work.
const PARALLEL_MIN_KEYS: usize = 512;

/// The buffers of one call. `qkv` rows are `[q heads | k heads | v heads]`, `angles`
/// are `[position, cosines | sines]`, `head_dim` wide, `out` rows are `[q heads]`.
pub(crate) struct Buffers<'a> {
    pub(crate) qkv: &'a mut [f32],
    pub(crate) angles: &'a [f32],
    pub(crate) keys: &'a mut [f32],
    pub(crate) values: &'a mut [f32],
    pub(crate) out: &'a mut [f32],
}

/// Rotates, stores and attends for every token of the step.
pub(crate) fn attention(level: Level, shape: &AttentionShape, step: &StepLayout, b: Buffers<'_>) {
    let width = shape.qkv_width();
    assert_eq!(b.qkv.len(), step.tokens() * width, "qkv");
    assert_eq!(
        b.out.len(),
        step.tokens() * shape.heads * shape.head_dim,
        "attention output"
    );
    store_rotated(shape, step, b.qkv, b.angles, b.keys, b.values);

    let (keys, values, qkv) = (&*b.keys, &*b.values, &*b.qkv);
    let out = SharedMut::new(b.out);
    let tasks = tasks(shape, step);
    let run = |task: &Task| {
        launch(
            level,
            Tile {
                shape,
                step,
                task,
                qkv,
                keys,
                values,
                out: &out,
            },
        );
    };
    let work: usize = step
        .spans
        .iter()
        .map(|s| s.rows.len() * (s.context + s.rows.len()))
        .sum();
    if work * shape.heads < PARALLEL_MIN_KEYS {
        tasks.iter().for_each(run);
    } else {
        tasks.par_iter().for_each(run);
    }
}

/// Some tokens of one sequence against one key-value head.
struct Task {
    span: usize,
    kv_head: usize,
    /// First token, counted from the span's first row.
    first: usize,
    tokens: usize,
}

fn tasks(shape: &AttentionShape, step: &StepLayout) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (span, s) in step.spans.iter().enumerate() {
        for first in (0..s.rows.len()).step_by(TILE_TOKENS) {
            let tokens = TILE_TOKENS.min(s.rows.len() - first);
            tasks.extend((0..shape.kv_heads).map(|kv_head| Task {
                span,
                kv_head,
                first,
                tokens,
            }));
        }
    }
    tasks
}

/// Rotates the halves of one head by its position (Su et al., 2021; the layout of
/// Hugging Face's `rotate_half`).
fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
    }
}

/// Rotates queries and keys in place and writes keys and values to their slots.
fn store_rotated(
    shape: &AttentionShape,
    step: &StepLayout,
    qkv: &mut [f32],
    angles: &[f32],
    keys: &mut [f32],
    values: &mut [f32],
) {
    let (d, dp) = (shape.head_dim, padded(shape.head_dim));
    for (row, token) in qkv.chunks_exact_mut(shape.qkv_width()).enumerate() {
        let position = step.positions[row] as usize;
        let (cos, sin) = angles[position * d..(position + 1) * d].split_at(d / 2);
        let (q, kv) = token.split_at_mut(shape.heads * d);
        let (k, v) = kv.split_at_mut(shape.kv_heads * d);
        for head in q.chunks_exact_mut(d) {
            rotate(head, cos, sin);
            head.iter_mut().for_each(|x| *x *= shape.scale);
        }
        let slot = step.slots[row] as usize;
        let (block, offset) = (slot / BLOCK_TOKENS, slot % BLOCK_TOKENS);
        for (h, head) in k.chunks_exact_mut(d).enumerate() {
            rotate(head, cos, sin);
            let base = (block * shape.kv_heads + h) * d * BLOCK_TOKENS + offset;
            for (i, x) in head.iter().enumerate() {
                keys[base + i * BLOCK_TOKENS] = *x;
            }
        }
        for (h, head) in v.chunks_exact(d).enumerate() {
            let base = ((block * shape.kv_heads + h) * BLOCK_TOKENS + offset) * dp;
            values[base..base + d].copy_from_slice(head);
        }
    }
}

/// One task's operands.
struct Tile<'a> {
    shape: &'a AttentionShape,
    step: &'a StepLayout,
    task: &'a Task,
    qkv: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    out: &'a SharedMut<'a, f32>,
}

/// The running softmax of one query row.
#[derive(Clone, Copy)]
struct Running {
    max: f32,
    sum: f32,
}

impl Kernel for Tile<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (shape, task) = (self.shape, self.task);
        let (d, dp) = (shape.head_dim, padded(shape.head_dim));
        let group = shape.heads / shape.kv_heads;
        let span = &self.step.spans[task.span];
        let first = span.context + task.first;
        let last = first + task.tokens - 1;
        let blocks = shape.first_visible(first) / BLOCK_TOKENS..last / BLOCK_TOKENS + 1;
        let mut running = vec![
            Running {
                max: f32::NEG_INFINITY,
                sum: 0.0
            };
            task.tokens * group
        ];
        let mut sums = vec![0f32; task.tokens * group * dp];
        for i in blocks {
            let head = span.blocks[i] as usize * shape.kv_heads + task.kv_head;
            let keys = &self.keys[head * d * BLOCK_TOKENS..][..d * BLOCK_TOKENS];
            let values = &self.values[head * BLOCK_TOKENS * dp..][..BLOCK_TOKENS * dp];
            for token in 0..task.tokens {
                let Some(visible) = visible(shape, first + token, i) else {
                    continue;
                };
                let row = span.rows.start + task.first + token;
                let q =
                    &self.qkv[row * shape.qkv_width() + task.kv_head * group * d..][..group * d];
                for first in (0..group).step_by(TILE_HEADS) {
                    let heads = TILE_HEADS.min(group - first);
                    let at = token * group + first;
                    let tile = BlockTile {
                        q: &q[first * d..][..heads * d],
                        keys,
                        values,
                        running: &mut running[at..at + heads],
                        sums: &mut sums[at * dp..(at + heads) * dp],
                        visible: visible.clone(),
                        softcap: shape.softcap,
                        d,
                    };
                    // SAFETY: the slices above have the lengths that the tile needs.
                    unsafe {
                        match heads {
                            1 => tile.add::<L, 1>(),
                            2 => tile.add::<L, 2>(),
                            3 => tile.add::<L, 3>(),
                            _ => tile.add::<L, TILE_HEADS>(),
                        }
                    }
                }
            }
        }
        self.write(&running, &sums);
    }
}

/// Which keys of block `i` a token at `position` sees, if any.
fn visible(shape: &AttentionShape, position: usize, i: usize) -> Option<Range<usize>> {
    let start = i * BLOCK_TOKENS;
    let from = shape.first_visible(position).saturating_sub(start);
    let to = BLOCK_TOKENS.min((position + 1).saturating_sub(start));
    (from < to).then_some(from..to)
}

impl Tile<'_> {
    /// Divides by the softmax's sum and writes this task's heads of its rows.
    fn write(&self, running: &[Running], sums: &[f32]) {
        let (shape, task) = (self.shape, self.task);
        let (d, dp) = (shape.head_dim, padded(shape.head_dim));
        let group = shape.heads / shape.kv_heads;
        let first_row = self.step.spans[task.span].rows.start + task.first;
        for (i, (state, sums)) in running.iter().zip(sums.chunks_exact(dp)).enumerate() {
            let (row, head) = (first_row + i / group, task.kv_head * group + i % group);
            // SAFETY: a row and head belong to exactly one task.
            let out = unsafe { self.out.slice((row * shape.heads + head) * d, d) };
            for (o, s) in out.iter_mut().zip(sums) {
                *o = s / state.sum;
            }
        }
    }
}

/// Up to four query heads of one token against one block.
struct BlockTile<'a> {
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    running: &'a mut [Running],
    sums: &'a mut [f32],
    /// Which of the block's keys the token may see.
    visible: Range<usize>,
    softcap: Option<f32>,
    d: usize,
}

impl BlockTile<'_> {
    #[inline(always)]
    unsafe fn add<L: Lanes, const H: usize>(self) {
        let dp = padded(self.d);
        let mut weights = [[0f32; LANES]; H];
        // SAFETY: `keys` holds `d` vectors, `q` holds `H · d` values.
        unsafe {
            let mut scores = [L::zero(); H];
            for i in 0..self.d {
                let key = L::load(self.keys.as_ptr().add(i * LANES));
                for (h, score) in scores.iter_mut().enumerate() {
                    *score = L::splat(*self.q.as_ptr().add(h * self.d + i)).fma(key, *score);
                }
            }
            for (score, weight) in scores.iter().zip(&mut weights) {
                score.store(weight.as_mut_ptr());
            }
        }
        for (h, weight) in weights.iter_mut().enumerate() {
            let state = &mut self.running[h];
            if let Some(cap) = self.softcap {
                weight.iter_mut().for_each(|w| *w = softcap(*w, cap));
            }
            let max = weight[self.visible.clone()]
                .iter()
                .fold(state.max, |m, s| m.max(*s));
            for w in weight.iter_mut() {
                *w = exp(*w - max);
            }
            weight[..self.visible.start].fill(0.0);
            weight[self.visible.end..].fill(0.0);
            if max != state.max {
                // e^-∞ of a first block is near zero, and so are its empty sums.
                let shrink = exp(state.max - max);
                state.sum *= shrink;
                self.sums[h * dp..(h + 1) * dp]
                    .iter_mut()
                    .for_each(|s| *s *= shrink);
                state.max = max;
            }
            state.sum += weight.iter().sum::<f32>();
        }
        // SAFETY: `values` holds 16 rows of `dp`, `sums` holds `H` rows of `dp`.
        unsafe {
            for column in (0..dp).step_by(LANES) {
                let mut sums = [L::zero(); H];
                for (h, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(self.sums.as_ptr().add(h * dp + column));
                }
                for j in self.visible.clone() {
                    let value = L::load(self.values.as_ptr().add(j * dp + column));
                    for (sum, weight) in sums.iter_mut().zip(&weights) {
                        *sum = L::splat(weight[j]).fma(value, *sum);
                    }
                }
                for (h, sum) in sums.iter().enumerate() {
                    sum.store(self.sums.as_mut_ptr().add(h * dp + column));
                }
            }
        }
    }
}
