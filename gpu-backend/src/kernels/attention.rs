//! Rotary positions, the write into the paged KV cache, and grouped-query attention
//! over its blocks, fused for the CPU.
//!
//! Cache layout, for blocks of sixteen tokens: keys `[block, kv_head, head_dim, 16]`
//! (one load gives a dimension of sixteen keys), values `[block, kv_head, 16, head_dim
//! padded to 16]`; f32, or int8 with one scale per token and head.
//!
//! Invariant: a query's bits depend on its own sequence's keys and values alone, in
//! groups of blocks that are the same for every query; neither chunking nor the rest
//! of the batch changes them.
//! Knows nothing of layers or requests.

#![expect(
    unsafe_code,
    reason = "tasks write disjoint rows and heads of the same buffers"
)]

mod tile;

use super::lanes::{Kernel, LANES, Lanes, Level, launch};
use super::linear::{largest, padded, round};
use super::shared::SharedMut;
use super::{AttentionShape, BLOCK_TOKENS, StepLayout, workers};
use tile::{Read, Tile};

const _: () = assert!(BLOCK_TOKENS == LANES, "a block's keys fill one vector");

/// Query tokens of one task: enough to share a block's loads, few enough to spread.
const TILE_TOKENS: usize = 16;
/// Below this many products of a query with a key (over all heads) one thread does the
/// work: it takes about a microsecond.
const PARALLEL_MIN_KEYS: usize = 512;

/// The buffers of one call. `qkv` rows are `[q heads | k heads | v heads]`, `angles`
/// are `[position, cosines | sines]`, `head_dim` wide, `out` rows are `[q heads]`.
pub(crate) struct Buffers<'a> {
    pub(crate) qkv: &'a mut [f32],
    pub(crate) angles: &'a [f32],
    pub(crate) cache: Cache<'a>,
    pub(crate) out: &'a mut [f32],
}

/// The keys and values of one layer.
pub(crate) enum Cache<'a> {
    F32 {
        keys: &'a mut [f32],
        values: &'a mut [f32],
    },
    Int8 {
        keys: &'a mut [i8],
        values: &'a mut [i8],
        /// `[block, kv_head, keys' | values', 16]`
        scales: &'a mut [f32],
    },
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
    let call = Call { level, shape, step };
    match b.cache {
        Cache::F32 { keys, values } => {
            let to = Shared {
                keys: SharedMut::new(keys),
                values: SharedMut::new(values),
                scales: SharedMut::new(&mut []),
            };
            call.store::<f32>(b.qkv, b.angles, &to);
            call.attend(b.qkv, &Read::new(keys, values, &[]), b.out);
        }
        Cache::Int8 {
            keys,
            values,
            scales,
        } => {
            let to = Shared {
                keys: SharedMut::new(keys),
                values: SharedMut::new(values),
                scales: SharedMut::new(scales),
            };
            call.store::<i8>(b.qkv, b.angles, &to);
            call.attend(b.qkv, &Read::new(keys, values, scales), b.out);
        }
    }
}

/// How a number is kept in the cache.
trait Kept: Copy + Send + Sync + Default {
    /// Writes `x` to `out`; returns the scale, where there is one.
    fn keep(x: &[f32], out: &mut [Self]) -> Option<f32>;
}

impl Kept for f32 {
    #[inline(always)]
    fn keep(x: &[f32], out: &mut [Self]) -> Option<f32> {
        out.copy_from_slice(x);
        None
    }
}

impl Kept for i8 {
    #[inline(always)]
    fn keep(x: &[f32], out: &mut [Self]) -> Option<f32> {
        let scale = largest(x) / 127.0;
        let inverse = if scale > f32::MIN_POSITIVE {
            1.0 / scale
        } else {
            0.0
        };
        round(x, inverse, out);
        Some(scale)
    }
}

