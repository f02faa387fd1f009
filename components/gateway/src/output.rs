//! The client's side of an answer: the same calls make a stream of events or one
//! collected object, in OpenAI's shapes.
//!
//! It does NOT know where the text comes from, nor whether more will come.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::backend::usage::WireUsage;
use crate::bindings::skerry::chat::types::{FinishReason, ToolCall};
use crate::error::ApiError;
use crate::memory::Share;
use crate::reply::Reply;
use crate::sse;

/// The client has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// Where a stream's bytes go.
pub(crate) trait Sink {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Gone>;
}

/// What every chunk repeats.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) id: String,
    /// Seconds since the Unix epoch.
    pub(crate) created: u64,
    pub(crate) model: String,
}

/// A piece of a tool call: the first has id and name, all have arguments.
#[derive(Debug, Default)]
pub(crate) struct ToolCallPiece {
    pub(crate) index: usize,
    pub(crate) start: Option<(String, String)>,
    pub(crate) arguments: String,
}

/// A step that the platform took by itself, for clients that asked to see them.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum StepEvent<'a> {
    ToolCall {
        id: &'a str,
        name: &'a str,
        arguments: &'a str,
    },
    ToolResult {
        id: &'a str,
        name: &'a str,
        output: &'a str,
    },
}

/// Each piece of an answer belongs to a choice, counted from 0.
pub(crate) trait Output {
    async fn text(
        &mut self,
        choice: usize,
        text: String,
        logprobs: Vec<Box<RawValue>>,
    ) -> Result<(), Gone>;
    async fn reasoning(&mut self, choice: usize, text: String) -> Result<(), Gone>;
    async fn tool_call(&mut self, choice: usize, piece: ToolCallPiece) -> Result<(), Gone>;
    async fn step(&mut self, event: StepEvent<'_>) -> Result<(), Gone>;
    /// Finds out whether the client is still there, if nothing was sent since the last call.
    async fn alive(&mut self) -> Result<(), Gone>;
    /// Sends what was said: before anything is waited for, and at the end.
    async fn flush(&mut self) -> Result<(), Gone>;
}

/// Server-sent events. What comes at once leaves at once: a write costs more than an event.
pub(crate) struct Streamed<S> {
    sink: S,
    /// Events that were said and not sent yet.
    said: Vec<u8>,
    identity: Identity,
    /// What stands before and after the text in an event that has nothing else to say, as
    /// nearly all have.
    around_text: Option<(Vec<u8>, Vec<u8>)>,
    include_usage: bool,
    events: bool,
    /// The choices whose role was sent.
    begun: Vec<bool>,
    /// Nothing was sent since the last [`Output::alive`].
    is_quiet: bool,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    created: u64,
    model: &'a str,
    object: &'static str,
    choices: &'a [ChunkChoice<'a>],
    /// `null` in every chunk but the last, where usage was asked for (as OpenAI).
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<WireUsage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skerry: Option<&'a StepEvent<'a>>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<LogprobsOut<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    /// The name that DeepSeek and vLLM gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[Value; 1]>,
}

#[derive(Serialize)]
struct LogprobsOut<'a> {
    content: &'a [Box<RawValue>],
    refusal: Option<()>,
}

impl<S: Sink> Streamed<S> {
    pub(crate) fn new(sink: S, identity: Identity, include_usage: bool, events: bool) -> Self {
        let mut streamed = Self {
            sink,
            said: Vec::new(),
            identity,
            around_text: None,
            include_usage,
            events,
            begun: vec![true],
            is_quiet: true,
        };
        let no_text = Delta {
            content: Some(""),
            ..Delta::default()
        };
        streamed.choice(0, no_text, &[], None);
        streamed.around_text = around_text(&streamed.said);
        streamed.said.clear();
        streamed.begun.clear();
        streamed
    }

    fn choice(
        &mut self,
        index: usize,
        mut delta: Delta<'_>,
        logprobs: &[Box<RawValue>],
        finish_reason: Option<&'static str>,
    ) {
        if self.begun.len() <= index {
            self.begun.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.begun[index], true) {
            delta.role = Some("assistant");
        }
        let logprobs = (!logprobs.is_empty()).then_some(LogprobsOut {
            content: logprobs,
            refusal: None,
        });
        let choice = ChunkChoice {
            index,
            delta,
            logprobs,
            finish_reason,
        };
        let usage = self.include_usage.then_some(None);
        self.chunk(&[choice], usage, None);
    }

