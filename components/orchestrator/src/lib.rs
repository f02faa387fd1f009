//! What happens next in a turn: bindings and conversion only.
//!
//! The gateway makes one `turn` for every chat request, after `safety` has seen the prompt, and
//! asks it after each step. It does no IO, reads no clock, and knows neither HTTP, nor the
//! messages, nor which tools exist.

/// The state machine of one turn.
pub mod turn;

#[cfg(target_family = "wasm")]
mod component;
