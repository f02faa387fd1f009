//! An API key's written form, and what `auth` and `directory` say to each other about one.
//!
//! It stands under both. It does not know which keys exist. (It is a crate of its own because a
//! component cannot be a library of another: their artefacts would overwrite each other.)

/// The written form.
pub mod key;
/// The private route's JSON.
pub mod wire;

pub use key::Key;
