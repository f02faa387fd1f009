//! Attention of whole sequences at once, where every token sees every other of its own
//! sequence: what an encoder computes. No cache and no rotation.
//!
//! Invariant: a sequence's bits depend on that sequence alone.
//! Knows nothing of layers or requests.

#![expect(
    unsafe_code,
    reason = "tasks write disjoint rows and heads of the same buffer"
)]

use super::AttentionShape;
use super::lanes::{Kernel, Lanes, Level, launch};
use super::linear::{Packed, linear, pack};
use super::pointwise::exp;
use super::shared::SharedMut;
use super::workers;

/// Attends within each of the sequences whose `lengths` follow each other in the rows
/// `[q heads | k heads | v heads]` of `qkv`; `out` rows are `[q heads]`.
pub(crate) fn dense_attention(
    level: Level,
    shape: &AttentionShape,
    lengths: &[usize],
    qkv: &[f32],
    out: &mut [f32],
) {
    let rows: usize = lengths.iter().sum();
    assert_eq!(qkv.len(), rows * shape.qkv_width(), "qkv");
    assert_eq!(out.len(), rows * shape.heads * shape.head_dim, "output");
    let out = SharedMut::new(out);
    let mut first = 0;
    let mut tasks = Vec::new();
    for rows in lengths {
        tasks.extend((0..shape.heads).map(|head| Head {
            shape,
            qkv,
            first,
            rows: *rows,
            head,
        }));
        first += rows;
    }
    workers::for_each(tasks.len(), |task| tasks[task].run(level, &out));
}

/// One head of one sequence.
struct Head<'a> {
    shape: &'a AttentionShape,
    qkv: &'a [f32],
    /// The sequence's rows.
    first: usize,
    rows: usize,
    head: usize,
}

impl Head<'_> {
    fn run(&self, level: Level, out: &SharedMut<'_, f32>) {
        let (shape, rows, d) = (self.shape, self.rows, self.shape.head_dim);
        let kv_head = self.head * shape.kv_heads / shape.heads;
        let q = self.part(self.head);
        let k = pack(&self.part(shape.heads + kv_head), rows, d);
        let mut scores = vec![0f32; rows * rows];
        linear(level, &q, Packed::F32(&k), &mut scores, rows, d);
        for row in scores.chunks_exact_mut(rows) {
            let scale = shape.scale;
            launch(level, Softmax { row, scale });
        }
        let v = self.part(shape.heads + shape.kv_heads + kv_head);
        let mut columns = vec![0f32; v.len()];
        for (i, row) in v.chunks_exact(d).enumerate() {
            for (j, value) in row.iter().enumerate() {
                columns[j * rows + i] = *value;
            }
        }
        let v = pack(&columns, d, rows);
        let mut sums = vec![0f32; rows * d];
        linear(level, &scores, Packed::F32(&v), &mut sums, d, rows);
        for (i, row) in sums.chunks_exact(d).enumerate() {
            let at = ((self.first + i) * shape.heads + self.head) * d;
            // SAFETY: a row and head belong to exactly one task.
            unsafe { out.slice(at, d) }.copy_from_slice(row);
        }
    }

    /// `[rows, head_dim]` of the part `index` of the rows, counted in heads.
    fn part(&self, index: usize) -> Vec<f32> {
        let (width, d) = (self.shape.qkv_width(), self.shape.head_dim);
        let rows = &self.qkv[self.first * width..(self.first + self.rows) * width];
        let rows = rows.chunks_exact(width);
        rows.flat_map(|row| &row[index * d..(index + 1) * d])
            .copied()
            .collect()
    }
}

/// The softmax of `scale` times a row of scores, in place.
struct Softmax<'a> {
    row: &'a mut [f32],
    scale: f32,
}

impl Kernel for Softmax<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let max = self.row.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
        for score in self.row.iter_mut() {
            *score = exp((*score - max) * self.scale);
        }
        let sum: f32 = self.row.iter().sum();
        for score in self.row.iter_mut() {
            *score /= sum;
        }
    }
}
