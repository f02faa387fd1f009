//! The `messages` of a chat: roles, text parts, past tool calls and tool results.
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
    let content = content(&mut fields, &path)?;
    let tool_calls = match role {
        "assistant" => calls(&mut fields, &path)?,
        _ => Vec::new(),
    };
    let tool_call_id = match role {
        "tool" => fields.string("tool_call_id")?,
        _ => None,
    };
    if content.is_none() && tool_calls.is_empty() {
        let param = format!("{path}.content");
        return Err(invalid(param.clone(), format!("'{param}' is required.")));
    }
    if role == "tool" && tool_call_id.is_none() {
        let param = format!("{path}.tool_call_id");
        return Err(invalid(param.clone(), format!("'{param}' is required.")));
    }
    if role == "assistant" {
        // What OpenAI's own answers carry, sent back unchanged by clients.
        for name in ["annotations", "refusal"] {
            fields.skip(name);
        }
    }
    let name = fields.string("name")?;
    fields.finish()?;
    Ok(Message {
        role,
        content: content.unwrap_or_default(),
        name,
        tool_call_id,
        tool_calls,
    })
}

/// A string, or a list of text parts, which are joined.
fn content(fields: &mut Fields, path: &str) -> Result<Option<String>, Invalid> {
    let param = format!("{path}.content");
    match fields.take("content") {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(Json::Array(parts)) => {
            let texts = parts
                .into_iter()
                .enumerate()
                .map(|(i, part)| text_part(&format!("{param}[{i}]"), part));
            Ok(Some(texts.collect::<Result<String, _>>()?))
        }
        Some(_) => Err(invalid(
            param.clone(),
            format!("'{param}' must be a string or a list of parts."),
        )),
    }
}

fn text_part(path: &str, value: Json) -> Result<String, Invalid> {
    let Json::Object(object) = value else {
        return Err(invalid(path, format!("'{path}' must be an object.")));
    };
    let mut fields = Fields::inside(path, object);
    if fields.string("type")?.as_deref() != Some("text") {
        let message = format!("'{path}': only parts of type \"text\".");
        return Err(unsupported(path, message));
    }
    let text = fields.string("text")?;
    fields.finish()?;
    text.ok_or_else(|| invalid(path, format!("'{path}' has no text.")))
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
    let Some(Json::Object(function)) = fields.take("function") else {
        return Err(bad("function"));
    };
    fields.finish()?;
    let mut function = Fields::inside(&format!("{path}.function"), function);
    let name = function
        .string("name")?
        .ok_or_else(|| bad("function.name"))?;
    let arguments = function.string("arguments")?;
    function.finish()?;
    let arguments = arguments.ok_or_else(|| bad("function.arguments"))?;
    let arguments = match arguments.trim() {
        "" => "{}",
        some => some,
    };
    let arguments: Map<String, Json> =
        serde_json::from_str(arguments).map_err(|_| bad("function.arguments"))?;
    Ok(PastCall {
        id,
        kind: "function",
        function: PastFunction {
            name,
            arguments: Json::Object(arguments),
        },
    })
}
