//! Forms of a chat for a template that cannot write it as it is: one that wants roles to
//! alternate, knows no system or tool messages, or takes one call at a time. Nothing a
//! message says is left out; the least change comes first.
//! Knows no template.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::{Message, PastCall};

/// One change to the form of a chat.
type Change = fn(&[Message]) -> Vec<Message>;

/// From the smallest to the largest.
const CHANGES: [Change; 8] = [
    objects_as_arguments,
    ids_of_nine_letters,
    one_call_a_message,
    joined,
    |messages| joined(&system_messages_first(messages)),
    |messages| joined(&tools_as_text(messages)),
    |messages| joined(&as_users(messages, |_| true)),
    user_first,
];

/// The forms, each with the changes of those before it. Of a template that knows no tools
/// all have calls and results as text: it might leave them out without a word.
pub(super) fn of(messages: &[Message], knows_tools: bool) -> impl Iterator<Item = Vec<Message>> {
    let first: Option<Change> = match knows_tools {
        true => None,
        false => Some(|messages| joined(&tools_as_text(messages))),
    };
    let mut form = messages.to_vec();
    first.into_iter().chain(CHANGES).filter_map(move |change| {
        let changed = change(&form);
        (changed != form).then(|| {
            form.clone_from(&changed);
            changed
        })
    })
}

/// Arguments that are no object are put into one: some templates go through the keys.
fn objects_as_arguments(messages: &[Message]) -> Vec<Message> {
    let mut messages = messages.to_vec();
    for call in messages.iter_mut().flat_map(|m| &mut m.tool_calls) {
        let arguments = &mut call.function.arguments;
        *arguments = match arguments.take() {
            Json::Null => json!({}),
            object @ Json::Object(_) => object,
            other => json!({"arguments": other}),
        };
    }
    messages
}

/// Mistral's templates take ids of nine letters or digits only. The n-th id of a chat
/// becomes the same whatever follows, so that cached prefixes stay what they are.
fn ids_of_nine_letters(messages: &[Message]) -> Vec<Message> {
    let fits = |id: &str| id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut messages = messages.to_vec();
    let mut known: HashMap<String, usize> = HashMap::new();
    let ids = messages.iter_mut().flat_map(|message| {
        let calls = message.tool_calls.iter_mut().map(|call| &mut call.id);
        calls.chain(&mut message.tool_call_id)
    });
    for id in ids.filter(|id| !fits(id)) {
        let next = known.len();
        let number = known.entry(id.clone()).or_insert(next);
        *id = format!("call{number:05}");
    }
    messages
}

/// A message with several calls becomes one for each, followed by the results of its call.
fn one_call_a_message(messages: &[Message]) -> Vec<Message> {
    let mut out = Vec::with_capacity(messages.len());
    let mut rest = messages;
    while let Some((message, after)) = rest.split_first() {
        rest = after;
        if message.tool_calls.len() < 2 {
            out.push(message.clone());
            continue;
        }
        let results = after.iter().take_while(|m| m.role == "tool").count();
        let (results, after) = after.split_at(results);
        rest = after;
        let is_of =
            |result: &Message, call: &PastCall| result.tool_call_id.as_ref() == Some(&call.id);
        for (index, call) in message.tool_calls.iter().enumerate() {
            let mut one = match index {
                0 => message.clone(),
                _ => Message::new(message.role, ""),
            };
            one.tool_calls = vec![call.clone()];
            out.push(one);
            out.extend(results.iter().filter(|r| is_of(r, call)).cloned());
        }
        let is_of_none = |r: &&Message| !message.tool_calls.iter().any(|call| is_of(r, call));
        out.extend(results.iter().filter(is_of_none).cloned());
    }
    out
}

/// Neighbours of one role become one message, with a blank line between their texts.
/// Calls and their results stay apart.
fn joined(messages: &[Message]) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        let plain = |m: &Message| m.role != "tool" && m.tool_calls.is_empty();
        match out.last_mut() {
            Some(last) if last.role == message.role && plain(last) && plain(message) => {
                join(last, message);
            }
            _ => out.push(message.clone()),
        }
    }
    out
}

fn join(first: &mut Message, second: &Message) {
    first.content = paragraphs(&first.content, &second.content);
    if let Some(thought) = &second.reasoning_content {
        let before = first.reasoning_content.as_deref().unwrap_or_default();
        first.reasoning_content = Some(paragraphs(before, thought));
    }
    if first.name != second.name {
        first.name = None;
    }
}

fn paragraphs(first: &str, second: &str) -> String {
    match (first, second) {
        ("", only) | (only, "") => only.to_owned(),
        (first, second) => format!("{first}\n\n{second}"),
    }
}

/// System messages after another role's become the user's, at their place.
fn system_messages_first(messages: &[Message]) -> Vec<Message> {
    let first = messages.iter().take_while(|m| m.role == "system").count();
    as_users(messages, |index| index >= first)
}

/// System messages whose index is among these become the user's.
fn as_users(messages: &[Message], among: impl Fn(usize) -> bool) -> Vec<Message> {
    let mut messages = messages.to_vec();
    for (index, message) in messages.iter_mut().enumerate() {
        if message.role == "system" && among(index) {
            message.role = "user";
        }
    }
    messages
}

/// Calls become text of the assistant and their results text of the user, in the fences
/// that Gemma's guide to function calling has.
fn tools_as_text(messages: &[Message]) -> Vec<Message> {
    let mut messages = messages.to_vec();
    for message in &mut messages {
        for call in std::mem::take(&mut message.tool_calls) {
            let function = call.function;
            let object = json!({"name": function.name, "parameters": function.arguments});
            message.content = paragraphs(&message.content, &format!("```json\n{object}\n```"));
        }
        if message.role == "tool" {
            message.role = "user";
            message.tool_call_id = None;
            message.content = format!("```tool_output\n{}\n```", message.content);
        }
    }
    messages
}

/// A chat that begins with the assistant gets an empty turn of the user before.
fn user_first(messages: &[Message]) -> Vec<Message> {
    let mut messages = messages.to_vec();
    let first = messages.iter().take_while(|m| m.role == "system").count();
    if messages.get(first).is_some_and(|m| m.role == "assistant") {
        messages.insert(first, Message::new("user", ""));
    }
    messages
}

#[cfg(test)]
mod tests;
