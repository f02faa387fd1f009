//! Paged attention on a GPU: what a step's buffer has, and which kernels run on it.
//!
//! The buffer, made once a step: the rows' positions, their slots, the sequences' blocks,
//! then tasks (see `attend`): those of sequences with one row, split by keys, those of
//! the others, and for each single row which parts to join.
//! Knows nothing of layers or requests.

mod attend;
mod store;

use burn::tensor::{DType, Shape};
use burn_cubecl::ops::{numeric, reshape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::{argument, dims, empty, own, pointwise, small, upload, whole};
use crate::kernels::linear::padded;
use crate::kernels::{AttentionShape, BLOCK_TOKENS, StepLayout};
use attend::{Cached, Form, Output, Sight, Softcap, TASK_WORDS};
use store::Dims;

/// Keys of one part: enough that joining costs little.
const SPLIT_KEYS: usize = 256;
/// Query rows (tokens times heads) of a cube that has several tokens.
const TILE_ROWS: usize = 16;
/// Keys of a chunk where a cube has one token, and where it has several.
const CHUNK_KEYS: usize = 128;
const TILE_CHUNK_KEYS: usize = 64;

/// Keys and values of one layer.
struct Cache {
    keys: CubeTensor,
    values: CubeTensor,
    scales: CubeTensor,
    kept: Cached,
}

/// See [`super::LlmOps::attention`].
pub(super) fn over_f32(
    qkv: CubeTensor,
    angles: CubeTensor,
    keys: CubeTensor,
    values: CubeTensor,
    shape: &AttentionShape,
    step: &StepLayout,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let (qkv, angles, keys, values) = (whole(qkv), whole(angles), own(keys), own(values));
    let step = Step::of(step, shape, &qkv);
    let dims = kernel_dims(shape);
    let q = empty(&qkv, [step.tokens, dims.heads * dims.head_dim], DType::F32);
    let count = step.tokens * shape.qkv_width() / 2;
    let (cubes, units) = pointwise(count);
    // SAFETY: a unit per pair of `qkv`; slots come from the allocator of this cache.
    unsafe {
        store::store_kernel::launch_unchecked(
            &qkv.client,
            cubes,
            units,
            argument(&qkv),
            argument(&angles),
            argument(&step.buffer),
            argument(&q),
            argument(&keys),
            argument(&values),
            small(step.tokens),
            small(count),
            dims,
        );
    }
    let cache = Cache {
        // Not read: a cache of f32 has no scales.
        scales: q.clone(),
        keys,
        values,
        kept: Cached::F32,
    };
    let out = attend(&q, &cache, shape, &step);
    (out, cache.keys, cache.values)
}

/// See [`super::LlmOps::cache_int8`]: `[block, kv_head, 16, words]` each.
pub(super) fn cache_int8(
    like: &CubeTensor,
    shape: &AttentionShape,
    blocks: usize,
) -> (CubeTensor, CubeTensor) {
    let words = kernel_dims(shape).words();
    let dims = [blocks, shape.kv_heads, BLOCK_TOKENS, words];
    let zeros = || {
        let count = Shape::from([dims.iter().product::<usize>()]);
        reshape(
            numeric::zeros(like.device.clone(), count, DType::U32),
            Shape::from(dims),
        )
    };
    (zeros(), zeros())
}

/// See [`super::LlmOps::attention_int8`].
pub(super) fn over_int8(
    qkv: CubeTensor,
    angles: CubeTensor,
    keys: CubeTensor,
    values: CubeTensor,
    scales: CubeTensor,
    shape: &AttentionShape,
    step: &StepLayout,
) -> (CubeTensor, CubeTensor, CubeTensor, CubeTensor) {
    let (qkv, angles) = (whole(qkv), whole(angles));
    let (keys, values, scales) = (own(keys), own(values), own(scales));
    let step = Step::of(step, shape, &qkv);
    let dims = kernel_dims(shape);
    let q = empty(&qkv, [step.tokens, dims.heads * dims.head_dim], DType::F32);
    let count = step.tokens * dims.heads * dims.head_dim / 2;
    let (cubes, units) = pointwise(count);
    // SAFETY: a unit per pair of the queries; then a cube per key or value head, to slots
    // that come from the allocator of this cache.
    unsafe {
        store::rotate_kernel::launch_unchecked(
            &qkv.client,
            cubes,
            units,
            argument(&qkv),
            argument(&angles),
            argument(&step.buffer),
            argument(&q),
            small(count),
            dims,
        );
        store::store_int8_kernel::launch_unchecked(
            &qkv.client,
            CubeCount::Static(small(2 * dims.kv_heads), small(step.tokens), 1),
            CubeDim::new_1d(small(store::INT8_UNITS)),
            argument(&qkv),
            argument(&angles),
            argument(&step.buffer),
            argument(&keys),
            argument(&values),
            argument(&scales),
            small(step.tokens),
            dims,
        );
    }
    let cache = Cache {
        keys,
        values,
        scales,
        kept: Cached::Int8,
    };
    let out = attend(&q, &cache, shape, &step);
    (out, cache.keys, cache.values, cache.scales)
}

fn kernel_dims(shape: &AttentionShape) -> Dims {
    Dims {
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        padded: padded(shape.head_dim),
    }
}

/// Query tokens of a cube for sequences of several rows.
fn tile_tokens(shape: &AttentionShape) -> usize {
    (TILE_ROWS / (shape.heads / shape.kv_heads)).max(1)
}

/// Attention of rotated queries over a cache that has the step's keys and values.
fn attend(q: &CubeTensor, cache: &Cache, shape: &AttentionShape, step: &Step) -> CubeTensor {
    let [tokens, width] = dims(q);
    let out = empty(q, [tokens, width], DType::F32);
    let form = |tokens, keys, result| Form {
        dims: kernel_dims(shape),
        tokens,
        keys,
        cache: cache.kept,
        result,
        softcap: shape.softcap.map_or(Softcap::Off, |_| Softcap::On),
        sight: shape.window.map_or(Sight::All, |_| Sight::Window),
    };
    let tiles = form(tile_tokens(shape), TILE_CHUNK_KEYS, Output::Whole);
    launch(q, cache, shape, step, &step.tiles, &out, &out, tiles);
    if step.parts.count == step.singles.count {
        let whole = form(1, CHUNK_KEYS, Output::Whole);
        launch(q, cache, shape, step, &step.parts, &out, &out, whole);
        return out;
    }
    let sums = empty(q, [step.parts.count, width], DType::F32);
    let parts = empty(q, [step.parts.count, shape.heads, 2], DType::F32);
    let part = form(1, CHUNK_KEYS, Output::Part);
    launch(q, cache, shape, step, &step.parts, &sums, &parts, part);
    // SAFETY: a cube per single row and head.
    unsafe {
        attend::combine_kernel::launch_unchecked(
            &q.client,
            CubeCount::Static(small(step.singles.count), small(shape.heads), 1),
            CubeDim::new_1d(small(attend::UNITS.min(shape.head_dim.next_power_of_two()))),
            argument(&sums),
            argument(&parts),
            argument(&step.buffer),
            argument(&out),
            small(step.singles.first),
            kernel_dims(shape),
        );
    }
    out
}

#[expect(
    clippy::too_many_arguments,
    reason = "what the kernel reads and writes"
)]
fn launch(
    q: &CubeTensor,
    cache: &Cache,
    shape: &AttentionShape,
    step: &Step,
    tasks: &Part,
    out: &CubeTensor,
    parts: &CubeTensor,
    form: Form,
) {
    if tasks.count == 0 {
        return;
    }
    // SAFETY: the tasks' rows are of `q`, and their blocks of this cache.
    unsafe {
        attend::attend_kernel::launch_unchecked(
            &q.client,
            CubeCount::Static(small(tasks.count), small(shape.kv_heads), 1),
            CubeDim::new_1d(small(attend::UNITS)),
            argument(q),
            argument(&cache.keys),
            argument(&cache.values),
            argument(&cache.scales),
            argument(&step.buffer),
            argument(out),
            argument(parts),
            small(tasks.first),
            shape.scale,
            shape.softcap.unwrap_or(1.0),
            small(shape.window.unwrap_or(0)),
            form,
        );
    }
}

