//! Functions that the platform runs for the model: bindings and conversion only.
//!
//! The gateway asks what may be offered before it calls the model, and runs here what the
//! orchestrator then tells it to. It knows no model, no message and no HTTP; each call is a value
//! in and a text out.

/// Names, schemas, arguments: which tool a call means.
pub mod catalog;

/// The tool `calculator`.
pub mod calculator;
/// The grammar of an expression, and its value.
pub mod expression;
/// Exact numbers of a bounded size.
pub mod number;

/// The tool `clock`.
pub mod clock;

#[cfg(target_family = "wasm")]
mod component;
