//! The CPU kernels of a layer, on slices, and the nouns that every backend's
//! operations share. Called by `backend/cpu.rs`; tensors end there.
//! Knows nothing of requests, of tokens' meaning, or of which layer calls.

pub(crate) mod attention;
pub(crate) mod dense_attention;
pub(crate) mod lanes;
pub(crate) mod linear;
pub(crate) mod pointwise;
mod shared;
pub mod workers;

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

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
    /// Bounds the scaled scores: `c · tanh(score / c)` (Gemma 2).
    pub softcap: Option<f32>,
    /// A token sees itself and the tokens before it, this many in all (Mistral's sliding
    /// window). At least one.
    pub window: Option<usize>,
}

/// The curve of a feed-forward's hidden values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// GELU by its approximation with tanh (Hendrycks and Gimpel, 2016).
    GeluTanh,
    /// GELU by the error function.
    GeluErf,
}

impl AttentionShape {
    /// The first position that a token at `position` sees.
    pub fn first_visible(&self, position: usize) -> usize {
        self.window
            .map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// Values in one row `[q heads | k heads | v heads]`.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Shape of a layer's key cache.
    pub fn keys(&self, blocks: usize) -> [usize; 4] {
        [blocks, self.kv_heads, self.head_dim, BLOCK_TOKENS]
    }

    /// Shape of the scales of a layer's int8 cache: of keys, of values, per token.
    pub fn scales(&self, blocks: usize) -> [usize; 4] {
        [blocks, self.kv_heads, 2, BLOCK_TOKENS]
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
    /// Invariant: the fields above do not change once a layer has run.
    pub prepared: Prepared,
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

/// What a backend made of a layout for the first layer, kept for the others. It is no
/// part of the layout: a copy begins without it, and all are equal.
#[derive(Default)]
pub struct Prepared(OnceLock<Box<dyn Any + Send + Sync>>);

impl Prepared {
    /// What was made before, or else what `make` makes, if it `suits`.
    pub fn or_make<T: Any + Clone + Send + Sync>(
        &self,
        suits: impl Fn(&T) -> bool,
        make: impl Fn() -> T,
    ) -> T {
        let kept = self.0.get_or_init(|| Box::new(make())).downcast_ref::<T>();
        match kept.filter(|kept| suits(kept)) {
            Some(kept) => kept.clone(),
            None => make(),
        }
    }
}

impl Clone for Prepared {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Prepared {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Prepared {}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared")
    }
}
