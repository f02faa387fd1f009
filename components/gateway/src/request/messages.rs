//! The `messages` field: roles, text parts, tool calls and their answers.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::bindings::skerry::chat::types::{Message, MessageRole, ToolCall};
use crate::error::ApiError;
use crate::raw_json::{Elements, RawFields, text};

/// As OpenAI: a conversation is bounded by its tokens long before.
const MESSAGES_MAX: usize = 2_048;
const TOOL_CALLS_MAX: usize = 128;
/// Parts of one message's content: more are longer than any window.
const PARTS_MAX: usize = 1 << 14;

/// Fields that answers carry beside their text, here and at other servers: accepted when an
/// answer comes back, and not shown to the model again.
const OF_AN_ANSWER: [&str; 10] = [
    "annotations",
    "audio",
    "function_call",
    "images",
    "provider_specific_fields",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "stop_reason",
    "thinking_blocks",
];

pub(super) fn parse(value: Option<&RawValue>) -> Result<Vec<Message>, ApiError> {
    let Some(values) = value.and_then(Elements::<MESSAGES_MAX>::of) else {
        return Err(ApiError::invalid(
            "messages",
            "'messages' must be an array of messages.",
        ));
    };
    if !(1..=MESSAGES_MAX).contains(&values.count) {
        let message = format!("'messages' must have 1 to {MESSAGES_MAX} entries.");
        return Err(ApiError::invalid("messages", message));
    }
    let mut messages = Vec::with_capacity(values.count);
    for (index, value) in values.first.into_iter().enumerate() {
        let message = parse_one(&format!("messages[{index}]"), value)?;
        check_answers(&messages, &message, index)?;
        messages.push(message);
    }
    Ok(messages)
}

/// A tool's answer must follow the call that it answers.
fn check_answers(before: &[Message], message: &Message, index: usize) -> Result<(), ApiError> {
    let Some(id) = &message.tool_call_id else {
        return Ok(());
    };
    let caller = before
        .iter()
        .rfind(|message| message.role != MessageRole::Tool);
    let asked = caller.is_some_and(|caller| caller.tool_calls.iter().any(|call| call.id == *id));
    // A stored conversation may hold the call: then it is the history's to check.
    if asked || caller.is_none() {
        return Ok(());
    }
    Err(ApiError::invalid(
        format!("messages[{index}].tool_call_id"),
        "messages with the role 'tool' must answer a preceding message with 'tool_calls'.",
    ))
}

fn parse_one(path: &str, value: &RawValue) -> Result<Message, ApiError> {
    let Ok(mut fields) = RawFields::parse(value.get()) else {
        return Err(ApiError::invalid(path, "A message must be an object."));
    };
    let role = role(path, fields.take("role"))?;
    let content = content(path, fields.take("content"))?;
    let name = match fields.take("name").map(text) {
        None => None,
        Some(Some(name)) if (1..=64).contains(&name.len()) => Some(name.into_owned()),
        Some(_) => return Err(invalid(path, "name", "must be a string of 1 to 64 bytes.")),
    };
    let tool_calls = match fields.take("tool_calls") {
        None => Vec::new(),
        Some(value) if role == MessageRole::Assistant => tool_calls(path, value)?,
        Some(_) => {
            return Err(invalid(
                path,
                "tool_calls",
                "only an assistant calls tools.",
            ));
        }
    };
    let tool_call_id = tool_call_id(path, role, fields.take("tool_call_id"))?;
    let refusal = fields.take("refusal");
    let content = match refusal.and_then(text) {
        Some(refusal) if role == MessageRole::Assistant => content
            .filter(|content| !content.is_empty())
            .or(Some(refusal.into_owned())),
        _ => content,
    };
    let is_of_an_answer = |name| role == MessageRole::Assistant && OF_AN_ANSWER.contains(&name);
    // The official client sends an answer back as it came, with its empty fields.
    let mut unknown = fields
        .iter()
        .filter(|(name, value)| !is_of_an_answer(*name) && !is_empty_array(value));
    if let Some((unknown, _)) = unknown.next() {
        return Err(super::fields::refuse(&format!("{path}.{unknown}")));
    }
    let content = match content {
        Some(content) => content,
        // An answer may be empty: its tokens went into reasoning, or its call was cut.
        None if role == MessageRole::Assistant => String::new(),
        None => {
            return Err(invalid(
                path,
                "content",
                "must be a string or an array of text parts.",
            ));
        }
    };
    Ok(Message {
        role,
        content,
        name,
        tool_calls,
        tool_call_id,
    })
}

