//! The words of a prompt, wherever they stand: in messages, in a participant's name, in the
//! arguments of tool calls and in the definitions of tools. `exchange.rs` has them screened.
//!
//! It does NOT judge any word.

use serde_json::Value;

use crate::bindings::skerry::chat::types::Message;

/// All texts, in the order in which [`replace`] takes them back.
pub(crate) fn texts(messages: &mut [Message], tools: Option<&mut Value>) -> Vec<String> {
    let mut texts = Vec::new();
    visit(messages, tools, &mut |text| texts.push(text.clone()));
    texts
}

/// Puts the screened texts in the place of those that [`texts`] gave.
pub(crate) fn replace(messages: &mut [Message], tools: Option<&mut Value>, texts: Vec<String>) {
    let mut texts = texts.into_iter();
    visit(messages, tools, &mut |text| {
        if let Some(screened) = texts.next() {
            *text = screened;
        }
    });
}

/// Shows every text once, always in the same order.
fn visit(messages: &mut [Message], tools: Option<&mut Value>, see: &mut dyn FnMut(&mut String)) {
    for message in messages {
        see(&mut message.content);
        if let Some(name) = &mut message.name {
            see(name);
        }
        for call in &mut message.tool_calls {
            see(&mut call.name);
            arguments(&mut call.arguments, see);
        }
    }
    if let Some(tools) = tools {
        json(tools, see);
    }
}

/// A call's arguments stay the JSON that they are, whatever is put in the place of a word; what
/// is no JSON is a text.
fn arguments(text: &mut String, see: &mut dyn FnMut(&mut String)) {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else {
        return see(text);
    };
    let before = value.clone();
    json(&mut value, see);
    // Left as the model wrote them where there was nothing to change.
    if value != before {
        *text = value.to_string();
    }
}

fn json(value: &mut Value, see: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => see(text),
        // A card's number may be written as a number.
        Value::Number(number) => {
            let mut text = number.to_string();
            see(&mut text);
            if text != number.to_string() {
                *value = Value::String(text);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| json(value, see)),
        Value::Object(map) => {
            let entries = std::mem::take(map).into_iter();
            *map = entries
                .map(|(mut key, mut value)| {
                    see(&mut key);
                    json(&mut value, see);
                    (key, value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bindings::skerry::chat::types::{MessageRole, ToolCall};

    fn call(arguments: &str) -> Message {
        Message {
            role: MessageRole::Assistant,
            content: "one 42".into(),
            name: Some("two 42".into()),
            tool_calls: vec![ToolCall {
                id: "42".into(),
                name: "pay".into(),
                arguments: arguments.into(),
            }],
            tool_call_id: None,
        }
    }

    /// The message and the tools with every `42` masked.
    fn masked(arguments: &str, mut tools: Value) -> (Message, Value) {
        let mut messages = [call(arguments)];
        let texts = texts(&mut messages, Some(&mut tools));
        let texts = texts.iter().map(|text| text.replace("42", "[N]")).collect();
        replace(&mut messages, Some(&mut tools), texts);
        let [message] = messages;
        (message, tools)
    }

    #[test]
    fn every_place_is_seen_and_ids_are_left_alone() {
        let tools = json!([{"function": {"name": "pay", "description": "a 42", "n": [42, null]}}]);
        let (message, tools) = masked(r#"{"to": "x42", "42": 42, "n": 7}"#, tools);
        assert_eq!(message.content, "one [N]");
        assert_eq!(message.name.as_deref(), Some("two [N]"));
        let call = &message.tool_calls[0];
        assert_eq!((call.id.as_str(), call.name.as_str()), ("42", "pay"));
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert_eq!(arguments, json!({"to": "x[N]", "[N]": "[N]", "n": 7}));
        let function = json!({"name": "pay", "description": "a [N]", "n": ["[N]", null]});
        assert_eq!(tools, json!([{"function": function}]));
    }

    #[test]
    fn arguments_without_a_find_keep_their_spelling() {
        for written in ["{ \"b\":1.50,\n\"a\" : 2e3 }", "no json", ""] {
            let (message, _) = masked(written, json!([]));
            assert_eq!(message.tool_calls[0].arguments, written);
        }
        let (message, _) = masked("{\"cut\": \"42", json!([]));
        assert_eq!(message.tool_calls[0].arguments, "{\"cut\": \"[N]");
    }
}
