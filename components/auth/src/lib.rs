//! From an `Authorization` header to a principal: bindings and conversion only.
//!
//! It is the first leaf that a request meets. It does not know what the principal may do, and
//! holds no records: `directory` does.

#[cfg(all(target_family = "wasm", feature = "component"))]
mod bindings;
#[cfg(all(target_family = "wasm", feature = "component"))]
mod component;
/// The decision, over a cache and the directory.
pub mod decide;
/// The written form of a key.
pub mod key;
/// What `auth` and `directory` say to each other.
pub mod wire;
