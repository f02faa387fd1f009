//! Which model, on which backend: bindings and conversion only.
//!
//! The gateway asks it when the orchestrator says that a model is to be called, tries the targets
//! in order, and reports what came of each. It never sees a prompt but for its length and the last
//! question, and no answer at all.

/// The variables, parsed and validated whole.
pub mod config;
/// How a backend departs from OpenAI's API.
pub mod dialect;
/// What each backend serves, kept in the cache.
pub mod discovery;
/// Circuit breakers, kept in the cache.
pub mod health;
/// Simple or complex: what `auto` means.
pub mod difficulty;
/// The order of the targets.
pub mod choose;
/// The steps of one call, over a cache, a clock and the backends.
pub mod router;

#[cfg(target_family = "wasm")]
mod component;