fn is_empty_array(value: &RawValue) -> bool {
    let inner = value.get().strip_prefix('[').map(str::trim_start);
    inner == Some("]")
}

fn tool_call_id(
    path: &str,
    role: MessageRole,
    value: Option<&RawValue>,
) -> Result<Option<String>, ApiError> {
    let wrong = |message: &str| Err(invalid(path, "tool_call_id", message));
    let id = value.and_then(text);
    match (role, value, id) {
        (MessageRole::Tool, _, Some(id)) if (1..=128).contains(&id.len()) => {
            Ok(Some(id.into_owned()))
        }
        (MessageRole::Tool, _, _) => wrong("must name the call that this answers."),
        (_, None, _) => Ok(None),
        (_, Some(_), _) => wrong("belongs to the role 'tool' only."),
    }
}

fn role(path: &str, value: Option<&RawValue>) -> Result<MessageRole, ApiError> {
    match value.and_then(text).as_deref() {
        Some("system") => Ok(MessageRole::System),
        Some("developer") => Ok(MessageRole::Developer),
        Some("user") => Ok(MessageRole::User),
        Some("assistant") => Ok(MessageRole::Assistant),
        Some("tool") => Ok(MessageRole::Tool),
        _ => Err(invalid(
            path,
            "role",
            "must be system, developer, user, assistant or tool.",
        )),
    }
}

/// A string, or text parts joined. None where there is no content.
fn content(path: &str, value: Option<&RawValue>) -> Result<Option<String>, ApiError> {
    let Some(value) = value else {
        return Ok(None);
    };
    if let Some(text) = text(value) {
        return Ok(Some(text.into_owned()));
    }
    let Some(parts) = Elements::<PARTS_MAX>::of(value) else {
        return Err(invalid(
            path,
            "content",
            "must be a string or an array of parts.",
        ));
    };
    if parts.count > PARTS_MAX {
        return Err(invalid(path, "content", "has too many parts."));
    }
    let mut joined = String::new();
    for (index, part) in parts.first.into_iter().enumerate() {
        match part_text(part) {
            Some(text) => joined.push_str(&text),
            None => {
                let path = format!("{path}.content[{index}].type");
                return Err(ApiError::unsupported(
                    path,
                    "Only parts of the type 'text' are served.",
                ));
            }
        }
    }
    Ok(Some(joined))
}

fn part_text(part: &RawValue) -> Option<Cow<'_, str>> {
    let fields = RawFields::of(Some(part));
    let name = match fields.get("type").and_then(text)?.as_ref() {
        "text" | "input_text" | "output_text" => "text",
        "refusal" => "refusal",
        _ => return None,
    };
    fields.get(name).and_then(text)
}

fn tool_calls(path: &str, value: &RawValue) -> Result<Vec<ToolCall>, ApiError> {
    let Some(calls) = Elements::<TOOL_CALLS_MAX>::of(value) else {
        return Err(invalid(path, "tool_calls", "must be an array."));
    };
    if calls.count > TOOL_CALLS_MAX {
        return Err(invalid(path, "tool_calls", "has too many entries."));
    }
    let parsed = calls.first.into_iter().enumerate().map(|(index, call)| {
        tool_call(call).ok_or_else(|| {
            ApiError::invalid(
                format!("{path}.tool_calls[{index}]"),
                "A tool call has an 'id' and a 'function' with 'name' and 'arguments'.",
            )
        })
    });
    parsed.collect()
}

fn tool_call(call: &RawValue) -> Option<ToolCall> {
    let call = RawFields::parse(call.get()).ok()?;
    let function = RawFields::of(call.get("function"));
    let named = |raw| text(raw).filter(|name| !name.is_empty());
    Some(ToolCall {
        id: call.get("id").and_then(named)?.into_owned(),
        name: function.get("name").and_then(named)?.into_owned(),
        arguments: arguments(function.get("arguments"))?.into_owned(),
    })
}

/// Arguments as a text. Some servers give them as an object, or none.
fn arguments(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let Some(value) = value else {
        return Some("".into());
    };
    match value.get().starts_with('"') {
        true => text(value),
        false => Some(value.get().into()),
    }
}

fn invalid(path: &str, field: &str, message: &str) -> ApiError {
    ApiError::invalid(
        format!("{path}.{field}"),
        format!("'{path}.{field}' {message}"),
    )
}
