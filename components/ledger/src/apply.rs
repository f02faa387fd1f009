//! Events come in: a batch is applied whole, and each request once.
//!
//! It stands behind `billing`'s outbox, which delivers at least once and in any order after a
//! failure. It does not know what the amounts cost.

use records::{Database, Value};
use regional::{Answer, ApiError};
use serde::Deserialize;
use serde_json::json;

/// Events of one batch, at most.
const ITEMS_MAX: usize = 1_000;
/// Bytes of an id or a name, at most.
const NAME_BYTES_MAX: usize = 256;
/// The year 9999.
const STARTED_AT_MS_MAX: i64 = 253_402_300_799_999;

const COLUMNS: &str = "request_id, organization_id, project_id, user_id, key_id, model, backend,
    prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, model_calls, tool_calls,
    started_at_ms, duration_ms, applied_at_ms, estimated";
/// A row of parameters for them.
const ROW: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// One statement, so a batch is applied whole or not at all, and two of the same race to one row.
/// (Its rows as one JSON text would be shorter, and take SQLite 2.6 times as long.)
fn insert(rows: usize) -> String {
    let rows = vec![ROW; rows].join(", ");
    format!(
        "INSERT INTO usage ({COLUMNS}) VALUES {rows}
         ON CONFLICT (request_id) DO NOTHING RETURNING 1"
    )
}

#[derive(Deserialize)]
struct Batch {
    items: Vec<Event>,
}

/// What was used by one request: the wire form of `usage-event` in wit/billing.wit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
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
    /// Events that an older edge left in its outbox lack it.
    #[serde(default)]
    estimated: bool,
    model_calls: u32,
    tool_calls: u32,
    started_at_ms: i64,
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
    let items = batch.items.len();
    let applied = match items {
        0 => 0,
        _ => {
            let rows = batch.items.into_iter().flat_map(|event| event.row(now_ms));
            let applied = database.execute(&insert(items), rows.collect()).await?;
            applied.len()
        }
    };
    Ok(Answer::ok(
        json!({ "applied": applied, "known": items - applied }),
    ))
}

impl Event {
    /// Its values, in the order of [`COLUMNS`].
    fn row(self, now_ms: i64) -> [Value; 17] {
        [
            self.request_id.into(),
            self.organization_id.into(),
            self.project_id.into(),
            self.user_id.into(),
            self.key_id.into(),
            self.model.into(),
            self.backend.into(),
            self.prompt_tokens.into(),
            self.cached_tokens.into(),
            self.completion_tokens.into(),
            self.reasoning_tokens.into(),
            self.model_calls.into(),
            self.tool_calls.into(),
            self.started_at_ms.into(),
            self.duration_ms.into(),
            now_ms.into(),
            i64::from(self.estimated).into(),
        ]
    }

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
        if !(0..=STARTED_AT_MS_MAX).contains(&self.started_at_ms) {
            let name = format!("items[{index}].started_at_ms");
            return Err(ApiError::invalid(name, "'started_at_ms' is no instant."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
