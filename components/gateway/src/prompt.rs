//! The texts of a prompt, wherever they stand: in messages, in a participant's name, in the
//! arguments of tool calls and in the JSON that describes tools and answers. `exchange.rs`
//! has them screened.
//!
//! It does NOT judge any text. What is replaced is a string's value, and a past call's number;
//! where a text is a part of what is valid (a schema's names and values, a grammar, a stop word)
//! nothing can be put in its place, and the request is refused.

use serde_json::value::RawValue;

use crate::bindings::skerry::chat::types::Message;
use crate::json_text::{Place, rewrite};

/// The parts of a request that have texts.
pub(crate) struct Prompt<'a> {
    pub(crate) messages: &'a mut [Message],
    /// The client's tools.
    pub(crate) tools: Option<&'a mut Box<RawValue>>,
    pub(crate) tool_choice: Option<&'a mut Box<RawValue>>,
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

    /// Puts the screened texts in the place of those that [`Prompt::texts`] gave. The field in
    /// which something was found that cannot be replaced.
    pub(crate) fn replace(&mut self, texts: Vec<String>) -> Option<String> {
        let mut texts = texts.into_iter();
        self.visit(&mut |text| texts.next().filter(|screened| screened != text))
    }

    /// Shows every text once, always in the same order, and puts in its place what is given. The
    /// texts of messages follow each other, as the model reads them.
    fn visit(&mut self, see: &mut dyn FnMut(&str) -> Option<String>) -> Option<String> {
        for message in &mut *self.messages {
            plain(&mut message.content, see);
        }
        for message in &mut *self.messages {
            if let Some(name) = &mut message.name {
                identifier(name, see);
            }
            for call in &mut message.tool_calls {
                // The same in the message that answers it.
                plain(&mut call.id, see);
                identifier(&mut call.name, see);
                arguments(&mut call.arguments, see);
            }
            if let Some(id) = &mut message.tool_call_id {
                plain(id, see);
            }
        }
        let mut refused = None;
        let tools = self.tools.as_mut().map(|tools| ("tools", &mut **tools));
        let choice = self.tool_choice.as_mut();
        let choice = choice.map(|choice| ("tool_choice", &mut **choice));
        let fields = self.fields.iter_mut();
        let fields = fields.map(|(name, value)| (name.as_str(), value));
        for (name, value) in tools.into_iter().chain(choice).chain(fields) {
            if value.get().starts_with(['{', '[', '"']) && !field(name, value, see) {
                refused.get_or_insert_with(|| name.to_owned());
            }
        }
        refused
    }
}

fn plain(text: &mut String, see: &mut dyn FnMut(&str) -> Option<String>) {
    if let Some(screened) = see(text) {
        *text = screened;
    }
}

/// A name stays one: letters, digits, hyphens and underscores.
fn identifier(text: &mut String, see: &mut dyn FnMut(&str) -> Option<String>) {
    if let Some(screened) = see(text) {
        *text = name_of(&screened);
    }
}

/// What may stand in a function's name, of a screened one.
pub(crate) fn name_of(screened: &str) -> String {
    let is_part = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    screened.chars().filter(is_part).collect()
}

/// A call's arguments stay the JSON that they are; what is no JSON is a text.
fn arguments(text: &mut String, see: &mut dyn FnMut(&str) -> Option<String>) {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return plain(text, see);
    }
    // A card's number may be written as a number, or as a property's name.
    let rewritten = rewrite(text, &mut |_, text| see(text));
    if let Some(rewritten) = rewritten {
        *text = rewritten;
    }
}

/// Words about the client, and of use to nobody else: they ask for nothing.
const ABOUT_CLIENT: [&str; 4] = ["user", "safety_identifier", "prompt_cache_key", "metadata"];
/// Words of a schema that say nothing of what is valid.
const REMARKS: [&str; 4] = ["description", "title", "$comment", "default"];