    fn chunk(
        &mut self,
        choices: &[ChunkChoice<'_>],
        usage: Option<Option<WireUsage>>,
        skerry: Option<&StepEvent<'_>>,
    ) {
        let chunk = Chunk {
            id: &self.identity.id,
            created: self.identity.created,
            model: &self.identity.model,
            object: "chat.completion.chunk",
            choices,
            usage,
            skerry,
        };
        sse::write_event(&mut self.said, &chunk);
    }

    /// The last chunks of a whole answer, and its `[DONE]`.
    pub(crate) async fn finish(
        &mut self,
        reasons: &[FinishReason],
        usage: WireUsage,
    ) -> Result<(), Gone> {
        for (index, reason) in reasons.iter().enumerate() {
            self.choice(index, Delta::default(), &[], Some(reason_name(*reason)));
        }
        if self.include_usage {
            self.chunk(&[], Some(Some(usage)), None);
        }
        self.said.extend_from_slice(sse::DONE);
        self.flush().await
    }

    /// The stream ends with an error event in OpenAI's form, and without `[DONE]`.
    pub(crate) async fn error(&mut self, error: &ApiError) -> Result<(), Gone> {
        sse::write_event(&mut self.said, &error.body());
        self.flush().await
    }
}

/// Cuts an event at its text, which is empty. (Within another text, its quotes would be escaped.)
fn around_text(event: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    const TEXT: &[u8] = br#""content":"""#;
    let end = memchr::memmem::find(event, TEXT)? + TEXT.len();
    Some((event[..end - 2].to_vec(), event[end..].to_vec()))
}

impl<S: Sink> Output for Streamed<S> {
    async fn text(
        &mut self,
        choice: usize,
        text: String,
        logprobs: Vec<Box<RawValue>>,
    ) -> Result<(), Gone> {
        if choice == 0
            && self.begun.first() == Some(&true)
            && logprobs.is_empty()
            && let Some((before, after)) = &self.around_text
            && let Ok(text) = serde_json::to_string(&text)
        {
            self.said.reserve(before.len() + text.len() + after.len());
            self.said.extend_from_slice(before);
            self.said.extend_from_slice(text.as_bytes());
            self.said.extend_from_slice(after);
            return Ok(());
        }
        let delta = Delta {
            content: Some(&text),
            ..Delta::default()
        };
        self.choice(choice, delta, &logprobs, None);
        Ok(())
    }

    async fn reasoning(&mut self, choice: usize, text: String) -> Result<(), Gone> {
        let delta = Delta {
            reasoning_content: Some(&text),
            ..Delta::default()
        };
        self.choice(choice, delta, &[], None);
        Ok(())
    }

    async fn tool_call(&mut self, choice: usize, piece: ToolCallPiece) -> Result<(), Gone> {
        let call = match &piece.start {
            Some((id, name)) => json!({"index": piece.index, "id": id, "type": "function",
                "function": {"name": name, "arguments": piece.arguments}}),
            None => json!({"index": piece.index, "function": {"arguments": piece.arguments}}),
        };
        let delta = Delta {
            tool_calls: Some([call]),
            ..Delta::default()
        };
        self.choice(choice, delta, &[], None);
        Ok(())
    }

    async fn step(&mut self, event: StepEvent<'_>) -> Result<(), Gone> {
        if !self.events {
            self.said.extend_from_slice(sse::COMMENT);
            return self.flush().await;
        }
        self.chunk(&[], None, Some(&event));
        self.flush().await
    }

    async fn alive(&mut self) -> Result<(), Gone> {
        if std::mem::replace(&mut self.is_quiet, true) {
            self.said.extend_from_slice(sse::COMMENT);
        }
        let sent = self.flush().await;
        self.is_quiet = true;
        sent
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        match std::mem::take(&mut self.said) {
            nothing if nothing.is_empty() => Ok(()),
            said => {
                self.is_quiet = false;
                self.sink.write(said).await
            }
        }
    }
}

/// One answer that is collected to an object, at most: 8,000 tokens with 20 alternatives each
/// are 16 MiB.
const COLLECTED_BYTES_MAX: usize = 24 << 20;
/// As it is collected, and as it is written.
const COLLECTED_COPIES: usize = 2;
/// What a token's log probabilities take beside their text.
pub(crate) const LOGPROB_BYTES: usize = 48;

/// One object at the end.
#[derive(Default)]
pub(crate) struct Collected {
    choices: Vec<Message>,
    steps: Vec<Box<RawValue>>,
    bytes: usize,
    share: Share,
    full: Option<ApiError>,
}

#[derive(Default)]
struct Message {
    content: String,
    reasoning: String,
    tool_calls: Vec<ToolCall>,
    logprobs: Vec<Box<RawValue>>,
}

/// OpenAI's `chat.completion`: written from the parts, for a tree of them would be many times
/// as large.
#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    usage: WireUsage,
    choices: Vec<CompletionChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skerry: Option<Steps<'a>>,
}

