//! From an `Authorization` header to a principal: bindings and conversion only.
//!
//! It is the first leaf that a request meets. It does not know what the principal may do, and
//! holds no records: `directory` does.

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod component;
/// The decision, over a cache and the directory.
pub mod decide;
