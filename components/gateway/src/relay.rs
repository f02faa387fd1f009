//! One call to a model: the backend's events pass through the guard to the client,
//! token by token.
//!
//! It does NOT choose the backend, and does NOT know what happens after.

use std::pin::pin;

use bytes::Bytes;
use futures::future::{Either, select};
use serde_json::value::RawValue;

use crate::backend::{Chunk, Text, ToolCallDelta};
use crate::bindings::skerry::chat::safety::{Refusal, Released};
use crate::bindings::skerry::chat::types::{FinishReason, Message, ToolCall, Usage};
use crate::output::{Gone, Output, ToolCallPiece};
use crate::platform::{CallError, Guard, Platform, Upstream};
use crate::sse;

/// While no token has come: how often the client is asked whether it is there.
const HEARTBEAT_MS: u64 = 2_000;
/// What one call to a model may add to an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// As many tool calls as a request may offer tools.
const TOOL_CALLS_MAX: usize = crate::request::TOOLS_MAX;

/// What a whole call gave.
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
    /// The backend failed. `shown` tells whether anything of the answer left before.
    Failed {
        detail: String,
        shown: bool,
    },
}

impl From<Gone> for RelayError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

struct Call<G> {
    call: ToolCall,
    guard: G,
}

/// The state of one call. It outlives an interruption: what was used and shown so
/// far stands in it.
pub(crate) struct Relay<'a, P: Platform> {
    platform: &'a P,
    guard: P::Guard,
    /// Tool calls go to the client, not to the platform.
    show_tool_calls: bool,
    text: String,
    calls: Vec<Call<P::Guard>>,
    /// Text that the guard still holds, as far as that is known: see [`Self::release`].
    held: Option<String>,
    logprobs: Vec<Box<RawValue>>,
    refusal: Option<Refusal>,
    finish_reason: Option<FinishReason>,
    usage: Option<Usage>,
    /// Chunks with text: the count of tokens where the backend has told none.
    deltas: u32,
    first_token_ns: Option<u64>,
    done: bool,
}

impl<'a, P: Platform> Relay<'a, P> {
    pub(crate) async fn new(platform: &'a P, show_tool_calls: bool, logprobs: bool) -> Self {
        Self {
            platform,
            guard: platform.guard().await,
            show_tool_calls,
            text: String::new(),
            calls: Vec::new(),
            held: logprobs.then(String::new),
            logprobs: Vec::new(),
            refusal: None,
            finish_reason: None,
            usage: None,
            deltas: 0,
            first_token_ns: None,
            done: false,
        }
    }

    /// What was shown so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// When the first token came, on the monotonic clock.
    pub(crate) fn first_token_ns(&self) -> Option<u64> {
        self.first_token_ns
    }

    /// What the backend says was used; where it was cut before it said, a token for each
    /// chunk and the prompt as estimated.
    pub(crate) async fn usage(&self, prompt: &[Message]) -> Usage {
        match self.usage {
            Some(usage) => usage,
            None => Usage {
                prompt_tokens: self.platform.estimate_tokens(prompt).await,
                cached_tokens: 0,
                completion_tokens: self.deltas,
                reasoning_tokens: 0,
            },
        }
    }

    /// Relays the whole answer.
    pub(crate) async fn run(
        &mut self,
        mut upstream: P::Upstream,
        out: &mut impl Output,
    ) -> Result<Relayed, RelayError> {
        let mut parser = sse::Parser::default();
        while !self.done && self.refusal.is_none() {
            let bytes = match self.next(&mut upstream, out).await? {
                Some(Ok(bytes)) => bytes,
                Some(Err(CallError::AskerGone)) => return Err(RelayError::Gone),
                Some(Err(CallError::Failed(detail))) => return Err(self.failed(detail)),
                None => break,
            };
            if parser.push(&bytes).is_err() || self.text.len() > ANSWER_BYTES_MAX {
                return Err(self.failed("the answer is larger than its maximum".into()));
            }
            while let Some(data) = parser.next_event() {
                self.event(data, out).await?;
            }
            out.flush().await?;
        }
        let relayed = self.end(out).await?;
        out.flush().await?;
        Ok(relayed)
    }

    /// The next bytes. Before the first token the client gets a comment now and
    /// then, so that one that has gone is noticed.
    async fn next(
        &self,
        upstream: &mut P::Upstream,
        out: &mut impl Output,
    ) -> Result<Option<Result<Bytes, CallError>>, Gone> {
        if self.first_token_ns.is_some() {
            return Ok(upstream.next().await);
        }
        let mut next = pin!(upstream.next());
        loop {
            let pause = pin!(self.platform.sleep_ms(HEARTBEAT_MS));
            match select(next.as_mut(), pause).await {
                Either::Left((bytes, _)) => return Ok(bytes),
                Either::Right(_) => out.alive().await?,
            }
        }
    }

