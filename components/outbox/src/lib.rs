//! A durable outbox: what must not be lost on its way from the edge to a region.
//!
//! It stands behind the leaves `session` and `billing`, whose records belong to another
//! component. `put` is durable when it returns; `drain` delivers in order, at least once. It does
//! not know what the bodies mean: that each is applied once is the receiver's, by its id.

/// The outbox inside a component: the host's database, clock and HTTP.
#[cfg(target_family = "wasm")]
mod component;
/// Batches, and what an answer means for them.
pub mod delivery;
/// The bodies that wait, in SQLite.
pub mod queue;

pub use delivery::{SendError, Transport};

/// Bodies that wait in one queue, at most. At 100 requests a second that is a quarter of an hour
/// without the region; then answers end with an error, because they could not be accounted for.
pub const WAITING_MAX: u32 = 100_000;
/// Refused bodies that are kept for the operator, per queue; the oldest make room.
pub const DEAD_MAX: u32 = 10_000;
/// Bytes of one body, at most.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of one id, at most.
pub const ID_BYTES_MAX: usize = 200;

/// A queue and where its bodies go.
#[derive(Debug, Clone, Copy)]
pub struct Outbox {
    queue: &'static str,
    url: &'static str,
}

impl Outbox {
    /// A queue by its name in the database; bodies are POSTed to `url`.
    pub const fn new(queue: &'static str, url: &'static str) -> Self {
        Self { queue, url }
    }
}

/// Why a body was not taken or not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// As many bodies wait as may. A retry helps once the receiver answers again.
    #[error("{WAITING_MAX} items wait in the outbox already")]
    Full,
    /// The body is longer than [`BODY_BYTES_MAX`].
    #[error("an outbox item of {0} bytes is over the maximum of {BODY_BYTES_MAX}")]
    TooLong(usize),
    /// The id is empty or longer than [`ID_BYTES_MAX`].
    #[error("an outbox id has 1 to {ID_BYTES_MAX} bytes")]
    BadId,
    /// The body is not one JSON value.
    #[error("an outbox item must be one JSON value")]
    NotJson,
    /// The database failed. Nothing was taken.
    #[error("the outbox cannot be read or written: {0}")]
    Database(#[from] records::DatabaseError),
    /// The receiver did not take the next batch; it stays. `delivered` went out before it.
    #[error("the receiver did not answer ({reason}) after {delivered} items")]
    Undelivered {
        /// Items delivered by this call before it stopped.
        delivered: u32,
        /// For the operator.
        reason: String,
    },
}
