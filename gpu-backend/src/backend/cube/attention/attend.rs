//! Grouped-query attention over the paged cache, in chunks of keys with a running
//! maximum and sum (FlashAttention: Dao et al., 2022). A cube has a few tokens of one
//! sequence and all query heads of one key-value head, so that they share its loads.
//! Where a sequence is long and its tokens few, the keys are split between cubes, and
//! `combine_kernel` joins the parts (Flash-Decoding).
//!
//! Invariant: what a query gets depends on its own sequence alone; splits begin at the
//! same keys whatever else is in the batch.
//! Knows nothing of layers or requests.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the launchers that the macro writes"
)]

use cubecl::prelude::*;

use super::store::Dims;
use crate::kernels::BLOCK_TOKENS;

/// Units of a cube.
pub(super) const UNITS: usize = 128;
/// Query rows (tokens times heads) that a unit has at a time: what one load serves.
pub(super) const ROWS: usize = 4;
/// Words of one task in the step's buffer.
pub(super) const TASK_WORDS: usize = 6;
/// Below any score, and what a row's maximum is before its first key.
const NOTHING: f32 = -1e30;

/// What kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub(super) dims: Dims,
    /// Query tokens of a cube.
    pub(super) tokens: usize,
    /// Keys of a chunk: a multiple of a block's.
    pub(super) keys: usize,
    pub(super) cache: Cached,
    pub(super) result: Output,
    pub(super) softcap: Softcap,
    pub(super) sight: Sight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cached {
    F32,
    Int8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Output {
    /// Rows of the attention's output.
    Whole,
    /// A part of the keys: sums without their divisor, and maximum and divisor beside.
    Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Softcap {
    Off,
    On,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sight {
    /// All tokens before.
    All,
    /// Those of a window.
    Window,
}

impl Form {
    /// Query heads of one key-value head.
    const fn group(&self) -> usize {
        self.dims.heads / self.dims.kv_heads
    }

    /// Query rows of a cube, whole times `ROWS`.
    const fn rows(&self) -> usize {
        (self.tokens * self.group()).next_multiple_of(ROWS)
    }

    /// Values of the queries of a cube, and zeros for the last word of a row of int8.
    const fn query_values(&self) -> usize {
        self.rows() * self.dims.head_dim + 4
    }

    /// Units that share a row's softmax: a power of two.
    const fn lanes(&self) -> usize {
        1 << (UNITS / self.rows()).ilog2()
    }

    /// (Rows of four, dimension) pairs that one unit adds up.
    const fn owned(&self) -> usize {
        (self.rows() / ROWS * self.dims.head_dim).div_ceil(UNITS)
    }
}

/// A task, read from the step's buffer: some query tokens and the keys to see.
#[derive(CubeType)]
struct Task {
    /// First row of the step, and how many.
    row: usize,
    rows: usize,
    /// Position of the first row.
    position: usize,
    /// Where the sequence's blocks begin in the step's buffer.
    table: usize,
    /// Keys: from a multiple of a block's, to before.
    first: usize,
    end: usize,
}

#[cube]
fn read_task(step: &[u32], at: usize) -> Task {
    Task {
        row: step[at] as usize,
        rows: step[at + 1] as usize,
        position: step[at + 2] as usize,
        table: step[at + 3] as usize,
        first: step[at + 4] as usize,
        end: step[at + 5] as usize,
    }
}

/// The byte `i` of a word, with its sign.
#[cube]
fn byte(word: u32, #[comptime] i: u32) -> f32 {
    f32::cast_from(i32::reinterpret(word << comptime!(24 - 8 * i)) >> 24i32)
}

/// Scores of `ROWS` query rows with one key, unscaled, added to `sums`.
#[cube]
fn products(
    sums: &mut Array<f32>,
    q: &Shared<[f32]>,
    first_row: usize,
    keys: &[u32],
    scales: &[f32],
    place: usize,
    offset: usize,
    #[comptime] form: Form,
) {
    let d = comptime!(form.dims.head_dim);
    match comptime!(form.cache) {
        Cached::F32 => {
            let base = place * comptime!(form.dims.head_dim * BLOCK_TOKENS) + offset;
            for i in 0..d {
                let key = f32::reinterpret(keys[base + i * BLOCK_TOKENS]);
                #[unroll]
                for r in 0..ROWS {
                    sums[r] += q[(first_row + r) * d + i] * key;
                }
            }
        }
        Cached::Int8 => {
            let words = comptime!(form.dims.words());
            let base = (place * BLOCK_TOKENS + offset) * words;
            for w in 0..words {
                let word = keys[base + w];
                #[unroll]
                for i in 0..4usize {
                    let key = byte(word, comptime!(i as u32));
                    #[unroll]
                    for r in 0..ROWS {
                        sums[r] += q[(first_row + r) * d + 4 * w + i] * key;
                    }
                }
            }
            let scale = scales[2 * place * BLOCK_TOKENS + offset];
            #[unroll]
            for r in 0..ROWS {
                sums[r] *= scale;
            }
        }
    }
}

/// Scores of the chunk's keys with all query rows, `NOTHING` where a row does not see.
#[cube]
fn score_chunk(
    scores: &mut Shared<[f32]>,
    q: &Shared<[f32]>,
    keys: &[u32],
    scales: &[f32],
    step: &[u32],
    task: &Task,
    chunk: usize,
    kv_head: usize,
    scale: f32,
    cap: f32,
    window: u32,
    #[comptime] form: Form,
) {
    let group = comptime!(form.group());
    let mut at = UNIT_POS as usize;
    while at < comptime!(form.rows() / ROWS * form.keys) {
        let key_of_chunk = at % comptime!(form.keys);
        let first_row = at / comptime!(form.keys) * ROWS;
        let key = chunk + key_of_chunk;
        let mut sums = Array::<f32>::new(ROWS);
        #[unroll]
        for r in 0..ROWS {
            sums[r] = 0f32;
        }
        if key < task.end {
            let block = step[task.table + key / BLOCK_TOKENS] as usize;
            let place = block * comptime!(form.dims.kv_heads) + kv_head;
            products(
                &mut sums,
                q,
                first_row,
                keys,
                scales,
                place,
                key % BLOCK_TOKENS,
                form,
            );
        }
        #[unroll]
        for r in 0..ROWS {
            let token = (first_row + r) / group;
            let position = task.position + token;
            let mut seen = key < task.end && key <= position && token < task.rows;
            if comptime!(form.sight == Sight::Window) {
                seen = seen && key + window as usize > position;
            }
            let mut score = sums[r] * scale;
            if comptime!(form.softcap == Softcap::On) {
                score = cap * (score / cap).tanh();
            }
            if !seen {
                score = NOTHING;
            }
            scores[(first_row + r) * comptime!(form.keys) + key_of_chunk] = score;
        }
        at += UNITS;
    }
}

/// The running state of each query row.
#[derive(CubeType)]
struct Running {
    /// Largest score yet.
    most: Shared<[f32]>,
    /// Sum of the exponentials.
    sum: Shared<[f32]>,
    /// What earlier sums are to be multiplied by after this chunk.
    fade: Shared<[f32]>,
}

/// Turns the chunk's scores into exponentials and brings the running state up to date.
/// A few units have each row, and meet in `scratch`.
#[cube]
fn soften_chunk(
    scores: &mut Shared<[f32]>,
    running: &mut Running,
    scratch: &mut Shared<[f32]>,
    #[comptime] form: Form,
) {
    let lanes = comptime!(form.lanes());
    let unit = UNIT_POS as usize;
    let (row, lane) = (unit / lanes, unit % lanes);
    let mine = row < comptime!(form.rows());
    let base = row * comptime!(form.keys);
    let mut most = NOTHING.runtime();
    if mine {
        let mut key = lane;
        while key < comptime!(form.keys) {
            most = max(most, scores[base + key]);
            key += lanes;
        }
    }
    scratch[unit] = most;
    sync_cube();
    #[unroll]
    for other in 0..lanes {
        most = max(most, scratch[unit - lane + other]);
    }
    sync_cube();
    let mut sum = 0f32;
    if mine {
        most = max(most, running.most[row]);
        let mut key = lane;
        while key < comptime!(form.keys) {
            let score = scores[base + key];
            let mut weight = 0f32;
            if score > comptime!(0.5 * NOTHING) {
                weight = (score - most).exp();
            }
            scores[base + key] = weight;
            sum += weight;
            key += lanes;
        }
    }
    scratch[unit] = sum;
    sync_cube();
    if mine && lane == 0 {
        let mut total = 0f32;
        #[unroll]
        for other in 0..lanes {
            total += scratch[unit + other];
        }
        let fade = (running.most[row] - most).exp();
        running.fade[row] = fade;
        running.sum[row] = running.sum[row] * fade + total;
        running.most[row] = most;
    }
    sync_cube();
}

/// Adds the chunk's values, weighted, to the sums of the unit's columns.
#[cube]
fn add_chunk(
    sums: &mut Array<f32>,
    weights: &Shared<[f32]>,
    fade: &Shared<[f32]>,
    values: &[u32],
    scales: &[f32],
    step: &[u32],
    task: &Task,
    chunk: usize,
    kv_head: usize,
    #[comptime] form: Form,
) {
    let d = comptime!(form.dims.head_dim);
    #[unroll]
    for n in 0..comptime!(form.owned()) {
        let at = UNIT_POS as usize + n * UNITS;
        let (first_row, i) = (at / d * ROWS, at % d);
        if first_row < comptime!(form.rows()) {
            #[unroll]
            for r in 0..ROWS {
                sums[n * ROWS + r] *= fade[first_row + r];
            }
            for block in 0..comptime!(form.keys / BLOCK_TOKENS) {
                let key = chunk + block * BLOCK_TOKENS;
                if key < task.end {
                    let id = step[task.table + key / BLOCK_TOKENS] as usize;
                    let place = id * comptime!(form.dims.kv_heads) + kv_head;
                    #[unroll]
                    for t in 0..BLOCK_TOKENS {
                        let value = value_at(values, scales, place, t, i, form);
                        #[unroll]
                        for r in 0..ROWS {
                            let row = (first_row + r) * comptime!(form.keys);
                            sums[n * ROWS + r] += weights[row + block * BLOCK_TOKENS + t] * value;
                        }
                    }
                }
            }
        }
    }
}

/// The value `i` of the token at `offset` in a block.
#[cube]
fn value_at(
    values: &[u32],
    scales: &[f32],
    place: usize,
    #[comptime] offset: usize,
    i: usize,
    #[comptime] form: Form,
) -> f32 {
    match comptime!(form.cache) {
        Cached::F32 => {
            let row = (place * BLOCK_TOKENS + offset) * comptime!(form.dims.padded);
            f32::reinterpret(values[row + i])
        }
        Cached::Int8 => {
            let row = (place * BLOCK_TOKENS + offset) * comptime!(form.dims.words());
            let shift = 24u32 - 8u32 * (i % 4) as u32;
            let byte = i32::reinterpret(values[row + i / 4] << shift) >> 24i32;
            f32::cast_from(byte) * scales[(2 * place + 1) * BLOCK_TOKENS + offset]
        }
    }
}

/// Attends for the tasks from `tasks` on in the step's buffer: a cube per task (x) and
/// key-value head (y). A part goes to `out[task, heads, head_dim]` and its maximum and
/// divisor to `parts[task, heads, 2]`.
#[cube(launch_unchecked)]
pub(super) fn attend_kernel(
    q: &[f32],
    keys: &[u32],
    values: &[u32],
    scales: &[f32],
    step: &[u32],
    out: &mut [f32],
    parts: &mut [f32],
    tasks: u32,
    scale: f32,
    cap: f32,
    window: u32,
    #[comptime] form: Form,
) {
    let kv_head = CUBE_POS_Y as usize;
    let task = read_task(step, tasks as usize + CUBE_POS_X as usize * TASK_WORDS);
    let mut queries = Shared::<[f32]>::new_slice(comptime!(form.query_values()));
    let mut scores = Shared::<[f32]>::new_slice(comptime!(form.rows() * form.keys));
    let mut scratch = Shared::<[f32]>::new_slice(UNITS);
    let mut running = Running {
        most: Shared::<[f32]>::new_slice(comptime!(form.rows())),
        sum: Shared::<[f32]>::new_slice(comptime!(form.rows())),
        fade: Shared::<[f32]>::new_slice(comptime!(form.rows())),
    };
    load_queries(&mut queries, q, &task, kv_head, form);
    if (UNIT_POS as usize) < comptime!(form.rows()) {
        running.most[UNIT_POS as usize] = NOTHING;
        running.sum[UNIT_POS as usize] = 0f32;
    }
    let mut sums = Array::<f32>::new(comptime!(form.owned() * ROWS));
    #[unroll]
    for n in 0..comptime!(form.owned() * ROWS) {
        sums[n] = 0f32;
    }
    sync_cube();
    let mut chunk = first_key(&task, window, form);
    while chunk < task.end {
        score_chunk(
            &mut scores,
            &queries,
            keys,
            scales,
            step,
            &task,
            chunk,
            kv_head,
            scale,
            cap,
            window,
            form,
        );
        sync_cube();
        soften_chunk(&mut scores, &mut running, &mut scratch, form);
        add_chunk(
            &mut sums,
            &scores,
            &running.fade,
            values,
            scales,
            step,
            &task,
            chunk,
            kv_head,
            form,
        );
        sync_cube();
        chunk += comptime!(form.keys);
    }
    write_rows(out, parts, &sums, &running, &task, kv_head, form);
}

/// Where the first chunk begins: what no row sees is left out.
#[cube]
fn first_key(task: &Task, window: u32, #[comptime] form: Form) -> usize {
    if comptime!(form.sight == Sight::Window) {
        let first = task.position + 1 - min(task.position + 1, window as usize);
        max(task.first, first / BLOCK_TOKENS * BLOCK_TOKENS)
    } else {
        task.first
    }
}

/// The result of the unit's rows and dimensions.
#[cube]
fn write_rows(
    out: &mut [f32],
    parts: &mut [f32],
    sums: &Array<f32>,
    running: &Running,
    task: &Task,
    kv_head: usize,
    #[comptime] form: Form,
) {
    let d = comptime!(form.dims.head_dim);
    let group = comptime!(form.group());
    #[unroll]
    for n in 0..comptime!(form.owned()) {
        let at = UNIT_POS as usize + n * UNITS;
        #[unroll]
        for r in 0..ROWS {
            let (row, i) = (at / d * ROWS + r, at % d);
            let (token, head) = (row / group, kv_head * group + row % group);
            if row < comptime!(form.rows()) && token < task.rows {
                write_row(
                    out,
                    parts,
                    sums[n * ROWS + r],
                    running,
                    task.row + token,
                    head,
                    row,
                    i,
                    form,
                );
            }
        }
    }
}

#[cube]
fn load_queries(
    queries: &mut Shared<[f32]>,
    q: &[f32],
    task: &Task,
    kv_head: usize,
    #[comptime] form: Form,
) {
    let d = comptime!(form.dims.head_dim);
    let group = comptime!(form.group());
    let mut at = UNIT_POS as usize;
    while at < comptime!(form.query_values()) {
        let (row, i) = (at / d, at % d);
        let (token, head) = (row / group, kv_head * group + row % group);
        let mut value = 0f32;
        if token < task.rows {
            value = q[((task.row + token) * comptime!(form.dims.heads) + head) * d + i];
        }
        queries[at] = value;
        at += UNITS;
    }
}

/// One number of the result.
#[cube]
fn write_row(
    out: &mut [f32],
    parts: &mut [f32],
    sum: f32,
    running: &Running,
    out_row: usize,
    head: usize,
    row: usize,
    i: usize,
    #[comptime] form: Form,
) {
    let d = comptime!(form.dims.head_dim);
    match comptime!(form.result) {
        Output::Whole => {
            let to = (out_row * comptime!(form.dims.heads) + head) * d + i;
            out[to] = sum / running.sum[row];
        }
        Output::Part => {
            let to = CUBE_POS_X as usize * comptime!(form.dims.heads) + head;
            out[to * d + i] = sum;
            if i == 0 {
                parts[2 * to] = running.most[row];
                parts[2 * to + 1] = running.sum[row];
            }
        }
    }
}

/// Joins the parts of rows: a cube per row (x) and head (y). The rows stand from `rows`
/// on in the step's buffer: row, first part, parts.
#[cube(launch_unchecked)]
pub(super) fn combine_kernel(
    sums: &[f32],
    parts: &[f32],
    step: &[u32],
    out: &mut [f32],
    rows: u32,
    #[comptime] dims: Dims,
) {
    let d = comptime!(dims.head_dim);
    let head = CUBE_POS_Y as usize;
    let at = rows as usize + CUBE_POS_X as usize * 3;
    let row = step[at] as usize;
    let first = step[at + 1] as usize;
    let count = step[at + 2] as usize;
    let mut most = NOTHING.runtime();
    for part in first..first + count {
        most = max(most, parts[2 * (part * comptime!(dims.heads) + head)]);
    }
    let mut divisor = 0f32;
    for part in first..first + count {
        let part = 2 * (part * comptime!(dims.heads) + head);
        divisor += parts[part + 1] * (parts[part] - most).exp();
    }
    let mut i = UNIT_POS as usize;
    while i < d {
        let mut total = 0f32;
        for part in first..first + count {
            let part = part * comptime!(dims.heads) + head;
            total += sums[part * d + i] * (parts[2 * part] - most).exp();
        }
        out[(row * comptime!(dims.heads) + head) * d + i] = total / divisor;
        i += CUBE_DIM as usize;
    }
}
