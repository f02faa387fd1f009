//! Events come in: a batch is applied whole, and each request once.
//!
//! It stands behind `billing`'s outbox, which delivers at least once and in any order after a
//! failure. It does not know what the amounts cost.

use records::{Database, Value};
use regional::{Answer, ApiError};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Events of one batch, at most.
const ITEMS_MAX: usize = 1_000;
/// Bytes of an id or a name, at most.
const NAME_BYTES_MAX: usize = 256;
/// The year 9999.
const STARTED_AT_MS_MAX: u64 = 253_402_300_799_999;

/// One statement, so a batch is applied whole or not at all, and two of the same race to one row.
const INSERT: &str = "INSERT INTO usage
        (request_id, organization_id, project_id, user_id, key_id, model, backend,
         prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, model_calls,
         tool_calls, started_at_ms, duration_ms, applied_at_ms)
    SELECT value ->> 'request_id', value ->> 'organization_id', value ->> 'project_id',
           value ->> 'user_id', value ->> 'key_id', value ->> 'model', value ->> 'backend',
           value ->> 'prompt_tokens', value ->> 'cached_tokens', value ->> 'completion_tokens',
           value ->> 'reasoning_tokens', value ->> 'model_calls', value ->> 'tool_calls',
           value ->> 'started_at_ms', value ->> 'duration_ms', ?2
    FROM json_each(?1) WHERE true
    ON CONFLICT (request_id) DO NOTHING
    RETURNING 1";

#[derive(Deserialize)]
struct Batch {
    items: Vec<Event>,
}

/// What was used by one request: the wire form of `usage-event` in wit/billing.wit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Event {
    request_id: String,
    organization_id: String,
    project_id: String,
    user_id: Option<String>,
    key_id: String,
    model: String,
    backend: String,
    prompt_tokens: u32,
    cached_tokens: u32,
    completion_tokens: u32,
    reasoning_tokens: u32,
    model_calls: u32,
    tool_calls: u32,
    started_at_ms: u64,
    duration_ms: u32,
}

/// `POST /internal/usage`.
pub async fn apply(database: &impl Database, body: &[u8], now_ms: i64) -> Result<Answer, ApiError> {
    let batch: Batch = serde_json::from_slice(body)
        .map_err(|error| ApiError::not_json(format!("not a batch of usage: {error}")))?;
    if batch.items.len() > ITEMS_MAX {
        let message = format!("A batch has at most {ITEMS_MAX} items.");
        return Err(ApiError::invalid("items", message));
    }
    for (index, event) in batch.items.iter().enumerate() {
        event.check(index)?;
    }
    let items = serde_json::to_string(&batch.items)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let applied = database
        .execute(INSERT, vec![Value::from(items), Value::from(now_ms)])
        .await?;
    let known = batch.items.len() - applied.len();
    Ok(Answer::ok(
        json!({ "applied": applied.len(), "known": known }),
    ))
}

impl Event {
    fn check(&self, index: usize) -> Result<(), ApiError> {
        let names = [
            ("request_id", &self.request_id),
            ("organization_id", &self.organization_id),
            ("project_id", &self.project_id),
            ("key_id", &self.key_id),
            ("model", &self.model),
            ("backend", &self.backend),
        ];
        let user = self.user_id.iter().map(|user| ("user_id", user));
        for (name, text) in names.into_iter().chain(user) {
            if text.is_empty() || text.len() > NAME_BYTES_MAX {
                let message = format!("'{name}' must have 1 to {NAME_BYTES_MAX} bytes.");
                return Err(ApiError::invalid(format!("items[{index}].{name}"), message));
            }
        }
        if self.started_at_ms > STARTED_AT_MS_MAX {
            let name = format!("items[{index}].started_at_ms");
            return Err(ApiError::invalid(name, "'started_at_ms' is no instant."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
