//! The backend's wire: OpenAI's chat completions, always streamed, so that the
//! guard sees the answer as it grows and a vanished client stops it.
//!
//! It does NOT know who asks, nor how a backend is reached.

pub(crate) mod chunk;
pub(crate) mod usage;
mod dialect;

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::bindings::skerry::chat::router::Dialect;
use crate::bindings::skerry::chat::types::{Message, MessageRole, ToolCall, ToolDefinition};
pub(crate) use dialect::{Written, counts_continuously};

/// A request as it is sent to a backend: its fields in order.
#[derive(Debug)]
pub(crate) struct BackendRequest<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) model: &'a str,
    pub(crate) messages: &'a [Message],
    pub(crate) tokens_max: Option<u32>,
    pub(crate) tools: Option<&'a RawValue>,
    /// None leaves it to the backend, which is `auto` where there are tools.
    pub(crate) tool_choice: Option<Cow<'a, RawValue>>,
    /// The tenant: an engine shares what it has cached within that alone (vLLM's field).
    pub(crate) cache_salt: String,
    /// The tools and so many of the first messages are the platform's own, the same for
    /// every tenant (a field of our engine's).
    pub(crate) cache_shared_messages: Option<u32>,
    /// The client's other fields, in its order and as it wrote them.
    pub(crate) fields: &'a [(String, Box<RawValue>)],
}

/// A message, as OpenAI writes it.
#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct WireToolCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: Cow<'a, str>,
}

/// For a call that was never answered, where a backend wants an answer to each.
const NO_ANSWER: &str = "The call was not carried out.";
/// For an answer whose call is not in the prompt, where a backend wants a call for each.
const UNKNOWN_FUNCTION: &str = "unknown";

/// A prompt's messages in the form that every backend takes: each call has a JSON object as
/// its arguments and an answer, each answer its call.
struct WireMessages<'a> {
    messages: &'a [Message],
    dialect: Dialect,
}

impl Serialize for WireMessages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.whole())
    }
}

impl<'a> WireMessages<'a> {
    fn whole(&self) -> Vec<WireMessage<'a>> {
        let mut whole = Vec::with_capacity(self.messages.len());
        let mut open: Vec<&'a str> = Vec::new();
        for message in self.messages {
            match (&message.tool_call_id, message.role) {
                (Some(id), MessageRole::Tool) => match open.iter().position(|open| open == id) {
                    Some(answered) => drop(open.remove(answered)),
                    None => {
                        answer(&mut open, &mut whole);
                        whole.push(unknown_call(id));
                    }
                },
                _ => answer(&mut open, &mut whole),
            }
            open.extend(message.tool_calls.iter().map(|call| call.id.as_str()));
            whole.push(self.wire(message));
        }
        answer(&mut open, &mut whole);
        whole
    }

    fn wire(&self, message: &'a Message) -> WireMessage<'a> {
        let tool_calls = message.tool_calls.iter().map(|call| WireToolCall {
            id: &call.id,
            kind: "function",
            function: WireFunction {
                name: &call.name,
                arguments: arguments(call),
            },
        });
        WireMessage {
            role: dialect::role(self.dialect, message.role),
            content: (message.tool_calls.is_empty() || !message.content.is_empty())
                .then_some(message.content.as_str()),
            name: message.name.as_deref(),
            tool_calls: tool_calls.collect(),
            tool_call_id: message.tool_call_id.as_deref(),
        }
    }
}

/// Answers the calls that nobody did.
fn answer<'a>(open: &mut Vec<&'a str>, whole: &mut Vec<WireMessage<'a>>) {
    whole.extend(open.drain(..).map(|id| WireMessage {
        role: "tool",
        content: Some(NO_ANSWER),
        name: None,
        tool_calls: Vec::new(),
        tool_call_id: Some(id),
    }));
}

fn unknown_call(id: &str) -> WireMessage<'_> {
    let call = WireToolCall {
        id,
        kind: "function",
        function: WireFunction {
            name: UNKNOWN_FUNCTION,
            arguments: "{}".into(),
        },
    };
    WireMessage {
        role: "assistant",
        content: None,
        name: None,
        tool_calls: vec![call],
        tool_call_id: None,
    }
}

/// A call's arguments as a JSON object: backends parse those of past calls, and refuse a
/// prompt for one that was cut.
fn arguments(call: &ToolCall) -> Cow<'_, str> {
    let text = call.arguments.trim();
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    match (is_json, text) {
        (true, object) if object.starts_with('{') => Cow::Borrowed(&call.arguments),
        (_, "" | "null" | "[]" | "\"\"") => "{}".into(),
        _ => wrapped(&call.arguments).into(),
    }
}

/// An object with what is no object.
fn wrapped(arguments: &str) -> String {
    #[derive(Serialize)]
    struct Wrapped<'a> {
        arguments: &'a str,
    }
    let written = to_exact_vec(&Wrapped { arguments }).ok();
    let text = written.and_then(|written| String::from_utf8(written).ok());
    text.unwrap_or_else(|| "{}".to_owned())
}

/// A value as JSON, in a block of its size: one that grows is held twice while it is moved.
pub(crate) fn to_exact_vec(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    /// Counts what is written.
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    serde_json::to_writer(&mut count, value)?;
    let mut written = Vec::with_capacity(count.0);
    serde_json::to_writer(&mut written, value)?;
    Ok(written)
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireToolFunction<'a>,
}

#[derive(Serialize)]
struct WireToolFunction<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
}

/// The platform's tools as OpenAI's `tools`. A schema that is not JSON is the
/// leaf's defect; its tool is left out.
pub(crate) fn tool_definitions(tools: &[ToolDefinition]) -> Option<Box<RawValue>> {
    let tools: Vec<WireTool<'_>> = tools
        .iter()
        .filter_map(|tool| {
            let function = WireToolFunction {
                name: &tool.name,
                description: &tool.description,
                parameters: serde_json::from_str(&tool.parameters).ok()?,
            };
            Some(WireTool {
                kind: "function",
                function,
            })
        })
        .collect();
    if tools.is_empty() {
        return None;
    }
    to_raw_value(&tools).ok()
}

#[cfg(test)]
mod tests;
