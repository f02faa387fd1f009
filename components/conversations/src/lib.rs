//! Conversations and their items: the regional half of `session`.
//!
//! It keeps what was said. It does not know models, tokens or who is online: `session` trims a
//! history and caches it.

/// Which request is for whom.
pub mod routes;
/// The tables.
pub mod schema;
/// What a project may store.
pub mod quota;
/// Conversations, for their owner.
pub mod conversations;
/// A conversation's items, for its owner.
pub mod items;
/// What a client may write into an item.
pub mod given;
/// Whole turns from the edge.
pub mod turns;
/// The newest part of a conversation, for the edge.
pub mod history;
/// Which part of a list.
pub mod page;
#[cfg(target_family = "wasm")]
mod component;
#[cfg(test)]
mod tests;
