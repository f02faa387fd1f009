//! The CPU kernels of a layer, on slices, and the nouns that every backend's
//! operations share. Called by `backend/cpu.rs`; tensors end there.
//! Knows nothing of requests, of tokens' meaning, or of which layer calls.

pub(crate) mod attention;
pub(crate) mod lanes;
pub(crate) mod linear;
pub(crate) mod pointwise;
mod shared;

use std::ops::Range;

/// Tokens in one block of the KV cache.
pub const BLOCK_TOKENS: usize = 16;

/// The shape of one attention layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Factor on the scores, 1/√head_dim for Llama.
    pub scale: f32,
}

impl AttentionShape {
    /// Values in one row `[q heads | k heads | v heads]`.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Shape of a layer's key cache.
    pub fn keys(&self, blocks: usize) -> [usize; 4] {
        [blocks, self.kv_heads, self.head_dim, BLOCK_TOKENS]
    }

    /// Shape of a layer's value cache.
    pub fn values(&self, blocks: usize) -> [usize; 4] {
        [
            blocks,
            self.kv_heads,
            BLOCK_TOKENS,
            linear::padded(self.head_dim),
        ]
    }
}

/// Where each row of a step's flattened `[tokens, hidden]` tensor stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepLayout {
    /// Position in its own sequence, per row.
    pub positions: Vec<u32>,
    /// Slot in the cache (`block · 16 + offset`), per row.
    pub slots: Vec<u32>,
    pub spans: Vec<Span>,
}

/// The rows of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub rows: Range<usize>,
    /// Tokens already in the cache before the first row.
    pub context: usize,
    /// The sequence's blocks in order, covering at least `context + rows`.
    pub blocks: Vec<u32>,
}

impl StepLayout {
    pub fn tokens(&self) -> usize {
        self.positions.len()
    }
}
