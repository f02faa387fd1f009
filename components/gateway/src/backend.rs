//! The backend's wire: OpenAI's chat completions, always streamed, so that the
//! guard sees the answer as it grows and a vanished client stops it.
//!
//! It does NOT know which backend this is, nor who asks.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::bindings::skerry::chat::types::{Message, MessageRole, ToolDefinition, Usage};
use crate::error::ErrorObject;

/// What is asked of a backend.
#[derive(Serialize)]
pub(crate) struct BackendRequest<'a> {
    pub(crate) model: &'a str,
    pub(crate) messages: Vec<WireMessage<'a>>,
    pub(crate) stream: bool,
    pub(crate) stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<Value>,
    /// Whose prompt it is: an engine shares what it has cached within that alone
    /// (vLLM's field).
    pub(crate) cache_salt: String,
    /// The tools and so many of the first messages are the platform's own, the same for
    /// every tenant (a field of our engine's).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_shared_messages: Option<u32>,
    #[serde(flatten)]
    pub(crate) sampling: &'a Map<String, Value>,
}

#[derive(Serialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
}

#[derive(Serialize)]
pub(crate) struct WireMessage<'a> {
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
pub(crate) struct WireToolCall<'a> {
    pub(crate) id: &'a str,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) function: WireFunction<'a>,
}

#[derive(Serialize)]
pub(crate) struct WireFunction<'a> {
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a str,
}

impl<'a> From<&'a Message> for WireMessage<'a> {
    fn from(message: &'a Message) -> Self {
        let tool_calls = message.tool_calls.iter().map(|call| WireToolCall {
            id: &call.id,
            kind: "function",
            function: WireFunction {
                name: &call.name,
                arguments: &call.arguments,
            },
        });
        Self {
            role: role(message.role),
            content: (message.tool_calls.is_empty() || !message.content.is_empty())
                .then_some(message.content.as_str()),
            name: message.name.as_deref(),
            tool_calls: tool_calls.collect(),
            tool_call_id: message.tool_call_id.as_deref(),
        }
    }
}

fn role(role: MessageRole) -> &'static str {
    match role {
        MessageRole::System => "system",
        MessageRole::Developer => "developer",
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
        MessageRole::Tool => "tool",
    }
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

/// One event of a backend's stream. Its texts stay where they are.
#[derive(Debug, Deserialize)]
pub(crate) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub(crate) choices: Vec<Choice<'a>>,
    #[serde(default)]
    pub(crate) usage: Option<WireUsage>,
    #[serde(default)]
    pub(crate) error: Option<ErrorObject>,
}

impl<'a> Chunk<'a> {
    /// Reads an event's data. What is wrong is said for the log: without the words of the
    /// event, which may be the answer's.
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, String> {
        // Checked once: of bytes, serde_json would check text by text.
        let data = str::from_utf8(data).map_err(|_| "an event is not UTF-8".to_owned())?;
        serde_json::from_str(data).map_err(|error| {
            let (kind, column) = (error.classify(), error.column());
            format!("an event is no chunk: {kind:?} error at byte {column}")
        })
    }
}

/// A text of an event: a copy only where an escape stands in it.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

#[derive(Debug, Deserialize)]
pub(crate) struct Choice<'a> {
    #[serde(borrow, default)]
    pub(crate) delta: Delta<'a>,
    #[serde(borrow, default)]
    pub(crate) finish_reason: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) logprobs: Option<Logprobs>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Delta<'a> {
    #[serde(borrow, default)]
    pub(crate) content: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) tool_calls: Option<Vec<ToolCallDelta>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ToolCallDelta {
    #[serde(default)]
    pub(crate) index: usize,
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) function: FunctionDelta,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct FunctionDelta {
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) arguments: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Logprobs {
    #[serde(default)]
    pub(crate) content: Option<Vec<Box<RawValue>>>,
}

/// OpenAI's `usage`, in and out.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct WireUsage {
    pub(crate) prompt_tokens: u32,
    #[serde(default)]
    pub(crate) completion_tokens: u32,
    #[serde(default)]
    pub(crate) total_tokens: u32,
    #[serde(default)]
    pub(crate) prompt_tokens_details: Option<PromptTokensDetails>,
    #[serde(default)]
    pub(crate) completion_tokens_details: Option<CompletionTokensDetails>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct PromptTokensDetails {
    #[serde(default)]
    pub(crate) cached_tokens: u32,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct CompletionTokensDetails {
    #[serde(default)]
    pub(crate) reasoning_tokens: u32,
}

impl From<WireUsage> for Usage {
    fn from(usage: WireUsage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage
                .prompt_tokens_details
                .map_or(0, |details| details.cached_tokens),
            completion_tokens: usage.completion_tokens,
            reasoning_tokens: usage
                .completion_tokens_details
                .map_or(0, |details| details.reasoning_tokens),
        }
    }
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
            prompt_tokens_details: Some(PromptTokensDetails {
                cached_tokens: usage.cached_tokens,
            }),
            completion_tokens_details: Some(CompletionTokensDetails {
                reasoning_tokens: usage.reasoning_tokens,
            }),
        }
    }
}