#[derive(Serialize)]
struct Steps<'a> {
    steps: &'a [Box<RawValue>],
}

#[derive(Serialize)]
struct CompletionChoice<'a> {
    index: usize,
    message: CompletionMessage<'a>,
    logprobs: Option<LogprobsOut<'a>>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct CompletionMessage<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CompletionCall<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
}

#[derive(Serialize)]
struct CompletionCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CompletionFunction<'a>,
}

#[derive(Serialize)]
struct CompletionFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl Message {
    fn completion(&self, index: usize, reason: FinishReason) -> CompletionChoice<'_> {
        let calls = self.tool_calls.iter().map(|call| CompletionCall {
            id: &call.id,
            kind: "function",
            function: CompletionFunction {
                name: &call.name,
                arguments: &call.arguments,
            },
        });
        let is_empty = self.content.is_empty() && !self.tool_calls.is_empty();
        CompletionChoice {
            index,
            message: CompletionMessage {
                role: "assistant",
                content: (!is_empty).then_some(&self.content),
                refusal: None,
                tool_calls: calls.collect(),
                reasoning_content: &self.reasoning,
            },
            logprobs: (!self.logprobs.is_empty()).then_some(LogprobsOut {
                content: &self.logprobs,
                refusal: None,
            }),
            finish_reason: reason_name(reason),
        }
    }
}

impl Collected {
    /// OpenAI's `chat.completion`.
    pub(crate) fn into_reply(
        mut self,
        identity: &Identity,
        reasons: &[FinishReason],
        usage: WireUsage,
        events: bool,
    ) -> Reply {
        self.choices.resize_with(reasons.len(), Message::default);
        let choices = self.choices.iter().zip(reasons).enumerate();
        let completion = Completion {
            id: &identity.id,
            object: "chat.completion",
            created: identity.created,
            model: &identity.model,
            usage,
            choices: choices
                .map(|(index, (message, reason))| message.completion(index, *reason))
                .collect(),
            skerry: events.then_some(Steps { steps: &self.steps }),
        };
        Reply::json_of(200, &completion, self.bytes)
    }

    /// Why no more is taken, if that is so: the answer ends there.
    pub(crate) fn take_full(&mut self) -> Option<ApiError> {
        self.full.take()
    }

    /// Makes room for more, or ends the answer.
    fn grow(&mut self, bytes: usize) -> Result<(), Gone> {
        self.bytes += bytes;
        let full = if self.bytes > COLLECTED_BYTES_MAX {
            Some(ApiError::answer_too_large(COLLECTED_BYTES_MAX))
        } else {
            let grown = self.share.grow_to(self.bytes, COLLECTED_COPIES);
            grown.is_err().then(ApiError::too_many_large)
        };
        match full {
            None => Ok(()),
            Some(error) => {
                self.full = Some(error);
                Err(Gone)
            }
        }
    }

    fn message(&mut self, choice: usize) -> &mut Message {
        if self.choices.len() <= choice {
            self.choices.resize_with(choice + 1, Message::default);
        }
        &mut self.choices[choice]
    }
}

impl Output for Collected {
    async fn text(
        &mut self,
        choice: usize,
        text: String,
        mut logprobs: Vec<Box<RawValue>>,
    ) -> Result<(), Gone> {
        let entries = logprobs
            .iter()
            .map(|entry| entry.get().len() + LOGPROB_BYTES);
        self.grow(text.len() + entries.sum::<usize>())?;
        let message = self.message(choice);
        message.content.push_str(&text);
        message.logprobs.append(&mut logprobs);
        Ok(())
    }

    async fn reasoning(&mut self, choice: usize, text: String) -> Result<(), Gone> {
        self.grow(text.len())?;
        self.message(choice).reasoning.push_str(&text);
        Ok(())
    }

    async fn tool_call(&mut self, choice: usize, piece: ToolCallPiece) -> Result<(), Gone> {
        self.grow(piece.arguments.len())?;
        let calls = &mut self.message(choice).tool_calls;
        if calls.len() <= piece.index {
            calls.resize_with(piece.index + 1, || ToolCall {
                id: String::new(),
                name: String::new(),
                arguments: String::new(),
            });
        }
        let call = &mut calls[piece.index];
        if let Some((id, name)) = piece.start {
            (call.id, call.name) = (id, name);
        }
        call.arguments.push_str(&piece.arguments);
        Ok(())
    }

    async fn step(&mut self, event: StepEvent<'_>) -> Result<(), Gone> {
        if let Ok(step) = serde_json::value::to_raw_value(&event) {
            self.grow(step.get().len())?;
            self.steps.push(step);
        }
        Ok(())
    }

    async fn alive(&mut self) -> Result<(), Gone> {
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        Ok(())
    }
}

fn reason_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}
