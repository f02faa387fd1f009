//! What a client may write into a conversation: OpenAI's input items, read strictly.
//!
//! It stands between a body's JSON and [`items`](crate::items). It does not know the database.

use crate::items::NewItem;
use regional::ApiError;
use serde_json::Value as Json;

/// As OpenAI: items in one request.
const ITEMS_MAX: usize = 20;
/// Bytes of one item's text, at most.
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 20;
/// Bytes of a name or an id, at most.
const NAME_BYTES_MAX: usize = 128;

/// What an item is. The names are OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody's words.
    Message,
    /// The model calls a function.
    FunctionCall,
    /// What the function answered.
    FunctionCallOutput,
}

impl Kind {
    /// OpenAI's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::FunctionCall => "function_call",
            Self::FunctionCallOutput => "function_call_output",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Message, Self::FunctionCall, Self::FunctionCallOutput];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

/// One item, and which message of its turn it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Items of one message have the same.
    pub message_index: usize,
    /// Their order within it.
    pub part_index: usize,
    /// What it is.
    pub kind: Kind,
    /// Who speaks: `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// A message's speaker, or a call's function.
    pub name: Option<String>,
    /// Calls and their outputs.
    pub call_id: Option<String>,
    /// The words, the arguments, or the output.
    pub text: String,
}

impl Item {
    /// The bytes that it takes where it is stored: `item_bytes!` of the schema.
    pub(crate) fn bytes(&self) -> i64 {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let bytes = 200 + self.text.len() + length(&self.name) + length(&self.call_id);
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }

    /// The row that it becomes; whoever inserts may give it an id.
    pub(crate) fn new_row<'a>(
        &'a self,
        project_id: &'a str,
        conversation_id: &'a str,
        request_id: &'a str,
        is_refused: bool,
    ) -> NewItem<'a> {
        NewItem {
            id: None,
            project_id,
            conversation_id,
            request_id,
            message_index: self.message_index,
            part_index: self.part_index,
            kind: self.kind.name(),
            role: &self.role,
            name: self.name.as_deref(),
            call_id: self.call_id.as_deref(),
            text: &self.text,
            refused: u8::from(is_refused),
        }
    }
}

/// The `items` of a body. Texts are moved and not copied: many requests share a memory.
pub(crate) fn items(value: Json) -> Result<Vec<Item>, ApiError> {
    match value {
        Json::Array(values) if (1..=ITEMS_MAX).contains(&values.len()) => values
            .into_iter()
            .enumerate()
            .map(|(index, value)| item(index, value))
            .collect(),
        _ => Err(ApiError::invalid(
            "items",
            format!("'items' must be 1 to {ITEMS_MAX} items."),
        )),
    }
}

fn item(index: usize, value: Json) -> Result<Item, ApiError> {
    let path = format!("items[{index}]");
    let Json::Object(mut fields) = value else {
        return Err(ApiError::invalid(path, "An item must be an object."));
    };
    let kind = match fields.get("type").map(Json::as_str) {
        None => Kind::Message,
        Some(name) => name.and_then(Kind::parse).ok_or_else(|| {
            let words = "Items are of type message, function_call or function_call_output.";
            ApiError::invalid(format!("{path}.type"), words)
        })?,
    };
    let known: &[&str] = match kind {
        Kind::Message => &["type", "role", "content"],
        Kind::FunctionCall => &["type", "call_id", "name", "arguments"],
        Kind::FunctionCallOutput => &["type", "call_id", "output"],
    };
    if let Some(unknown) = fields.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(ApiError::unknown_parameter(&format!("{path}.{unknown}")));
    }
    let mut text = |field: &str, bytes_max: usize| match fields.remove(field) {
        Some(Json::String(text)) if text.len() <= bytes_max => Ok(text),
        _ => {
            let words = format!("'{path}.{field}' must be a text of up to {bytes_max} bytes.");
            Err(ApiError::invalid(format!("{path}.{field}"), words))
        }
    };
    let (role, name, call_id, text) = match kind {
        Kind::FunctionCall => (
            "assistant".to_owned(),
            Some(text("name", NAME_BYTES_MAX)?),
            Some(text("call_id", NAME_BYTES_MAX)?),
            text("arguments", TEXT_BYTES_MAX)?,
        ),
        Kind::FunctionCallOutput => (
            "tool".to_owned(),
            None,
            Some(text("call_id", NAME_BYTES_MAX)?),
            text("output", TEXT_BYTES_MAX)?,
        ),
        Kind::Message => (
            role(&path, fields.get("role"))?,
            None,
            None,
            content(&path, fields.remove("content"))?,
        ),
    };
    Ok(Item {
        message_index: index,
        part_index: 0,
        kind,
        role,
        name,
        call_id,
        text,
    })
}

fn role(path: &str, value: Option<&Json>) -> Result<String, ApiError> {
    match value.and_then(Json::as_str) {
        Some(role @ ("system" | "developer" | "user" | "assistant")) => Ok(role.to_owned()),
        _ => {
            let words = "must be system, developer, user or assistant.";
            Err(ApiError::invalid(
                format!("{path}.role"),
                format!("'{path}.role' {words}"),
            ))
        }
    }
}

/// A text, or parts of text joined.
fn content(path: &str, content: Option<Json>) -> Result<String, ApiError> {
    let joined = match content {
        Some(Json::String(text)) => Some(text),
        Some(Json::Array(parts)) => parts
            .iter()
            .map(part)
            .collect::<Option<Vec<_>>>()
            .map(|texts| texts.concat()),
        _ => None,
    };
    joined
        .filter(|text| text.len() <= TEXT_BYTES_MAX)
        .ok_or_else(|| {
            let words = format!(
                "'{path}.content' must be text, or parts of type input_text or output_text."
            );
            ApiError::invalid(format!("{path}.content"), words)
        })
}

fn part(part: &Json) -> Option<&str> {
    matches!(
        part["type"].as_str(),
        Some("input_text" | "output_text" | "text")
    )
    .then(|| part["text"].as_str())
    .flatten()
}
