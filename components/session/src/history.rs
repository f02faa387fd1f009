//! Load and append, over a cache, the records and an outbox.
//!
//! A turn is durable once it is in the outbox. The cache has it at once, so that the next question
//! of the same conversation sees it even while the region is away; where the cache has forgotten,
//! the outbox is emptied before the records are asked. It knows no HTTP and no model.
//!
//! Another point of presence may cache the same conversation: it is up to `FRESH_MS` behind. Two
//! turns of one conversation that end within the same instant may overwrite each other in the
//! cache, for as long; in the records they never do.
//!
//! A history is the newest part of a conversation, so that what is in memory does not grow with
//! what is stored.

use serde::{Deserialize, Serialize};

use crate::wire::{Message, Messages, Room, TURN_MESSAGES_MAX, Turn};

#[cfg(test)]
mod tests;

/// How long the cache is believed.
pub const FRESH_MS: u64 = 30_000;
/// How long it is believed while the records cannot be read.
pub const STALE_MS: u64 = 600_000;
/// How long it is believed whether a project has room: for so long turns may be answered that
/// exceed its quota. They are stored all the same.
pub const ROOM_FRESH_MS: u64 = 5_000;
/// Bytes of a cached history, at most. A longer one is loaded each time.
pub const ENTRY_BYTES_MAX: usize = 512 << 10;
/// Request ids that an entry remembers: as many as turns could end within `FRESH_MS`.
const APPLIED_MAX: usize = 64;

/// Why there is no history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    #[error("no such conversation for this principal")]
    NotFound,
    #[error("the project stores all that it may")]
    Full,
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
    /// The newest messages, within `HISTORY_BYTES_MAX`.
    fn messages(
        &self,
        project_id: &str,
        conversation_id: &str,
    ) -> impl Future<Output = Result<Messages, HistoryError>>;
    fn room(&self, project_id: &str) -> impl Future<Output = Result<Room, HistoryError>>;
}

/// Who asks, as far as it matters for what they may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader<'a> {
    pub project_id: &'a str,
    /// The user, or the key of no user.
    pub owner: &'a str,
    /// An owner of the organisation reads every conversation of the project.
    pub sees_all: bool,
}

/// Whether a turn is a part of the prompts that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    /// It is kept as refused.
    Refused,
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
    /// None is the whole project.
    owner: Option<String>,
    messages: Vec<Message>,
    /// Requests whose turns were appended here.
    applied: Vec<String>,
}

impl Entry {
    /// Another's conversation is not there, also where the cache has it.
    fn of(self, who: Reader<'_>) -> Result<Vec<Message>, HistoryError> {
        let is_own = self.owner.as_deref().is_none_or(|owner| owner == who.owner);
        match is_own || who.sees_all {
            true => Ok(self.messages),
            false => Err(HistoryError::NotFound),
        }
    }
}

/// What the records said of a project's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownRoom {
    read_at_ms: u64,
    is_full: bool,
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
    /// The newest stored messages, oldest first. Fails where the turn that they are loaded for
    /// would have no place.
    pub async fn load(
        &self,
        who: Reader<'_>,
        conversation_id: &str,
    ) -> Result<Vec<Message>, HistoryError> {
        let key = key(who.project_id, conversation_id);
        let entry = self.read(&key).await;
        let entry = match entry {
            Some(entry) if self.age_ms(entry.read_at_ms) < FRESH_MS => entry,
            entry => self.refresh(&key, entry, who, conversation_id).await?,
        };
        let messages = entry.of(who)?;
        match self.is_full(who.project_id).await {
            true => Err(HistoryError::Full),
            false => Ok(messages),
        }
    }

    /// What the records know now; or, while they are away, the entry that is stale.
    async fn refresh(
        &self,
        key: &str,
        stale: Option<Entry>,
        who: Reader<'_>,
        conversation_id: &str,
    ) -> Result<Entry, HistoryError> {
        let read = match self.fetch(who.project_id, conversation_id).await {
            Ok(read) => read,
            Err(HistoryError::Unavailable(words)) => {
                let stale = stale.filter(|entry| self.age_ms(entry.read_at_ms) < STALE_MS);
                return stale.ok_or(HistoryError::Unavailable(words));
            }
            Err(error) => {
                self.cache.delete(key).await;
                return Err(error);
            }
        };
        self.write_room(who.project_id, read.is_full).await;
        let entry = Entry {
            read_at_ms: self.now_ms,
            owner: read.owner,
            messages: read.messages,
            applied: Vec::new(),
        };
        self.write(key, &entry).await;
        Ok(entry)
    }

    /// Where the records cannot say, there is room: what is answered waits in the outbox.
    async fn is_full(&self, project_id: &str) -> bool {
        let known = self.cache.get(&room_key(project_id)).await;
        let known = known.and_then(|value| serde_json::from_slice::<KnownRoom>(&value).ok());
        if let Some(known) = known
            && self.age_ms(known.read_at_ms) < ROOM_FRESH_MS
        {
            return known.is_full;
        }
        let Ok(Room { is_full }) = self.records.room(project_id).await else {
            return false;
        };
        self.write_room(project_id, is_full).await;
        is_full
    }

    async fn write_room(&self, project_id: &str, is_full: bool) {
        let read_at_ms = self.now_ms;
        let known = KnownRoom {
            read_at_ms,
            is_full,
        };
        if let Ok(value) = serde_json::to_vec(&known) {
            self.cache.set(&room_key(project_id), value).await;
        }
    }

    /// Adds one turn. Durable when it returns; a second time, it changes nothing.
    pub async fn append(
        &self,
        project_id: &str,
        conversation_id: &str,
        request_id: &str,
        messages: Vec<Message>,
        outcome: Outcome,
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
            refused: outcome == Outcome::Refused,
        };
        let body = serde_json::to_string(&turn)
            .map_err(|error| HistoryError::Unavailable(error.to_string()))?;
        // The same request id in two projects is two requests.
        self.queue
            .put(&format!("{project_id}/{request_id}"), &body)
            .await?;
        let key = key(project_id, conversation_id);
        if outcome == Outcome::Answered
            && let Some(mut entry) = self.read(&key).await
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
    ) -> Result<Messages, HistoryError> {
        self.queue
            .drain()
            .await
            .map_err(HistoryError::Unavailable)?;
        self.records.messages(project_id, conversation_id).await
    }

    fn age_ms(&self, read_at_ms: u64) -> u64 {
        self.now_ms.saturating_sub(read_at_ms)
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

fn room_key(project_id: &str) -> String {
    format!("session-room/{project_id}")
}
