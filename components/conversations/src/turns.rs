//! What the edge hands in and asks for: whole turns, once each, and whole histories.
//!
//! It stands behind `session` and its outbox, which delivers at least once. It does not know how
//! much of a history fits a model.

use crate::conversations::must_exist;
use crate::given::{Item, Kind, TEXT_BYTES_MAX};
use crate::items;
use records::{Database, DatabaseError, Row, Value};
use regional::{Answer, ApiError};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// Turns of one batch, at most.
const TURNS_MAX: usize = 1_000;
/// Messages of one turn, at most: a bounded tool loop has far fewer.
const MESSAGES_MAX: usize = 2_048;
/// The newest items of a history: more than any model's window holds.
const HISTORY_ITEMS_MAX: i64 = 2_000;

const HISTORY: &str = "SELECT request_id, message_index, type, role, name, call_id, text FROM (
        SELECT * FROM items WHERE conversation_id = ?1 ORDER BY seq DESC LIMIT ?2
    ) ORDER BY seq";

/// One message, as `session` sends and gets it: the wire form of `message` in wit/types.wit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Its words.
    pub content: String,
    /// The participant's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An assistant's calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// One call, its arguments as the model wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Its id.
    pub id: String,
    /// The function.
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

#[derive(Deserialize)]
struct Batch {
    items: Vec<Turn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    request_id: String,
    project_id: String,
    conversation_id: String,
    messages: Vec<Message>,
}

/// Where `session` caches a history at this edge (golden/cache-key.txt there).
pub fn cached_history(project_id: &str, conversation_id: &str) -> String {
    format!("session/{project_id}/{conversation_id}")
}

/// `POST /internal/turns`: stores each turn once. A turn of a conversation that was deleted
/// meanwhile is dropped.
pub async fn apply(database: &impl Database, body: &[u8], now_ms: i64) -> Result<Answer, ApiError> {
    let batch: Batch = serde_json::from_slice(body)
        .map_err(|error| ApiError::not_json(format!("not a batch of turns: {error}")))?;
    if batch.items.len() > TURNS_MAX {
        return Err(ApiError::invalid(
            "items",
            format!("at most {TURNS_MAX} turns in a batch"),
        ));
    }
    let mut rows = Vec::new();
    for turn in &batch.items {
        if turn.messages.len() > MESSAGES_MAX {
            return Err(ApiError::invalid("messages", "too many messages in a turn"));
        }
        for (index, message) in turn.messages.iter().enumerate() {
            let row = |item: Item| {
                items::to_row(
                    &turn.project_id,
                    &turn.conversation_id,
                    &turn.request_id,
                    &item,
                )
            };
            rows.extend(take_apart(index, message)?.into_iter().map(row));
        }
    }
    let parameters = vec![
        Value::from(Json::Array(rows).to_string()),
        Value::from(now_ms),
    ];
    let stored = database.execute(items::INSERT, parameters).await?;
    Ok(Answer::ok(json!({"stored": stored.len()})))
}

/// `GET /internal/projects/{project}/conversations/{id}/messages`: oldest first.
pub async fn history(
    database: &impl Database,
    project: &str,
    conversation: &str,
) -> Result<Answer, ApiError> {
    must_exist(database, project, conversation).await?;
    let parameters = vec![Value::from(conversation), Value::from(HISTORY_ITEMS_MAX)];
    let rows = database.execute(HISTORY, parameters).await?;
    Ok(Answer::ok(json!({"messages": put_together(&rows)?})))
}

/// A message as items: its words, then its calls.
fn take_apart(message_index: usize, message: &Message) -> Result<Vec<Item>, ApiError> {
    let known = ["system", "developer", "user", "assistant", "tool"];
    let bytes = message
        .tool_calls
        .iter()
        .map(|call| call.arguments.len())
        .sum::<usize>();
    if !known.contains(&message.role.as_str()) || message.content.len() + bytes > TEXT_BYTES_MAX {
        return Err(ApiError::invalid(
            "messages",
            "a message has a wrong role or is too long",
        ));
    }
    let item =
        |part_index, kind, name: Option<&String>, call_id: Option<&String>, text: &str| Item {
            message_index,
            part_index,
            kind,
            role: message.role.clone(),
            name: name.cloned(),
            call_id: call_id.cloned(),
            text: text.to_owned(),
        };
    let mut parts = Vec::new();
    if let Some(call_id) = &message.tool_call_id {
        parts.push(item(
            0,
            Kind::FunctionCallOutput,
            None,
            Some(call_id),
            &message.content,
        ));
        return Ok(parts);
    }
    if !message.content.is_empty() || message.tool_calls.is_empty() {
        parts.push(item(
            0,
            Kind::Message,
            message.name.as_ref(),
            None,
            &message.content,
        ));
    }
    for call in &message.tool_calls {
        let (name, id) = (Some(&call.name), Some(&call.id));
        parts.push(item(
            parts.len(),
            Kind::FunctionCall,
            name,
            id,
            &call.arguments,
        ));
    }
    Ok(parts)
}

/// Items in order as messages: the items of one message follow each other.
fn put_together(rows: &[Row]) -> Result<Vec<Message>, DatabaseError> {
    let mut messages: Vec<Message> = Vec::new();
    let mut last: Option<(&str, i64)> = None;
    for row in rows {
        let place = (row.text(0)?, row.integer(1)?);
        if last != Some(place) {
            last = Some(place);
            messages.push(Message {
                role: row.text(3)?.to_owned(),
                content: String::new(),
                name: None,
                tool_calls: Vec::new(),
                tool_call_id: None,
            });
        }
        let Some(message) = messages.last_mut() else {
            continue;
        };
        let text = row.text(6)?.to_owned();
        match Kind::parse(row.text(2)?) {
            Some(Kind::FunctionCall) => message.tool_calls.push(ToolCall {
                id: row.text(5)?.to_owned(),
                name: row.text(4)?.to_owned(),
                arguments: text,
            }),
            Some(Kind::FunctionCallOutput) => {
                message.tool_call_id = Some(row.text(5)?.to_owned());
                message.content = text;
            }
            Some(Kind::Message) | None => {
                message.name = row.optional_text(4)?.map(str::to_owned);
                message.content = text;
            }
        }
    }
    Ok(messages)
}
