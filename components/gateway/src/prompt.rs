//! The texts of a prompt, wherever they stand: in messages, in a participant's name, in the
//! arguments of tool calls and in the JSON that describes tools and answers. `exchange.rs`
//! has them screened.
//!
//! It does NOT judge any text. What is replaced is a string's value: never a property's name,
//! and of a schema only the descriptions, for its other strings say what is valid.

use serde_json::value::RawValue;

use crate::bindings::skerry::chat::types::Message;
use crate::json_text::{Place, rewrite};

/// The parts of a request that have texts.
pub(crate) struct Prompt<'a> {
    pub(crate) messages: &'a mut [Message],
    /// The client's tools.
    pub(crate) tools: Option<&'a mut Box<RawValue>>,
    /// The other fields that are handed on.
    pub(crate) fields: &'a mut [(String, Box<RawValue>)],
}

impl Prompt<'_> {
    /// All texts, in the order in which [`Prompt::replace`] takes them back.
    pub(crate) fn texts(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        self.visit(&mut |text| {
            texts.push(text.to_owned());
            None
        });
        texts
    }

    /// Puts the screened texts in the place of those that [`Prompt::texts`] gave.
    pub(crate) fn replace(&mut self, texts: Vec<String>) {
        let mut texts = texts.into_iter();
        self.visit(&mut |text| texts.next().filter(|screened| screened != text));
    }

    /// Shows every text once, always in the same order, and puts in its place what is given.
    fn visit(&mut self, see: &mut dyn FnMut(&str) -> Option<String>) {
        for message in &mut *self.messages {
            plain(&mut message.content, see);
            if let Some(name) = &mut message.name {
                plain(name, see);
            }
            for call in &mut message.tool_calls {
                plain(&mut call.name, see);
                arguments(&mut call.arguments, see);
            }
        }
        if let Some(tools) = &mut self.tools {
            schema(tools, see);
        }
        for (_, value) in &mut *self.fields {
            if value.get().starts_with(['{', '[', '"']) {
                schema(value, see);
            }
        }
    }
}

fn plain(text: &mut String, see: &mut dyn FnMut(&str) -> Option<String>) {
    if let Some(screened) = see(text) {
        *text = screened;
    }
}

/// A call's arguments stay the JSON that they are; what is no JSON is a text.
fn arguments(text: &mut String, see: &mut dyn FnMut(&str) -> Option<String>) {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return plain(text, see);
    }
    let rewritten = rewrite(text, &mut |place, text| {
        let screened = see(text);
        // A card's number may be written as a number.
        screened.filter(|_| place != Place::Name)
    });
    if let Some(rewritten) = rewritten {
        *text = rewritten;
    }
}

fn schema(raw: &mut Box<RawValue>, see: &mut dyn FnMut(&str) -> Option<String>) {
    let rewritten = rewrite(raw.get(), &mut |place, text| {
        let screened = see(text);
        screened.filter(|_| place == Place::Value(Some("description")))
    });
    if let Some(rewritten) = rewritten.and_then(|text| RawValue::from_string(text).ok()) {
        *raw = rewritten;
    }
}

#[cfg(test)]
mod tests {
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

    /// The message, the tools and the format with every `42` masked.
    fn masked(arguments: &str, tools: &str, format: &str) -> (Message, String, String) {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let mut messages = [call(arguments)];
        let mut tools = raw(tools);
        let mut fields = [("response_format".to_owned(), raw(format))];
        let mut prompt = Prompt {
            messages: &mut messages,
            tools: Some(&mut tools),
            fields: &mut fields,
        };
        let texts = prompt.texts();
        let texts = texts.iter().map(|text| text.replace("42", "[N]")).collect();
        prompt.replace(texts);
        let [message] = messages;
        (
            message,
            tools.get().to_owned(),
            fields[0].1.get().to_owned(),
        )
    }

    #[test]
    fn every_value_is_seen_and_structure_is_left_alone() {
        let tools = r#"[{"function": {"name": "p42", "description": "a 42", "parameters":
            {"properties": {"42": {"enum": ["42", 42], "description": "b 42"}}}}}]"#;
        let format = r#"{"z": 1.0, "a": "42", "description": "c 42", "pattern": "42"}"#;
        let given = r#"{"to": "x42", "42": 42,  "n": 7.50}"#;
        let (message, written, formatted) = masked(given, tools, format);
        assert_eq!(message.content, "one [N]");
        assert_eq!(message.name.as_deref(), Some("two [N]"));
        let call = &message.tool_calls[0];
        assert_eq!((call.id.as_str(), call.name.as_str()), ("42", "pay"));
        assert_eq!(call.arguments, r#"{"to": "x[N]", "42": "[N]",  "n": 7.50}"#);
        let expected = tools.replace("a 42", "a [N]").replace("b 42", "b [N]");
        assert_eq!(written, expected);
        assert_eq!(formatted, format.replace("c 42", "c [N]"));
    }

    #[test]
    fn arguments_without_a_find_keep_their_spelling() {
        for written in ["{ \"b\":1.50,\n\"a\" : 2e3 }", "no json", ""] {
            let (message, _, _) = masked(written, "[]", "{}");
            assert_eq!(message.tool_calls[0].arguments, written);
        }
        let (message, _, _) = masked("{\"cut\": \"42", "[]", "{}");
        assert_eq!(message.tool_calls[0].arguments, "{\"cut\": \"[N]");
    }
}
