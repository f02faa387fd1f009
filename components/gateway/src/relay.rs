//! One call to a model: the backend's events pass through the guard to the client,
//! token by token.
//!
//! It does NOT choose the backend, and does NOT know what happens after.

mod choice;
mod logprobs;

use std::pin::pin;

use futures::future::{Either, select};

use crate::backend::chunk::Chunk;
use crate::bindings::skerry::chat::safety::Refusal;
use crate::bindings::skerry::chat::types::{FinishReason, Message, MessageRole, ToolCall, Usage};
use crate::error;
use crate::output::{Gone, Output};
use crate::platform::{CallError, Platform, Upstream};
use crate::sse;
use choice::Choice;

/// While nothing leaves: how often the client is asked whether it is there.
const HEARTBEAT_MS: u64 = 2_000;
/// What one call to a model may add to an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A whole call's result, of the first choice.
pub(crate) struct Relayed {
    pub(crate) finish_reason: FinishReason,
    /// What the client was shown.
    pub(crate) text: String,
    pub(crate) tool_calls: Vec<ToolCall>,
    /// The guard cut the answer here.
    pub(crate) refusal: Option<Refusal>,
}

#[derive(Debug)]
pub(crate) enum RelayError {
    Gone,
    Failed(Failure),
}

/// A backend's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For the operator.
    pub(crate) detail: String,
    /// Something of the answer left before.
    pub(crate) is_shown: bool,
    /// It speaks of the backend's health: the connection broke. An answer that cannot be
    /// read, or an error that the backend reports, may be one request's fault.
    pub(crate) is_unhealthy: bool,
}

impl From<Gone> for RelayError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// How a request wants to be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Tool calls go to the client, not to the platform.
    pub(crate) show_tool_calls: bool,
    pub(crate) logprobs: bool,
    /// The text is a JSON document.
    pub(crate) json: bool,
    /// Answers to the prompt.
    pub(crate) choices: usize,
}

/// The state of one call. It outlives an interruption: what was used and shown so
/// far stands in it.
pub(crate) struct Relay<'a, P: Platform> {
    platform: &'a P,
    wanted: Wanted,
    choices: Vec<Choice<P::Guard>>,
    usage: Option<Usage>,
    /// Pieces of an answer: the count of tokens where the backend has told none.
    deltas: u32,
    first_token_ns: Option<u64>,
    is_done: bool,
    /// The whole answer was read.
    is_ended: bool,
}

impl<'a, P: Platform> Relay<'a, P> {
    pub(crate) async fn new(platform: &'a P, wanted: Wanted) -> Self {
        Self {
            platform,
            wanted,
            choices: vec![Choice::new(platform, wanted).await],
            usage: None,
            deltas: 0,
            first_token_ns: None,
            is_done: false,
            is_ended: false,
        }
    }

    /// The first choice's text that was shown so far.
    pub(crate) fn text(&self) -> &str {
        self.choices.first().map_or("", Choice::text)
    }

    /// When the first token came, on the monotonic clock.
    pub(crate) fn first_token_ns(&self) -> Option<u64> {
        self.first_token_ns
    }

    /// The tokens that the backend counted. Where it was cut before, or counts none, the
    /// prompt is estimated and the answer is a token for each piece; of an answer that is
    /// complete, which may have come in few pieces, the text's estimate if that is more.
    pub(crate) async fn usage(&self, prompt: &[Message]) -> Usage {
        let mut usage = self.usage.unwrap_or(Usage {
            prompt_tokens: 0,
            cached_tokens: 0,
            completion_tokens: 0,
            reasoning_tokens: 0,
        });
        if usage.prompt_tokens == 0 {
            usage.prompt_tokens = self.platform.estimate_tokens(prompt).await;
        }
        if usage.completion_tokens == 0 {
            usage.completion_tokens = self.deltas.max(self.estimated().await);
        }
        usage
    }

    /// An estimate of a complete answer's tokens; 0 while it is not complete.
    async fn estimated(&self) -> u32 {
        if !self.is_ended {
            return 0;
        }
        let message = |choice: &Choice<P::Guard>| Message {
            role: MessageRole::Assistant,
            content: choice.text().to_owned(),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        };
        let answer: Vec<Message> = self.choices.iter().map(message).collect();
        self.platform.estimate_tokens(&answer).await
    }

    /// Relays the whole answer.
    pub(crate) async fn run(
        &mut self,
        mut upstream: P::Upstream,
        out: &mut impl Output,
    ) -> Result<Relayed, RelayError> {
        let platform = self.platform;
        let mut body = Body::default();
        // One timer for the whole answer: what comes meanwhile does not move it.
        let mut pause = pin!(platform.sleep_ms(HEARTBEAT_MS));
        while !self.is_done && !self.is_refused() {
            let mut next = pin!(upstream.next());
            let bytes = loop {
                match select(next.as_mut(), pause.as_mut()).await {
                    Either::Left((bytes, _)) => break bytes,
                    Either::Right(_) => {
                        pause.set(platform.sleep_ms(HEARTBEAT_MS));
                        out.alive().await?;
                    }
                }
            };
            let bytes = match bytes {
                Some(Ok(bytes)) => bytes,
                Some(Err(CallError::AskerGone)) => return Err(RelayError::Gone),
                Some(Err(CallError::Failed(detail))) => return Err(self.failed(detail, true)),
                None => break,
            };
            if body.push(&bytes).is_err() || self.is_too_long() {
                return Err(self.failed("the answer is larger than its maximum".into(), false));
            }
            while let Some(data) = body.next_event() {
                self.event(data, out).await?;
            }
            out.flush().await?;
        }
        if let Some(document) = body.document() {
            self.event(&document, out).await?;
        }
        let relayed = self.end(out).await?;
        out.flush().await?;
        Ok(relayed)
    }

