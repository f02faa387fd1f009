//! The `messages` field: roles, text parts, tool calls and their answers.

use serde_json::Value;

use crate::bindings::skerry::chat::types::{Message, MessageRole, ToolCall};
use crate::error::ApiError;

/// As OpenAI: a conversation is bounded by its tokens long before.
const MESSAGES_MAX: usize = 2_048;
const TOOL_CALLS_MAX: usize = 128;

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

pub(super) fn parse(value: Option<Value>) -> Result<Vec<Message>, ApiError> {
    let Some(Value::Array(values)) = value else {
        return Err(ApiError::invalid(
            "messages",
            "'messages' must be an array of messages.",
        ));
    };
    if values.is_empty() || values.len() > MESSAGES_MAX {
        let message = format!("'messages' must have 1 to {MESSAGES_MAX} entries.");
        return Err(ApiError::invalid("messages", message));
    }
    let mut messages = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
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

fn parse_one(path: &str, value: Value) -> Result<Message, ApiError> {
    let Value::Object(mut fields) = value else {
        return Err(ApiError::invalid(path, "A message must be an object."));
    };
    let role = role(path, fields.remove("role"))?;
    let content = content(path, fields.remove("content"))?;
    let name = match fields.remove("name") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if (1..=64).contains(&name.len()) => Some(name),
        Some(_) => return Err(invalid(path, "name", "must be a string of 1 to 64 bytes.")),
    };
    let tool_calls = match fields.remove("tool_calls") {
        None | Some(Value::Null) => Vec::new(),
        Some(value) if role == MessageRole::Assistant => tool_calls(path, value)?,
        Some(_) => {
            return Err(invalid(
                path,
                "tool_calls",
                "only an assistant calls tools.",
            ));
        }
    };
    let tool_call_id = tool_call_id(path, role, fields.remove("tool_call_id"))?;
    let content = match fields.remove("refusal") {
        Some(Value::String(refusal)) if role == MessageRole::Assistant => content
            .filter(|content| !content.is_empty())
            .or(Some(refusal)),
        _ => content,
    };
    if role == MessageRole::Assistant {
        for name in OF_AN_ANSWER {
            fields.remove(name);
        }
    }
    // The official client sends an answer back as it came, with its empty fields.
    fields.retain(|_, value| {
        !(value.is_null() || value.as_array().is_some_and(|array| array.is_empty()))
    });
    if let Some(unknown) = fields.keys().next() {
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

fn tool_call_id(
    path: &str,
    role: MessageRole,
    value: Option<Value>,
) -> Result<Option<String>, ApiError> {
    let wrong = |message: &str| Err(invalid(path, "tool_call_id", message));
    match (role, value) {
        (MessageRole::Tool, Some(Value::String(id))) if (1..=128).contains(&id.len()) => {
            Ok(Some(id))
        }
        (MessageRole::Tool, _) => wrong("must name the call that this answers."),
        (_, None | Some(Value::Null)) => Ok(None),
        (_, Some(_)) => wrong("belongs to the role 'tool' only."),
    }
}

fn role(path: &str, value: Option<Value>) -> Result<MessageRole, ApiError> {
    match value.as_ref().and_then(Value::as_str) {
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
fn content(path: &str, value: Option<Value>) -> Result<Option<String>, ApiError> {
    let parts = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text)),
        Some(Value::Array(parts)) => parts,
        Some(_) => {
            return Err(invalid(
                path,
                "content",
                "must be a string or an array of parts.",
            ));
        }
    };
    let mut joined = String::new();
    for (index, part) in parts.iter().enumerate() {
        let text = match part["type"].as_str() {
            Some("text" | "input_text" | "output_text") => part["text"].as_str(),
            Some("refusal") => part["refusal"].as_str(),
            _ => None,
        };
        match text {
            Some(text) => joined.push_str(text),
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

fn tool_calls(path: &str, value: Value) -> Result<Vec<ToolCall>, ApiError> {
    let Value::Array(values) = value else {
        return Err(invalid(path, "tool_calls", "must be an array."));
    };
    if values.len() > TOOL_CALLS_MAX {
        return Err(invalid(path, "tool_calls", "has too many entries."));
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    values
        .iter()
        .enumerate()
        .map(|(index, call)| {
            let function = &call["function"];
            // Some servers give the arguments as an object, or none.
            let arguments = match &function["arguments"] {
                Value::Null => Some(String::new()),
                Value::String(arguments) => Some(arguments.clone()),
                arguments => Some(arguments.to_string()),
            };
            let parts = (text(&call["id"]), text(&function["name"]), arguments);
            match parts {
                (Some(id), Some(name), Some(arguments)) if !id.is_empty() && !name.is_empty() => {
                    Ok(ToolCall {
                        id,
                        name,
                        arguments,
                    })
                }
                _ => Err(ApiError::invalid(
                    format!("{path}.tool_calls[{index}]"),
                    "A tool call has an 'id' and a 'function' with 'name' and 'arguments'.",
                )),
            }
        })
        .collect()
}

fn invalid(path: &str, field: &str, message: &str) -> ApiError {
    ApiError::invalid(
        format!("{path}.{field}"),
        format!("'{path}.{field}' {message}"),
    )
}
