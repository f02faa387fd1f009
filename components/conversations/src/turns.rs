//! What the edge hands in: whole turns, once each.
//!
//! It stands behind `session` and its outbox, which delivers at least once. A turn that was
//! answered is stored, whatever the project's quota is. It does not know how much of a history
//! fits a model.

use crate::given::{Item, Kind, TEXT_BYTES_MAX};
use crate::items;
use records::{Database, Value};
use regional::{Answer, ApiError};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Turns of one batch, at most.
const TURNS_MAX: usize = 1_000;
/// Messages of one turn, at most: a bounded tool loop has far fewer.
const MESSAGES_MAX: usize = 2_048;
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
    /// The policy refused it: it is shown, and is no part of a prompt.
    #[serde(default)]
    refused: bool,
}

/// Where `session` caches a history at this edge (golden/cache-key.txt there).
pub fn cached_history(project_id: &str, conversation_id: &str) -> String {
    format!("session/{project_id}/{conversation_id}")
}

/// Where `session` caches whether a project has room (golden/room-key.txt there).
pub fn cached_room(project_id: &str) -> String {
    format!("session-room/{project_id}")
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
    let mut taken = Vec::new();
    for turn in &batch.items {
        if turn.messages.len() > MESSAGES_MAX {
            return Err(ApiError::invalid("messages", "too many messages in a turn"));
        }
        for (index, message) in turn.messages.iter().enumerate() {
            let items = take_apart(index, message)?;
            taken.extend(items.into_iter().map(|item| (turn, item)));
        }
    }
    let rows = taken.iter().map(|(turn, item)| {
        let (project, conversation) = (&turn.project_id, &turn.conversation_id);
        item.new_row(project, conversation, &turn.request_id, turn.refused)
    });
    let rows = items::to_json(&rows.collect::<Vec<_>>())?;
    let parameters = vec![Value::from(rows), Value::from(now_ms)];
    let stored = database.execute(items::INSERT_TURNS, parameters).await?;
    Ok(Answer::ok(json!({"stored": stored.len()})))
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
