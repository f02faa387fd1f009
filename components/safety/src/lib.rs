//! What may go to a model, and what may come back: bindings and conversion only.
//!
//! The gateway has every prompt screened before the first call of the model, and every answer
//! guarded while it streams. This component knows no user, no model and no conversation; what it
//! finds is counted, and never logged or stored.

/// The installation's choice: what is masked, which phrases are refused.
pub mod policy;

/// The text as it is read, beside the text as it is written.
pub mod view;
/// Secrets and personal data, replaced by placeholders.
pub mod mask;
/// Phrases that neither a prompt nor an answer may contain.
pub mod block_list;

/// A whole prompt.
pub mod screen;
/// One answer, chunk by chunk.
pub mod guard;

#[cfg(target_family = "wasm")]
mod component;
