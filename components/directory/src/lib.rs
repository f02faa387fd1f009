//! Organisations, projects and keys: the regional half of `auth`.
//!
//! It keeps the records that `auth` caches. It does not know chats, models or usage.

/// Which request is for whom.
pub mod routes;
/// The tables.
pub mod schema;
/// The first key.
pub mod bootstrap;
/// Whose key is this?
pub mod verify;
/// Whether the key of a request still may change something.
pub mod authority;
/// A project's keys, for its owner.
pub mod keys;
/// The persons for whom keys are made.
pub mod users;
/// An organisation's projects, for its owner.
pub mod projects;
/// A page of a list.
pub mod page;
/// New ids and keys.
pub mod make;
#[cfg(target_family = "wasm")]
mod component;
#[cfg(test)]
mod tests;
