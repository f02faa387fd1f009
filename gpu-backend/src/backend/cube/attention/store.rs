//! Rotary positions and the write into the paged cache, fused.
//!
//! A cache of f32 has keys `[block, kv_head, head_dim, 16]` and values `[block, kv_head,
//! 16, padded head_dim]`, as on the CPU. One of int8 has both `[block, kv_head, 16,
//! head_dim]`, four values a word and zeros past the end, so that no two tokens share a word, and scales
//! `[block, kv_head, keys' | values', 16]`.
//! Knows nothing of layers or requests.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the launchers that the macro writes"
)]

use cubecl::prelude::*;

use crate::kernels::BLOCK_TOKENS;

/// What is fixed about an attention's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Dims {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    /// Width of a token's values in a cache of f32.
    pub(super) padded: usize,
}

impl Dims {
    /// Words of one token and head in a cache of int8.
    pub(super) const fn words(self) -> usize {
        self.head_dim.div_ceil(4)
    }
}

/// Rotates a pair, half a head apart, by its position (Su et al., 2021; the layout of
/// Hugging Face's `rotate_half`): the half that `high` says.
#[cube]
fn rotated(
    row: &[f32],
    head: usize,
    i: usize,
    angles: &[f32],
    at: usize,
    #[comptime] half: usize,
    #[comptime] high: bool,
) -> f32 {
    let (a, b) = (row[head + i], row[head + half + i]);
    let (cos, sin) = (angles[at + i], angles[at + half + i]);
    if comptime!(high) {
        b * cos + a * sin
    } else {
        a * cos - b * sin
    }
}

/// Queries, rotated, to `q[T, heads · head_dim]`; keys, rotated, and values to their
/// slots. A unit has a pair of values. `step` begins with the rows' positions, then
/// their slots.
#[cube(launch_unchecked)]
pub(super) fn store_kernel(
    qkv: &[f32],
    angles: &[f32],
    step: &[u32],
    q: &mut [f32],
    keys: &mut [f32],
    values: &mut [f32],
    tokens: u32,
    count: u32,
    #[comptime] dims: Dims,
) {
    let d = comptime!(dims.head_dim);
    let half = comptime!(dims.head_dim / 2);
    let all_heads = comptime!(dims.heads + 2 * dims.kv_heads);
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut at = ABSOLUTE_POS;
    while at < count as usize {
        let i = at % half;
        let head = (at / half) % all_heads;
        let row = at / (half * all_heads);
        let from = row * comptime!(all_heads * dims.head_dim) + head * d;
        let angle = step[row] as usize * d;
        if head < comptime!(dims.heads) {
            let to = (row * comptime!(dims.heads) + head) * d + i;
            q[to] = rotated(qkv, from, i, angles, angle, half, false);
            q[to + half] = rotated(qkv, from, i, angles, angle, half, true);
        } else {
            let slot = step[tokens as usize + row] as usize;
            let (block, offset) = (slot / BLOCK_TOKENS, slot % BLOCK_TOKENS);
            let block = block * comptime!(dims.kv_heads);
            if head < comptime!(dims.heads + dims.kv_heads) {
                let to = (block + head - comptime!(dims.heads)) * d;
                let (low, high) = (to + i, to + half + i);
                keys[low * BLOCK_TOKENS + offset] =
                    rotated(qkv, from, i, angles, angle, half, false);
                keys[high * BLOCK_TOKENS + offset] =
                    rotated(qkv, from, i, angles, angle, half, true);
            } else {
                let head = block + head - comptime!(dims.heads + dims.kv_heads);
                let to = (head * BLOCK_TOKENS + offset) * comptime!(dims.padded) + i;
                values[to] = qkv[from + i];
                values[to + half] = qkv[from + half + i];
            }
        }
        at += apart;
    }
}