    async fn event(&mut self, data: &[u8], out: &mut impl Output) -> Result<(), RelayError> {
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk = Chunk::parse(data).map_err(|detail| self.failed(detail))?;
        if let Some(error) = chunk.error {
            return Err(self.failed(error.of_backend()));
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.into());
        }
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(());
        };
        if let Some(reason) = choice.finish_reason {
            self.finish_reason = Some(finish_reason(&reason.0));
        }
        if self.held.is_some() {
            let entries = choice.logprobs.and_then(|logprobs| logprobs.content);
            self.logprobs.extend(entries.unwrap_or_default());
        }
        if let Some(Text(text)) = choice.delta.content
            && !text.is_empty()
        {
            self.token();
            if let Some(held) = &mut self.held {
                held.push_str(&text);
            }
            let released = self.guard.push(&text);
            self.release(released, out).await?;
        }
        for delta in choice.delta.tool_calls.unwrap_or_default() {
            self.token();
            self.tool_call(delta, out).await?;
        }
        Ok(())
    }

    fn token(&mut self) {
        self.deltas += 1;
        self.first_token_ns
            .get_or_insert_with(|| self.platform.monotonic_ns());
    }

    /// Text that may be shown. Log probabilities name the tokens, so they leave only
    /// when the guard holds nothing back; after a mask was put in, none leaves.
    async fn release(&mut self, released: Released, out: &mut impl Output) -> Result<(), Gone> {
        self.refusal = self.refusal.take().or(released.refusal);
        if released.text.is_empty() {
            return Ok(());
        }
        let mut logprobs = Vec::new();
        if let Some(held) = &mut self.held {
            match held.strip_prefix(released.text.as_str()).map(str::to_owned) {
                Some(rest) if rest.is_empty() => {
                    held.clear();
                    logprobs = std::mem::take(&mut self.logprobs);
                }
                Some(rest) => *held = rest,
                None => {
                    self.held = None;
                    self.logprobs.clear();
                }
            }
        }
        self.text.push_str(&released.text);
        out.text(released.text, logprobs).await
    }

    async fn tool_call(
        &mut self,
        delta: ToolCallDelta,
        out: &mut impl Output,
    ) -> Result<(), RelayError> {
        let index = delta.index;
        let mut start = None;
        if index == self.calls.len() && index < TOOL_CALLS_MAX {
            let (Some(id), Some(name)) = (delta.id, delta.function.name) else {
                return Err(self.failed("a tool call begins without id and name".into()));
            };
            start = Some((id.clone(), name.clone()));
            let call = ToolCall {
                id,
                name,
                arguments: String::new(),
            };
            self.calls.push(Call {
                call,
                guard: self.platform.guard().await,
            });
        }
        let Some(call) = self.calls.get_mut(index) else {
            return Err(self.failed(format!("tool call {index} is out of order")));
        };
        let released = call
            .guard
            .push(delta.function.arguments.as_deref().unwrap_or_default());
        self.release_arguments(index, start, released, out).await
    }

    async fn release_arguments(
        &mut self,
        index: usize,
        start: Option<(String, String)>,
        released: Released,
        out: &mut impl Output,
    ) -> Result<(), RelayError> {
        self.refusal = self.refusal.take().or(released.refusal);
        if let Some(call) = self.calls.get_mut(index) {
            call.call.arguments.push_str(&released.text);
            if call.call.arguments.len() > ANSWER_BYTES_MAX {
                return Err(self.failed("a tool call is larger than its maximum".into()));
            }
        }
        if self.show_tool_calls && (start.is_some() || !released.text.is_empty()) {
            out.tool_call(ToolCallPiece {
                index,
                start,
                arguments: released.text,
            })
            .await?;
        }
        Ok(())
    }

    /// Lets go what the guards still hold.
    async fn end(&mut self, out: &mut impl Output) -> Result<Relayed, RelayError> {
        if self.refusal.is_none() {
            let Some(finish_reason) = self.finish_reason else {
                return Err(self.failed("the answer ended without a finish_reason".into()));
            };
            let released = self.guard.finish();
            self.release(released, out).await?;
            for index in 0..self.calls.len() {
                let released = self.calls[index].guard.finish();
                self.release_arguments(index, None, released, out).await?;
            }
            if self.refusal.is_none() {
                return Ok(self.relayed(finish_reason));
            }
        }
        Ok(self.relayed(FinishReason::ContentFilter))
    }

    fn relayed(&mut self, finish_reason: FinishReason) -> Relayed {
        Relayed {
            finish_reason,
            text: self.text.clone(),
            tool_calls: self.calls.drain(..).map(|call| call.call).collect(),
            refusal: self.refusal.take(),
        }
    }

    fn failed(&self, detail: String) -> RelayError {
        RelayError::Failed {
            detail,
            shown: self.first_token_ns.is_some(),
        }
    }
}

fn finish_reason(name: &str) -> FinishReason {
    match name {
        "length" => FinishReason::Length,
        "tool_calls" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}
