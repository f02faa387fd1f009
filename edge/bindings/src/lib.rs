//! The border between the host and a component: bindings generated from WIT, the state
//! kept in a store, and one linker that serves every interface.
//!
//! It stands between `edge`, which decides, and wasmtime, which runs. It knows WIT names
//! and how to carry values across; it does NOT know a provider, a manifest, a route or a
//! policy: those arrive as the traits of [`port`]. It is a crate of its own because the
//! generated code takes long to compile and seldom changes.

mod generated;
mod http_client;
mod key_value;
mod linker;
mod llm;
pub mod port;
mod postgres;
mod progress;
mod redis;
mod sqlite;
mod state;
mod variables;

pub use linker::{linker, serves};
pub use progress::Progress;
pub use state::{Grants, State, StateParts};
