//! One event of a backend's answer. What OpenAI's form says is read at once; an event of
//! any other form is read again, taking what can be understood.
//!
//! It does NOT know which backend it came from.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::usage::{Counted, PlainUsage};

/// An event.
#[derive(Debug, Default)]
pub(crate) struct Chunk<'a> {
    pub(crate) choices: Vec<Choice<'a>>,
    pub(crate) usage: Option<Counted>,
    /// The backend reports an error in place of an answer.
    pub(crate) error: Option<Value>,
}

/// One of an event's choices.
#[derive(Debug, Default)]
pub(crate) struct Choice<'a> {
    pub(crate) index: usize,
    pub(crate) delta: Delta<'a>,
    pub(crate) finish_reason: Option<Cow<'a, str>>,
    pub(crate) logprobs: Vec<Box<RawValue>>,
}

/// An event's addition to a choice.
#[derive(Debug, Default)]
pub(crate) struct Delta<'a> {
    pub(crate) content: Option<Cow<'a, str>>,
    pub(crate) reasoning: Option<Cow<'a, str>>,
    pub(crate) tool_calls: Vec<ToolCallDelta>,
}

/// A piece of a tool call.
#[derive(Debug, Default)]
pub(crate) struct ToolCallDelta {
    pub(crate) index: Option<i64>,
    /// Not empty.
    pub(crate) id: Option<String>,
    /// Not empty.
    pub(crate) name: Option<String>,
    pub(crate) arguments: String,
}

impl<'a> Chunk<'a> {
    /// Reads an event's data. The error is for the log: without the words of the event,
    /// which may be the answer's.
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, String> {
        // Checked once: of bytes, serde_json would check text by text.
        let data = str::from_utf8(data).map_err(|_| "an event is not UTF-8".to_owned())?;
        if data.trim().is_empty() {
            return Ok(Self::default());
        }
        if let Ok(plain) = serde_json::from_str::<Plain<'_>>(data) {
            return Ok(plain.into());
        }
        serde_json::from_str(data).map(odd).map_err(|error| {
            let (kind, column) = (error.classify(), error.column());
            format!("an event is no chunk: {kind:?} error at byte {column}")
        })
    }
}

/// A chunk with text, or one that ends a choice: nearly all are.
#[derive(Deserialize)]
struct Plain<'a> {
    #[serde(borrow)]
    choices: Vec<PlainChoice<'a>>,
    #[serde(default)]
    usage: Option<PlainUsage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct PlainChoice<'a> {
    #[serde(default)]
    index: usize,
    #[serde(borrow)]
    delta: PlainDelta<'a>,
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
    #[serde(default)]
    logprobs: Option<PlainLogprobs>,
}

/// A text of an event: a copy only where an escape stands in it.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct PlainDelta<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Text<'a>>,
    /// vLLM's newer name.
    #[serde(borrow, default)]
    reasoning: Option<Text<'a>>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct PlainLogprobs {
    #[serde(default)]
    content: Option<Vec<Box<RawValue>>>,
}

impl<'a> From<Plain<'a>> for Chunk<'a> {
    fn from(plain: Plain<'a>) -> Self {
        let text = |text: Option<Text<'a>>| text.map(|Text(text)| text);
        let choices = plain.choices.into_iter().map(|choice| Choice {
            index: choice.index,
            finish_reason: text(choice.finish_reason),
            logprobs: choice
                .logprobs
                .and_then(|all| all.content)
                .unwrap_or_default(),
            delta: Delta {
                content: text(choice.delta.content),
                reasoning: text(choice.delta.reasoning_content.or(choice.delta.reasoning)),
                tool_calls: tool_calls(choice.delta.tool_calls.map(Value::Array)),
            },
        });
        Self {
            choices: choices.collect(),
            usage: plain.usage.and_then(Counted::of_plain),
            error: plain.error.filter(|error| !error.is_null()),
        }
    }
}

/// An event of another form: with nulls, with parts in place of a text, a whole answer
/// where a stream was asked.
fn odd(mut event: Value) -> Chunk<'static> {
    let choices = match take(&mut event, "choices") {
        Value::Array(choices) => choices,
        _ => Vec::new(),
    };
    let error = match take(&mut event, "error") {
        Value::Null if event["object"] == "error" => Some(event.clone()),
        Value::Null => None,
        error => Some(error),
    };
    Chunk {
        usage: Counted::read(&event["usage"]),
        choices: choices.into_iter().enumerate().map(odd_choice).collect(),
        error,
    }
}

fn odd_choice((place, mut choice): (usize, Value)) -> Choice<'static> {
    let mut delta = match take(&mut choice, "delta") {
        Value::Null => take(&mut choice, "message"),
        delta => delta,
    };
    let index = choice["index"]
        .as_u64()
        .and_then(|index| usize::try_from(index).ok());
    let logprobs = match take(&mut take(&mut choice, "logprobs"), "content") {
        Value::Array(entries) => entries
            .iter()
            .filter_map(|entry| to_raw_value(entry).ok())
            .collect(),
        _ => Vec::new(),
    };
    let reasoning = match take(&mut delta, "reasoning_content") {
        Value::Null => take(&mut delta, "reasoning"),
        reasoning => reasoning,
    };
    Choice {
        index: index.unwrap_or(place),
        finish_reason: text(take(&mut choice, "finish_reason")).map(Cow::Owned),
        logprobs,
        delta: Delta {
            content: text(take(&mut delta, "content")).map(Cow::Owned),
            reasoning: text(reasoning).map(Cow::Owned),
            tool_calls: tool_calls(Some(take(&mut delta, "tool_calls"))),
        },
    }
}

/// A member of an object, moved out; null of any other value.
fn take(value: &mut Value, name: &str) -> Value {
    value.get_mut(name).map(Value::take).unwrap_or_default()
}

/// A text, or the texts of parts joined.
fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(parts) => Some(parts.into_iter().filter_map(text).collect()),
        Value::Object(mut part) => part.remove("text").and_then(text),
        _ => None,
    }
}

fn tool_calls(value: Option<Value>) -> Vec<ToolCallDelta> {
    let Some(Value::Array(calls)) = value else {
        return Vec::new();
    };
    let some = |value: Value| match value {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let calls = calls.into_iter().map(|mut call| {
        let mut function = take(&mut call, "function");
        let arguments = match take(&mut function, "arguments") {
            Value::String(arguments) => arguments,
            Value::Null => String::new(),
            arguments => arguments.to_string(),
        };
        ToolCallDelta {
            index: call["index"].as_i64(),
            id: some(take(&mut call, "id")),
            name: some(take(&mut function, "name")),
            arguments,
        }
    });
    calls.collect()
}