    fn is_refused(&self) -> bool {
        self.choices.iter().any(Choice::is_refused)
    }

    fn is_too_long(&self) -> bool {
        let bytes: usize = self.choices.iter().map(Choice::bytes).sum();
        bytes > ANSWER_BYTES_MAX
    }

    async fn event(&mut self, data: &[u8], out: &mut impl Output) -> Result<(), RelayError> {
        if data.trim_ascii() == b"[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        let chunk = Chunk::parse(data).map_err(|detail| self.failed(detail, false))?;
        if let Some(error) = chunk.error {
            return Err(self.failed(error::of_backend(&error), false));
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.0);
        }
        for choice in chunk.choices {
            let index = choice.index;
            if index >= self.wanted.choices {
                return Err(self.failed(format!("a choice {index} that was not asked"), false));
            }
            while self.choices.len() <= index {
                let choice = Choice::new(self.platform, self.wanted).await;
                self.choices.push(choice);
            }
            let pieces = choice.delta.tool_calls.len()
                + usize::from(has_text(choice.delta.content.as_deref()))
                + usize::from(has_text(choice.delta.reasoning.as_deref()));
            if pieces > 0 {
                self.deltas += u32::try_from(pieces).unwrap_or(u32::MAX);
                let platform = self.platform;
                self.first_token_ns
                    .get_or_insert_with(|| platform.monotonic_ns());
            }
            let relayed = self.choices[index]
                .take(self.platform, index, choice, out)
                .await;
            relayed.map_err(|error| self.choice_error(error))?;
        }
        Ok(())
    }

    /// Lets go what the guards still hold.
    async fn end(&mut self, out: &mut impl Output) -> Result<Relayed, RelayError> {
        let is_complete = |choice: &Choice<P::Guard>| choice.has_finished();
        // A server that says that it is done and not why has still answered.
        if !self.is_refused() && !self.is_done && !self.choices.iter().all(is_complete) {
            let detail = "the answer ended without a finish_reason".into();
            return Err(self.failed(detail, false));
        }
        let is_refused = self.is_refused();
        for index in 0..self.choices.len() {
            if is_refused && !self.choices[index].is_refused() {
                // The cut of one choice ends the answer.
                self.choices[index].cut();
                continue;
            }
            let ended = self.choices[index].end(index, out).await;
            ended.map_err(|error| self.choice_error(error))?;
        }
        self.is_ended = true;
        Ok(self.choices[0].relayed())
    }

    /// The finish reasons of all choices but the first, whose reason the orchestrator decides.
    pub(crate) fn other_finish_reasons(&self) -> Vec<FinishReason> {
        let others = self.choices.iter().skip(1);
        others.map(Choice::finish_reason).collect()
    }

    fn choice_error(&self, error: choice::Error) -> RelayError {
        match error {
            choice::Error::Gone => RelayError::Gone,
            choice::Error::Unreadable(detail) => self.failed(detail, false),
        }
    }

    fn failed(&self, detail: String, is_unhealthy: bool) -> RelayError {
        RelayError::Failed(Failure {
            detail,
            is_shown: self.first_token_ns.is_some(),
            is_unhealthy,
        })
    }
}

fn has_text(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

/// A backend's answer: a stream of events, or one document where a server does not stream.
#[derive(Default)]
enum Body {
    #[default]
    Empty,
    Events(sse::Parser),
    Document(Vec<u8>),
}

/// The body, or a line of it, is longer than its maximum.
struct TooLong;

impl Body {
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        if matches!(self, Self::Empty) {
            // One byte order mark may stand before the first event (WHATWG HTML, 9.2.5).
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            match bytes.trim_ascii_start().first() {
                None => return Ok(()),
                Some(b'{') => *self = Self::Document(Vec::new()),
                Some(_) => *self = Self::Events(sse::Parser::default()),
            }
        }
        match self {
            Self::Document(document) if document.len() + bytes.len() > ANSWER_BYTES_MAX => {
                return Err(TooLong);
            }
            Self::Document(document) => document.extend_from_slice(bytes),
            Self::Events(parser) => parser.push(bytes).map_err(|_| TooLong)?,
            Self::Empty => {}
        }
        Ok(())
    }

    fn next_event(&mut self) -> Option<&[u8]> {
        match self {
            Self::Events(parser) => parser.next_event(),
            Self::Empty | Self::Document(_) => None,
        }
    }

    fn document(self) -> Option<Vec<u8>> {
        match self {
            Self::Document(document) => Some(document),
            Self::Empty | Self::Events(_) => None,
        }
    }
}
