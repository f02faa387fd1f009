//! The door of a regional half: who asks, may they now, and OpenAI's shapes for what they get.
//!
//! It stands in front of a half's public routes and behind the host's HTTP. It does not know any
//! route, nor what a half keeps.

/// What goes out.
pub mod answer;
/// What came in.
pub mod asked;
#[cfg(target_family = "wasm")]
mod bindings;
/// The leaves and the host.
#[cfg(target_family = "wasm")]
pub mod door;
/// What went wrong, as OpenAI's error object.
pub mod error;
/// A JSON body's fields, read strictly.
pub mod fields;
/// The rate limit's state as headers.
pub mod limits;
/// Who asks.
pub mod principal;
/// Query parameters, read strictly.
pub mod query;

pub use answer::Answer;
pub use asked::Asked;
pub use error::ApiError;
pub use principal::{Principal, Role};