/// A cache that several tasks write, each to its own slots.
struct Shared<'a, C> {
    keys: SharedMut<'a, C>,
    values: SharedMut<'a, C>,
    scales: SharedMut<'a, f32>,
}

#[derive(Clone, Copy)]
struct Call<'a> {
    level: Level,
    shape: &'a AttentionShape,
    step: &'a StepLayout,
}

impl Call<'_> {
    /// Rotates queries and keys in place and writes keys and values to their slots.
    fn store<C: Kept>(&self, qkv: &mut [f32], angles: &[f32], to: &Shared<'_, C>) {
        workers::for_each_row(qkv, self.shape.qkv_width(), |row, token| {
            let position = self.step.positions[row] as usize;
            let d = self.shape.head_dim;
            let kernel = Store {
                shape: self.shape,
                slot: self.step.slots[row] as usize,
                token,
                angles: &angles[position * d..][..d],
                to,
            };
            launch(self.level, kernel);
        });
    }

    fn attend<C: super::lanes::Value>(&self, qkv: &[f32], cache: &Read<'_, C>, out: &mut [f32]) {
        let out = SharedMut::new(out);
        let tasks = tasks(self.shape, self.step);
        let run = |i: usize| {
            let tile = Tile {
                shape: self.shape,
                step: self.step,
                task: &tasks[i],
                qkv,
                cache,
                out: &out,
            };
            launch(self.level, tile);
        };
        let spans = self.step.spans.iter();
        let work: usize = spans
            .map(|s| s.rows.len() * (s.context + s.rows.len()))
            .sum();
        if work * self.shape.heads < PARALLEL_MIN_KEYS {
            (0..tasks.len()).for_each(run);
        } else {
            workers::for_each(tasks.len(), run);
        }
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
#[inline(always)]
fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
    }
}

/// One token's row: rotated in place, its keys and values stored.
struct Store<'a, C> {
    shape: &'a AttentionShape,
    slot: usize,
    token: &'a mut [f32],
    angles: &'a [f32],
    to: &'a Shared<'a, C>,
}

impl<C: Kept> Kernel for Store<'_, C> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (shape, d, dp) = (self.shape, self.shape.head_dim, padded(self.shape.head_dim));
        let (cos, sin) = self.angles.split_at(d / 2);
        let (q, kv) = self.token.split_at_mut(shape.heads * d);
        let (k, v) = kv.split_at_mut(shape.kv_heads * d);
        for head in q.chunks_exact_mut(d) {
            rotate(head, cos, sin);
            head.iter_mut().for_each(|x| *x *= shape.scale);
        }
        let (block, offset) = (self.slot / BLOCK_TOKENS, self.slot % BLOCK_TOKENS);
        let mut kept = vec![C::default(); d];
        for (h, head) in k.chunks_exact_mut(d).enumerate() {
            rotate(head, cos, sin);
            let scale = C::keep(head, &mut kept);
            let at = block * shape.kv_heads + h;
            let base = at * d * BLOCK_TOKENS + offset;
            for (i, x) in kept.iter().enumerate() {
                // SAFETY: a slot belongs to one token, so to one task; `at` checks bounds
                // in debug builds, and slots come from the allocator of this cache.
                unsafe { *self.to.keys.at(base + i * BLOCK_TOKENS) = *x };
            }
            if let Some(scale) = scale {
                // SAFETY: as above.
                unsafe { *self.to.scales.at(2 * at * BLOCK_TOKENS + offset) = scale };
            }
        }
        for (h, head) in v.chunks_exact(d).enumerate() {
            let at = block * shape.kv_heads + h;
            // SAFETY: as above.
            let out = unsafe { self.to.values.slice((at * BLOCK_TOKENS + offset) * dp, d) };
            if let Some(scale) = C::keep(head, out) {
                // SAFETY: as above.
                unsafe { *self.to.scales.at((2 * at + 1) * BLOCK_TOKENS + offset) = scale };
            }
        }
    }
}

#[cfg(test)]
mod tests;
