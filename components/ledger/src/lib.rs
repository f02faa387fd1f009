//! Usage, applied once per request: the regional half of `billing`.
//!
//! It keeps what was used and tells it again. It does not know prices, keys or chats.

/// Which request is for whom.
pub mod routes;
/// The tables.
pub mod schema;
/// Events come in.
pub mod apply;
/// Usage goes out.
pub mod usage;
#[cfg(target_family = "wasm")]
mod component;
