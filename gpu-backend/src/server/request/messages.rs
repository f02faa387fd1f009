//! The `messages` of a chat: roles, text parts, past tool calls and tool results.
//!
//! Invariant: an assistant's message that this engine sent is taken as it was sent.
//! Knows nothing of the request's other fields.

use serde_json::{Map, Value as Json};

use super::super::error::Invalid;
use super::fields::{Fields, invalid, unsupported};
use crate::chat_template::{Message, PastCall, PastFunction};

/// Messages of one chat.
const MESSAGES_MAX: usize = 4096;
/// Calls in one assistant message (OpenAI's limit).
const CALLS_MAX: usize = 128;

pub(super) fn parse(value: Json) -> Result<Vec<Message>, Invalid> {
    let Json::Array(list) = value else {
        return Err(invalid("messages", "'messages' must be a list."));
    };
    if list.is_empty() || list.len() > MESSAGES_MAX {
        let message = format!("'messages' must hold 1 to {MESSAGES_MAX} messages.");
        return Err(invalid("messages", message));
    }
    list.into_iter()
        .enumerate()
        .map(|(i, message)| one(i, message))
        .collect()
}

fn one(index: usize, value: Json) -> Result<Message, Invalid> {
    let path = format!("messages[{index}]");
    let Json::Object(object) = value else {
        return Err(invalid(
            path.clone(),
            format!("'{path}' must be an object."),
        ));
    };
    let mut fields = Fields::inside(&path, object);
    let role = match fields.string("role")?.as_deref() {
        // OpenAI's newer name for the same thing; models know the older one.
        Some("system" | "developer") => "system",
        Some("user") => "user",
        Some("assistant") => "assistant",
        Some("tool") => "tool",
        _ => {
            let param = format!("{path}.role");
            let message = format!(
                "'{param}' must be \"system\", \"developer\", \"user\", \"assistant\" or \"tool\"."
            );
            return Err(invalid(param, message));
        }
    };
    let content = content(&mut fields, &path, role)?;
    let (content, reasoning_content, tool_calls) = match role {
        "assistant" => said(&mut fields, &path, content)?,
        _ => (content, None, Vec::new()),
    };
    let tool_call_id = match role {
        "tool" => fields.string("tool_call_id")?,
        _ => None,
    };
    if content.is_none() {
        let param = format!("{path}.content");
        return Err(invalid(param.clone(), format!("'{param}' is required.")));
    }
    if role == "tool" && tool_call_id.is_none() {
        let param = format!("{path}.tool_call_id");
        return Err(invalid(param.clone(), format!("'{param}' is required.")));
    }
    let name = fields.string("name")?;
    fields.finish()?;
    Ok(Message {
        role,
        content: content.unwrap_or_default(),
        reasoning_content,
        name,
        tool_call_id,
        tool_calls,
    })
}

/// The text, reasoning and calls of a past answer. One that was cut off may have none of
/// them.
type Said = (Option<String>, Option<String>, Vec<PastCall>);

fn said(fields: &mut Fields, path: &str, content: Option<String>) -> Result<Said, Invalid> {
    let calls = calls(fields, path)?;
    // vLLM's older and newer name for the same thing.
    let (old, new) = (
        fields.string("reasoning_content")?,
        fields.string("reasoning")?,
    );
    let refusal = fields.string("refusal")?;
    fields.skip("annotations");
    let content = content.or(refusal).unwrap_or_default();
    Ok((Some(content), old.or(new), calls))
}

/// A string, or a list of text parts, which are joined.
fn content(fields: &mut Fields, path: &str, role: &str) -> Result<Option<String>, Invalid> {
    let param = format!("{path}.content");
    match fields.take("content") {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(Json::Array(parts)) => {
            let texts = parts
                .into_iter()
                .enumerate()
                .map(|(i, part)| text_part(&format!("{param}[{i}]"), part, role));
            Ok(Some(texts.collect::<Result<String, _>>()?))
        }
        Some(_) => Err(invalid(
            param.clone(),
            format!("'{param}' must be a string or a list of parts."),
        )),
    }
}

fn text_part(path: &str, value: Json, role: &str) -> Result<String, Invalid> {
    let Json::Object(object) = value else {
        return Err(invalid(path, format!("'{path}' must be an object.")));
    };
    let mut fields = Fields::inside(path, object);
    let key = match (fields.string("type")?.as_deref(), role) {
        (Some("text"), _) => "text",
        (Some("refusal"), "assistant") => "refusal",
        _ => {
            let message = format!("'{path}': only parts of type \"text\".");
            return Err(unsupported(path, message));
        }
    };
    let text = fields.string(key)?;
    fields.finish()?;
    text.ok_or_else(|| invalid(path, format!("'{path}' has no {key}.")))
}

fn calls(fields: &mut Fields, path: &str) -> Result<Vec<PastCall>, Invalid> {
    let calls = fields.list("tool_calls", CALLS_MAX)?;
    calls
        .into_iter()
        .enumerate()
        .map(|(i, c)| call(&format!("{path}.tool_calls[{i}]"), c))
        .collect()
}

fn call(path: &str, value: Json) -> Result<PastCall, Invalid> {
    let bad = |what: &str| {
        let param = format!("{path}.{what}");
        invalid(param.clone(), format!("'{param}' is missing or malformed."))
    };
    let Json::Object(object) = value else {
        return Err(invalid(path, format!("'{path}' must be an object.")));
    };
    let mut fields = Fields::inside(path, object);
    if fields
        .string("type")?
        .is_some_and(|kind| kind != "function")
    {
        return Err(bad("type"));
    }
    let id = fields.string("id")?.ok_or_else(|| bad("id"))?;
    // Streamed calls have one, and clients that gather deltas keep it.
    fields.skip("index");
    let Some(Json::Object(function)) = fields.take("function") else {
        return Err(bad("function"));
    };
    fields.finish()?;
    let mut function = Fields::inside(&format!("{path}.function"), function);
    let name = function
        .string("name")?
        .ok_or_else(|| bad("function.name"))?;
    let arguments = arguments(function.take("arguments"));
    function.finish()?;
    Ok(PastCall {
        id,
        kind: "function",
        function: PastFunction { name, arguments },
    })
}

/// A past call's arguments as templates want them: an object where they are one. A model
/// may have written anything, or was cut off in the middle; that stays the text it is.
fn arguments(value: Option<Json>) -> Json {
    match value {
        None => Map::new().into(),
        Some(Json::String(text)) if text.trim().is_empty() => Map::new().into(),
        Some(Json::String(text)) => serde_json::from_str(&text).unwrap_or(Json::String(text)),
        Some(other) => other,
    }
}

#[cfg(test)]
mod tests;
