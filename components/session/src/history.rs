//! Load and append, over a cache, the records and an outbox.
//!
//! A turn is durable once it is in the outbox. The cache has it at once, so that the next question
//! of the same conversation sees it even while the region is away; where the cache has forgotten,
//! the outbox is emptied before the records are asked. It knows no HTTP and no model.
//!
//! Another point of presence may cache the same conversation: it is up to `FRESH_MS` behind. Two
//! turns of one conversation that end within the same instant may overwrite each other in the
//! cache, for as long; in the records they never do.

use serde::{Deserialize, Serialize};

use crate::wire::{Message, TURN_MESSAGES_MAX, Turn};

#[cfg(test)]
mod tests;

/// How long the cache is believed.
pub const FRESH_MS: u64 = 30_000;
/// How long it is believed while the records cannot be read.
pub const STALE_MS: u64 = 600_000;
/// Bytes of a cached history, at most. A longer one is loaded each time.
pub const ENTRY_BYTES_MAX: usize = 512 << 10;
/// Request ids that an entry remembers: as many as turns could end within `FRESH_MS`.
const APPLIED_MAX: usize = 64;

/// Why there is no history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    #[error("no such conversation in this project")]
    NotFound,
    #[error("the turn is longer than one may be")]
    TooLong,
    /// A retry can help. The words are for the operator.
    #[error("{0}")]
    Unavailable(String),
}

/// A key-value store that may forget.
pub trait Cache {
    fn get(&self, key: &str) -> impl Future<Output = Option<Vec<u8>>>;
    fn set(&self, key: &str, value: Vec<u8>) -> impl Future<Output = ()>;
    fn delete(&self, key: &str) -> impl Future<Output = ()>;
}

/// The regional half.
pub trait Records {
    fn messages(
        &self,
        project_id: &str,
        conversation_id: &str,
    ) -> impl Future<Output = Result<Vec<Message>, HistoryError>>;
}

/// Turns on their way to the records.
pub trait Queue {
    /// Durable when it returns; once by id.
    fn put(&self, id: &str, body: &str) -> impl Future<Output = Result<(), HistoryError>>;
    /// Delivers what waits; the number delivered.
    fn drain(&self) -> impl Future<Output = Result<u32, String>>;
}

/// A cached history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    read_at_ms: u64,
    messages: Vec<Message>,
    /// Requests whose turns were appended here.
    applied: Vec<String>,
}

/// What one call works with.
#[derive(Debug)]
pub struct History<C, R, Q> {
    pub cache: C,
    pub records: R,
    pub queue: Q,
    pub now_ms: u64,
}

impl<C: Cache, R: Records, Q: Queue> History<C, R, Q> {
    /// The stored messages, oldest first.
    pub async fn load(
        &self,
        project_id: &str,
        conversation_id: &str,
    ) -> Result<Vec<Message>, HistoryError> {
        let key = key(project_id, conversation_id);
        let entry = self.read(&key).await;
        if let Some(entry) = &entry
            && self.age_ms(entry) < FRESH_MS
        {
            return Ok(entry.messages.clone());
        }
        let messages = match self.fetch(project_id, conversation_id).await {
            Ok(messages) => messages,
            Err(HistoryError::Unavailable(words)) => {
                let stale = entry.filter(|entry| self.age_ms(entry) < STALE_MS);
                return stale
                    .map(|entry| entry.messages)
                    .ok_or(HistoryError::Unavailable(words));
            }
            Err(error) => {
                self.cache.delete(&key).await;
                return Err(error);
            }
        };
        let entry = Entry {
            read_at_ms: self.now_ms,
            messages,
            applied: Vec::new(),
        };
        self.write(&key, &entry).await;
        Ok(entry.messages)
    }

    /// Adds one turn. Durable when it returns; a second time, it changes nothing.
    pub async fn append(
        &self,
        project_id: &str,
        conversation_id: &str,
        request_id: &str,
        messages: Vec<Message>,
    ) -> Result<(), HistoryError> {
        if messages.is_empty() {
            return Ok(());
        }
        if messages.len() > TURN_MESSAGES_MAX {
            return Err(HistoryError::TooLong);
        }
        let turn = Turn {
            request_id: request_id.to_owned(),
            project_id: project_id.to_owned(),
            conversation_id: conversation_id.to_owned(),
            messages,
        };
        let body = serde_json::to_string(&turn)
            .map_err(|error| HistoryError::Unavailable(error.to_string()))?;
        // The same request id in two projects is two requests.
        self.queue
            .put(&format!("{project_id}/{request_id}"), &body)
            .await?;
        let key = key(project_id, conversation_id);
        if let Some(mut entry) = self.read(&key).await
            && !entry.applied.contains(&turn.request_id)
        {
            entry.messages.extend(turn.messages);
            entry.applied.push(turn.request_id);
            let excess = entry.applied.len().saturating_sub(APPLIED_MAX);
            entry.applied.drain(..excess);
            self.write(&key, &entry).await;
        }
        // What is not delivered now is delivered by the next tick, or by the next load.
        drop(self.queue.drain().await);
        Ok(())
    }

    /// The records do not know what waits here, so that goes first.
    async fn fetch(
        &self,
        project_id: &str,
        conversation_id: &str,
    ) -> Result<Vec<Message>, HistoryError> {
        self.queue
            .drain()
            .await
            .map_err(HistoryError::Unavailable)?;
        self.records.messages(project_id, conversation_id).await
    }

    fn age_ms(&self, entry: &Entry) -> u64 {
        self.now_ms.saturating_sub(entry.read_at_ms)
    }

    /// An entry that cannot be read is none.
    async fn read(&self, key: &str) -> Option<Entry> {
        serde_json::from_slice(&self.cache.get(key).await?).ok()
    }

    /// An entry that is too long, and the one that it replaces, are forgotten.
    async fn write(&self, key: &str, entry: &Entry) {
        match serde_json::to_vec(entry) {
            Ok(value) if value.len() <= ENTRY_BYTES_MAX => self.cache.set(key, value).await,
            _ => self.cache.delete(key).await,
        }
    }
}

/// The project is part of the name: a conversation's id alone finds nothing.
fn key(project_id: &str, conversation_id: &str) -> String {
    format!("session/{project_id}/{conversation_id}")
}