/// As `store_kernel`, for queries alone.
#[cube(launch_unchecked)]
pub(super) fn rotate_kernel(
    qkv: &[f32],
    angles: &[f32],
    step: &[u32],
    q: &mut [f32],
    count: u32,
    #[comptime] dims: Dims,
) {
    let d = comptime!(dims.head_dim);
    let half = comptime!(dims.head_dim / 2);
    let all_heads = comptime!(dims.heads + 2 * dims.kv_heads);
    let apart = CUBE_COUNT * CUBE_DIM as usize;
    let mut at = ABSOLUTE_POS;
    while at < count as usize {
        let i = at % half;
        let head = (at / half) % comptime!(dims.heads);
        let row = at / comptime!(dims.head_dim / 2 * dims.heads);
        let from = row * comptime!(all_heads * dims.head_dim) + head * d;
        let angle = step[row] as usize * d;
        let to = (row * comptime!(dims.heads) + head) * d + i;
        q[to] = rotated(qkv, from, i, angles, angle, half, false);
        q[to + half] = rotated(qkv, from, i, angles, angle, half, true);
        at += apart;
    }
}

/// What values are multiplied by to be rounded; all are zero where the scale is.
#[cube]
fn inverse_of(scale: f32) -> f32 {
    let mut inverse = 0f32;
    if scale > 1e-37f32 {
        inverse = 1f32 / scale;
    }
    inverse
}

/// Units of `store_int8_kernel`'s cube.
pub(super) const INT8_UNITS: usize = 32;

/// Keys, rotated, and values of one token and head, rounded with a scale of their own. A
/// cube per row (y) and key or value head (x).
#[cube(launch_unchecked)]
pub(super) fn store_int8_kernel(
    qkv: &[f32],
    angles: &[f32],
    step: &[u32],
    keys: &mut [u32],
    values: &mut [u32],
    scales: &mut [f32],
    tokens: u32,
    #[comptime] dims: Dims,
) {
    let d = comptime!(dims.head_dim);
    let half = comptime!(dims.head_dim / 2);
    let mut head_values = Shared::<[f32]>::new_slice(d);
    let mut most = Shared::<[f32]>::new_slice(INT8_UNITS);
    let row = CUBE_POS_Y as usize;
    let unit = UNIT_POS as usize;
    let head = CUBE_POS_X as usize;
    let is_key = head < comptime!(dims.kv_heads);
    let from = (row * comptime!(dims.heads + 2 * dims.kv_heads) + comptime!(dims.heads) + head) * d;
    let angle = step[row] as usize * d;
    let mut largest = 0f32;
    let mut i = unit;
    while i < half {
        let mut low = qkv[from + i];
        let mut high = qkv[from + half + i];
        if is_key {
            low = rotated(qkv, from, i, angles, angle, half, false);
            high = rotated(qkv, from, i, angles, angle, half, true);
        }
        head_values[i] = low;
        head_values[half + i] = high;
        largest = max(largest, max(low.abs(), high.abs()));
        i += INT8_UNITS;
    }
    most[unit] = largest;
    sync_cube();
    #[unroll]
    for other in 0..INT8_UNITS {
        largest = max(largest, most[other]);
    }
    let scale = largest / 127f32;
    let inverse = inverse_of(scale);
    let slot = step[tokens as usize + row] as usize;
    let (block, offset) = (slot / BLOCK_TOKENS, slot % BLOCK_TOKENS);
    let kv_head = head % comptime!(dims.kv_heads);
    let place = block * comptime!(dims.kv_heads) + kv_head;
    let to = (place * BLOCK_TOKENS + offset) * comptime!(dims.words());
    let mut word = unit;
    while word < comptime!(dims.words()) {
        let mut made = 0u32;
        #[unroll]
        for i in 0..4usize {
            if 4 * word + i < d {
                let value = i32::cast_from((head_values[4 * word + i] * inverse).round());
                made |= (u32::reinterpret(value) & 0xffu32) << comptime!(8 * i as u32);
            }
        }
        if is_key {
            keys[to + word] = made;
        } else {
            values[to + word] = made;
        }
        word += INT8_UNITS;
    }
    if unit == 0 {
        let kind = head / comptime!(dims.kv_heads);
        scales[(2 * place + kind) * BLOCK_TOKENS + offset] = scale;
    }
}