/// A run of equal records in the step's buffer: where it begins, and how many.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    first: usize,
    count: usize,
}

/// A step's layout on the device.
#[derive(Clone, Debug)]
struct Step {
    buffer: CubeTensor,
    tokens: usize,
    /// Query tokens that `tiles` was cut to.
    tile_tokens: usize,
    /// Tasks of single rows, by keys.
    parts: Part,
    /// Tasks of several rows.
    tiles: Part,
    /// Single rows.
    singles: Part,
}

impl Step {
    fn of(layout: &StepLayout, shape: &AttentionShape, like: &CubeTensor) -> Self {
        let tile = tile_tokens(shape);
        let suits = |step: &Self| step.tile_tokens == tile && step.buffer.device == like.device;
        layout
            .prepared
            .or_make(suits, || Self::make(layout, tile, like))
    }

    fn make(layout: &StepLayout, tile: usize, like: &CubeTensor) -> Self {
        let mut words = layout.positions.clone();
        words.extend_from_slice(&layout.slots);
        let mut tables = Vec::with_capacity(layout.spans.len());
        for span in &layout.spans {
            tables.push(words.len());
            words.extend_from_slice(&span.blocks);
        }
        let mut parts = Vec::new();
        let mut tiles = Vec::new();
        let mut singles = Vec::new();
        for (span, table) in layout.spans.iter().zip(tables) {
            let task = |row: usize, rows: usize, first: usize, end: usize| {
                let position = span.context + row;
                let row = span.rows.start + row;
                [row, rows, position, table, first, end].map(small)
            };
            let end = span.context + span.rows.len();
            if span.rows.len() == 1 {
                let count = end.div_ceil(SPLIT_KEYS);
                singles.push([span.rows.start, parts.len(), count].map(small));
                parts.extend((0..count).map(|part| {
                    let first = part * SPLIT_KEYS;
                    task(0, 1, first, end.min(first + SPLIT_KEYS))
                }));
            } else {
                tiles.extend((0..span.rows.len()).step_by(tile).map(|row| {
                    let rows = tile.min(span.rows.len() - row);
                    task(row, rows, 0, span.context + row + rows)
                }));
            }
        }
        let parts = append(&mut words, &parts);
        let tiles = append(&mut words, &tiles);
        let singles = append(&mut words, &singles);
        Self {
            buffer: upload(like, &words),
            tokens: layout.tokens(),
            tile_tokens: tile,
            parts,
            tiles,
            singles,
        }
    }
}

fn append<const N: usize>(words: &mut Vec<u32>, records: &[[u32; N]]) -> Part {
    let first = words.len();
    words.extend(records.iter().flatten());
    Part {
        first,
        count: records.len(),
    }
}

const _: () = assert!(TASK_WORDS == 6, "a task as `make` writes it");
const _: () = assert!(
    SPLIT_KEYS.is_multiple_of(CHUNK_KEYS),
    "parts of whole chunks"
);
const _: () = assert!(
    CHUNK_KEYS.is_multiple_of(BLOCK_TOKENS) && TILE_CHUNK_KEYS.is_multiple_of(BLOCK_TOKENS),
    "chunks of whole blocks"
);
