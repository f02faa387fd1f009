//! A conversation's history: bindings and conversion only.
//!
//! The gateway loads a history before the prompt is screened, trims it to the model's window, and
//! appends the turn after the answer. It knows no model but by its window, and no user but by the
//! project; the records are kept by `conversations`.

/// What this leaf and `conversations` say to each other.
pub mod wire;

/// Load and append, over a cache, the records and an outbox.
pub mod history;
/// What is left out so that the rest fits.
pub mod trim;
/// Tokens, estimated.
pub mod tokens;

#[cfg(target_family = "wasm")]
mod component;
