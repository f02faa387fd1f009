//! Requests a minute and tokens a minute, per key and per project: bindings and conversion only.
//!
//! It is the second leaf that a request meets. It does not know keys, prices or models; who asks
//! was established by `auth`.

/// Taking from two windows or from neither, and giving back once.
pub mod admit;
#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod component;
/// A window as bytes.
pub mod stored;
/// One minute of one ceiling: pure arithmetic.
pub mod window;
