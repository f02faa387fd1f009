//! What was used, on its way to `ledger`: bindings and conversion only.
//!
//! It is the last leaf that a request meets. It does not know prices, and keeps nothing but the
//! events that wait.

/// The wire form of a usage event.
pub mod event;
#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod component;