/// False where something was found in it that cannot be replaced.
fn field(name: &str, raw: &mut Box<RawValue>, see: &mut dyn FnMut(&str) -> Option<String>) -> bool {
    let mut is_whole = true;
    let rewritten = rewrite(raw.get(), &mut |place, text| {
        let screened = see(text)?;
        let is_remark = match place {
            Place::Value(Some(remark)) if REMARKS.contains(&remark) => true,
            Place::Value(_) => ABOUT_CLIENT.contains(&name),
            Place::Name | Place::Number => false,
        };
        is_whole &= is_remark;
        is_remark.then_some(screened)
    });
    if let Some(rewritten) = rewritten.and_then(|text| RawValue::from_string(text).ok()) {
        *raw = rewritten;
    }
    is_whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::skerry::chat::types::{MessageRole, ToolCall};

    fn call(arguments: &str) -> Message {
        Message {
            role: MessageRole::Assistant,
            content: "one 42".into(),
            name: Some("two_42".into()),
            tool_calls: vec![ToolCall {
                id: "42".into(),
                name: "pay-42".into(),
                arguments: arguments.into(),
            }],
            tool_call_id: Some("42".into()),
        }
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    /// The message, the tools and the field with every `42` masked, and what is refused.
    fn masked(
        arguments: &str,
        tools: &str,
        (name, value): (&str, &str),
    ) -> (Message, String, String, Option<String>) {
        let mut messages = [call(arguments)];
        let mut tools = raw(tools);
        let mut fields = [(name.to_owned(), raw(value))];
        let mut prompt = Prompt {
            messages: &mut messages,
            tools: Some(&mut tools),
            tool_choice: None,
            fields: &mut fields,
        };
        let texts = prompt.texts();
        let texts = texts.iter().map(|text| text.replace("42", "[N]")).collect();
        let refused = prompt.replace(texts);
        let [message] = messages;
        (
            message,
            tools.get().to_owned(),
            fields[0].1.get().to_owned(),
            refused,
        )
    }

    #[test]
    fn every_value_is_seen_and_structure_stays_valid() {
        let tools = r#"[{"function": {"name": "p", "description": "a 42", "parameters":
            {"properties": {"x": {"enum": ["4", 2], "description": "b \u0034\u0032"}}}}}]"#;
        let format = r#"{"z": 1.0, "a": "4", "title": "c 42"}"#;
        let given = r#"{"to": "x\u00342", "42": 42,  "n": 7.50}"#;
        let (message, written, formatted, refused) =
            masked(given, tools, ("response_format", format));
        assert_eq!(refused, None);
        assert_eq!(message.content, "one [N]");
        assert_eq!(message.name.as_deref(), Some("two_N"));
        let call = &message.tool_calls[0];
        assert_eq!((call.id.as_str(), call.name.as_str()), ("[N]", "pay-N"));
        assert_eq!(message.tool_call_id.as_deref(), Some("[N]"));
        assert_eq!(
            call.arguments,
            r#"{"to": "x[N]", "[N]": "[N]",  "n": 7.50}"#
        );
        let expected = tools
            .replace("a 42", "a [N]")
            .replace(r"b \u0034\u0032", "b [N]");
        assert_eq!(written, expected);
        assert_eq!(formatted, format.replace("c 42", "c [N]"));
    }

    #[test]
    fn what_cannot_be_replaced_is_refused_by_its_field() {
        for (name, value) in [
            ("stop", r#""42""#),
            ("stop", r#"["a", "42"]"#),
            ("response_format", r#"{"json_schema": {"name": "f42"}}"#),
            (
                "response_format",
                r#"{"schema": {"properties": {"42": {}}}}"#,
            ),
            ("response_format", r#"{"schema": {"enum": ["a", "42"]}}"#),
            ("response_format", r#"{"schema": {"const": 42}}"#),
            (
                "response_format",
                r#"{"schema": {"const": "\u0034\u0032"}}"#,
            ),
            ("response_format", r##"{"schema": {"$ref": "#/$defs/42"}}"##),
            ("guided_regex", r#""42""#),
            ("metadata", r#"{"42": "x"}"#),
        ] {
            let (_, _, _, refused) = masked("{}", "[]", (name, value));
            assert_eq!(refused.as_deref(), Some(name), "{value}");
        }
        let tools = r#"[{"function": {"name": "p42"}}]"#;
        let (_, _, _, refused) = masked("{}", tools, ("seed", "42"));
        assert_eq!(refused.as_deref(), Some("tools"));
    }

    #[test]
    fn words_about_the_client_are_masked() {
        for (name, value) in [("user", r#""42""#), ("metadata", r#"{"a": "42"}"#)] {
            let (_, _, written, refused) = masked("{}", "[]", (name, value));
            assert_eq!(written, value.replace("42", "[N]"));
            assert_eq!(refused, None);
        }
    }

    #[test]
    fn arguments_without_a_find_keep_their_spelling() {
        let none = ("stop", "\"a\"");
        for written in ["{ \"b\":1.50,\n\"a\" : 2e3 }", "no json", ""] {
            let (message, ..) = masked(written, "[]", none);
            assert_eq!(message.tool_calls[0].arguments, written);
        }
        let (message, ..) = masked("{\"cut\": \"42", "[]", none);
        assert_eq!(message.tool_calls[0].arguments, "{\"cut\": \"[N]");
    }
}
