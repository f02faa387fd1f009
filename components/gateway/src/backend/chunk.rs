//! One event of a backend's answer. What OpenAI's form says is read at once; an event of
//! any other form, or a large one, is read again part by part, taking what can be understood.
//!
//! It does NOT know which backend it came from.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::usage::{Counted, PlainUsage};
use crate::raw_json::{Elements, RawFields, tree};
use crate::request::{CHOICES_MAX, TOOLS_MAX};

/// An event that is read as a whole: of more bytes, too many values could be made.
const PLAIN_BYTES_MAX: usize = 8 << 10;
/// Tokens of one event with their log probabilities: all of a long answer that comes at once.
const LOGPROBS_MAX: usize = 1 << 15;

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
        if data.len() <= PLAIN_BYTES_MAX
            && let Ok(plain) = serde_json::from_str::<Plain<'_>>(data)
        {
            return plain.try_into();
        }
        match RawFields::parse(data) {
            Ok(fields) => odd(data, &fields),
            // A value that is no object says nothing.
            Err(error) if error.is_data() => Ok(Self::default()),
            Err(error) => {
                let (kind, column) = (error.classify(), error.column());
                Err(format!(
                    "an event is no chunk: {kind:?} error at byte {column}"
                ))
            }
        }
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
    #[serde(borrow, default)]
    tool_calls: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct PlainLogprobs {
    #[serde(default)]
    content: Option<Vec<Box<RawValue>>>,
}

impl<'a> TryFrom<Plain<'a>> for Chunk<'a> {
    type Error = String;

    fn try_from(plain: Plain<'a>) -> Result<Self, String> {
        let text = |text: Option<Text<'a>>| text.map(|Text(text)| text);
        let choice = |choice: PlainChoice<'a>| {
            let calls = choice.delta.tool_calls.unwrap_or_default();
            Ok(Choice {
                index: choice.index,
                finish_reason: text(choice.finish_reason),
                logprobs: choice
                    .logprobs
                    .and_then(|all| all.content)
                    .unwrap_or_default(),
                delta: Delta {
                    content: text(choice.delta.content),
                    reasoning: text(choice.delta.reasoning_content.or(choice.delta.reasoning)),
                    tool_calls: calls.into_iter().map(tool_call).collect::<Result<_, _>>()?,
                },
            })
        };
        let choices = plain.choices.into_iter().map(choice);
        Ok(Self {
            choices: choices.collect::<Result<_, String>>()?,
            usage: plain.usage.and_then(Counted::of_plain),
            error: plain.error.filter(|error| !error.is_null()),
        })
    }
}

/// An event of another form: with nulls, with parts in place of a text, a whole answer
/// where a stream was asked.
fn odd<'a>(event: &str, fields: &RawFields<'a>) -> Result<Chunk<'a>, String> {
    let places = elements::<CHOICES_MAX>(fields.get("choices"), "choices")?;
    let choices = places.into_iter().enumerate().map(odd_choice);
    let choices = choices.collect::<Result<_, _>>()?;
    // Of an error too large for a tree there is nothing to tell but that it is one.
    let error = |raw: &RawValue| tree(raw).unwrap_or(Value::Bool(true));
    let error = match (fields.get("error"), fields.get("object")) {
        (Some(raw), _) => Some(error(raw)),
        (None, Some(object)) if object.get() == "\"error\"" => {
            serde_json::from_str::<&RawValue>(event).ok().map(error)
        }
        (None, _) => None,
    };
    let usage = fields.get("usage").and_then(tree);
    Ok(Chunk {
        usage: usage.as_ref().and_then(Counted::read),
        choices,
        error,
    })
}

fn odd_choice<'a>((place, choice): (usize, &'a RawValue)) -> Result<Choice<'a>, String> {
    let choice = RawFields::of(Some(choice));
    let delta = RawFields::of(choice.get("delta").or(choice.get("message")));
    let index = choice
        .get("index")
        .and_then(|index| index.get().parse().ok());
    let logprobs = RawFields::of(choice.get("logprobs")).get("content");
    let logprobs = elements::<LOGPROBS_MAX>(logprobs, "log probabilities")?;
    let reasoning = delta.get("reasoning_content").or(delta.get("reasoning"));
    Ok(Choice {
        index: index.unwrap_or(place),
        finish_reason: text(choice.get("finish_reason"))?,
        logprobs: logprobs.into_iter().map(ToOwned::to_owned).collect(),
        delta: Delta {
            content: text(delta.get("content"))?,
            reasoning: text(reasoning)?,
            tool_calls: tool_calls(delta.get("tool_calls"))?,
        },
    })
}

/// An array's elements; none of any other value. An error where there are too many.
fn elements<'a, const MAX: usize>(
    value: Option<&'a RawValue>,
    noun: &str,
) -> Result<Vec<&'a RawValue>, String> {
    match value.and_then(Elements::<MAX>::of) {
        Some(all) if all.count > MAX => Err(format!("an event has more than {MAX} {noun}")),
        all => Ok(all.map(|all| all.first).unwrap_or_default()),
    }
}

/// A text, or the texts of parts joined.
fn text(raw: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, String> {
    match raw {
        Some(raw) if raw.get().starts_with('"') => string(raw).map(Some),
        Some(raw) => Ok(tree(raw).and_then(joined).map(Cow::Owned)),
        None => Ok(None),
    }
}

/// A string's text: half a surrogate pair is none.
fn string(raw: &RawValue) -> Result<Cow<'_, str>, String> {
    crate::raw_json::text(raw).ok_or_else(|| "a text of an event cannot be read".to_owned())
}

fn joined(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(parts) => Some(parts.into_iter().filter_map(joined).collect()),
        Value::Object(mut part) => part.remove("text").and_then(joined),
        _ => None,
    }
}

fn tool_calls(value: Option<&RawValue>) -> Result<Vec<ToolCallDelta>, String> {
    let calls = elements::<TOOLS_MAX>(value, "tool calls")?;
    calls.into_iter().map(tool_call).collect()
}

fn tool_call(call: &RawValue) -> Result<ToolCallDelta, String> {
    let call = RawFields::of(Some(call));
    let function = RawFields::of(call.get("function"));
    let arguments = match function.get("arguments") {
        Some(raw) if raw.get().starts_with('"') => string(raw)?.into_owned(),
        Some(raw) => raw.get().to_owned(),
        None => String::new(),
    };
    Ok(ToolCallDelta {
        index: call.get("index").and_then(|index| index.get().parse().ok()),
        id: call.get("id").and_then(name),
        name: function.get("name").and_then(name),
        arguments,
    })
}

/// An id or a name, which some servers write as a number.
fn name(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => {
            let text = crate::raw_json::text(raw)?;
            (!text.is_empty()).then(|| text.into_owned())
        }
        b'-' | b'0'..=b'9' => Some(raw.get().to_owned()),
        _ => None,
    }
}
