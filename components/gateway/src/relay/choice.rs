//! One of an answer's choices: its text, its reasoning and its tool calls, each through a
//! guard of its own.
//!
//! It does NOT read events, and does NOT know how many choices there are.

use super::logprobs::Logprobs;
use super::{Relayed, Wanted};
use crate::backend::chunk::{self, ToolCallDelta};
use crate::bindings::skerry::chat::safety::{Refusal, Released};
use crate::bindings::skerry::chat::types::{FinishReason, ToolCall};
use crate::calls::Calls;
use crate::json_guard::JsonGuard;
use crate::memory::Full;
use crate::output::{Gone, Output, ToolCallPiece};
use crate::platform::{Guard, Platform};
use crate::prompt::name_of;

/// As many tool calls as a request may offer tools.
const TOOL_CALLS_MAX: usize = crate::request::TOOLS_MAX;

/// Log probabilities whose text the guard still holds: those of a whole answer that comes at once.
const LOGPROB_BYTES_WAITING_MAX: usize = super::ANSWER_BYTES_MAX;

/// Why a choice ended before its end.
#[derive(Debug)]
pub(super) enum Error {
    Gone,
    /// Others take the room that there is for large answers.
    Full,
    /// For the operator.
    Unreadable(String),
}

impl From<Gone> for Error {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// The guard of a text, or of a JSON document.
enum Watch<G> {
    Text(G),
    Json(Box<JsonGuard<G>>),
}

impl<G: Guard> Watch<G> {
    fn push(&mut self, delta: &str) -> Released {
        match self {
            Self::Text(guard) => guard.push(delta),
            Self::Json(guard) => guard.push(delta),
        }
    }

    fn finish(&mut self) -> Released {
        match self {
            Self::Text(guard) => guard.finish(),
            Self::Json(guard) => guard.finish(),
        }
    }
}

/// A call of the model's.
struct Call<G> {
    call: ToolCall,
    /// The client was shown its name.
    is_begun: bool,
    /// Released before the name was known.
    waiting: String,
    guard: JsonGuard<G>,
}

pub(super) struct Choice<G> {
    wanted: Wanted,
    content: Watch<G>,
    reasoning: Option<G>,
    text: String,
    /// Bytes of reasoning and of arguments.
    other_bytes: usize,
    calls: Calls,
    begun: Vec<Call<G>>,
    /// Text that the guard still holds, as far as that is known: see [`Self::release`].
    held: Option<String>,
    /// Of the answer's text, what was read.
    read_bytes: usize,
    logprobs: Logprobs<G>,
    refusal: Option<Refusal>,
    is_cut: bool,
    finish_reason: Option<FinishReason>,
}

impl<G: Guard> Choice<G> {
    pub(super) async fn new(platform: &impl Platform<Guard = G>, wanted: Wanted) -> Self {
        let guard = platform.guard().await;
        let content = match wanted.json {
            true => Watch::Json(Box::new(JsonGuard::new(guard))),
            false => Watch::Text(guard),
        };
        Self {
            wanted,
            content,
            reasoning: None,
            text: String::new(),
            other_bytes: 0,
            calls: Calls::default(),
            begun: Vec::new(),
            held: wanted.logprobs.then(String::new),
            read_bytes: 0,
            logprobs: Logprobs::default(),
            refusal: None,
            is_cut: false,
            finish_reason: None,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.other_bytes
    }

    /// The guard refused something of it.
    pub(super) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    pub(super) fn has_finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    /// Ends it because another choice was refused: what its guards hold stays there.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    pub(super) fn finish_reason(&self) -> FinishReason {
        if self.is_refused() || self.is_cut {
            return FinishReason::ContentFilter;
        }
        match self.finish_reason.unwrap_or(FinishReason::Stop) {
            FinishReason::Stop if !self.begun.is_empty() => FinishReason::ToolCalls,
            reason => reason,
        }
    }

    /// Takes in what an event says of this choice.
    pub(super) async fn take(
        &mut self,
        platform: &impl Platform<Guard = G>,
        index: usize,
        choice: chunk::Choice<'_>,
        out: &mut impl Output,
    ) -> Result<(), Error> {
        if let Some(reason) = choice.finish_reason {
            self.finish_reason = Some(finish_reason(&reason)?);
        }
        if self.held.is_some() {
            let text = choice.delta.content.as_ref();
            let text_end = self.read_bytes + text.map_or(0, |text| text.len());
            for entry in choice.logprobs {
                let taken = self.logprobs.take(platform, entry, text_end).await;
                taken.map_err(|Full| Error::Full)?;
                if self.logprobs.waiting_bytes() > LOGPROB_BYTES_WAITING_MAX {
                    let words = "log probabilities came without their text";
                    return Err(Error::Unreadable(words.into()));
                }
            }
        }
        if let Some(text) = choice.delta.reasoning
            && !text.is_empty()
        {
            let guard = match &mut self.reasoning {
                Some(guard) => guard,
                None => self.reasoning.insert(platform.guard().await),
            };
            let released = guard.push(&text);
            self.release_reasoning(index, released, out).await?;
        }
        if let Some(text) = choice.delta.content
            && !text.is_empty()
        {
            if let Some(held) = &mut self.held {
                held.push_str(&text);
                self.read_bytes += text.len();
            }
            let released = self.content.push(&text);
            self.release(index, released, out).await?;
        }
        for delta in choice.delta.tool_calls {
            self.tool_call(platform, index, delta, out).await?;
        }
        Ok(())
    }

    async fn release_reasoning(
        &mut self,
        index: usize,
        released: Released,
        out: &mut impl Output,
    ) -> Result<(), Gone> {
        self.refusal = self.refusal.take().or(released.refusal);
        if released.text.is_empty() {
            return Ok(());
        }
        self.other_bytes += released.text.len();
        out.reasoning(index, released.text).await
    }

    /// Text that may be shown. Log probabilities name the tokens, so they leave only when no
    /// guard holds anything of them back; after a mask was put in, none leaves.
    async fn release(
        &mut self,
        index: usize,
        released: Released,
        out: &mut impl Output,
    ) -> Result<(), Gone> {
        self.refusal = self.refusal.take().or(released.refusal);
        if released.text.is_empty() {
            return Ok(());
        }
        let mut logprobs = Vec::new();
        if let Some(held) = &mut self.held {
            match held.strip_prefix(released.text.as_str()).map(str::to_owned) {
                Some(rest) => {
                    logprobs = self.logprobs.ready(self.read_bytes - rest.len());
                    *held = rest;
                }
                None => {
                    self.held = None;
                    self.logprobs = Logprobs::default();
                }
            }
        }
        self.text.push_str(&released.text);
        out.text(index, released.text, logprobs).await
    }

    /// Log probabilities that waited longer than their text.
    async fn release_logprobs(&mut self, index: usize, out: &mut impl Output) -> Result<(), Gone> {
        let Some(held) = self.held.as_ref().filter(|_| !self.is_refused()) else {
            return Ok(());
        };
        match self.logprobs.ready(self.read_bytes - held.len()) {
            none if none.is_empty() => Ok(()),
            logprobs => out.text(index, String::new(), logprobs).await,
        }
    }

    async fn tool_call(
        &mut self,
        platform: &impl Platform<Guard = G>,
        index: usize,
        delta: ToolCallDelta,
        out: &mut impl Output,
    ) -> Result<(), Error> {
        let piece = self.calls.take(delta);
        if self.calls.len() > TOOL_CALLS_MAX {
            return Err(Error::Unreadable("more tool calls than tools fit".into()));
        }
        if self.begun.len() < self.calls.len() {
            self.begun.push(Call {
                call: ToolCall {
                    id: String::new(),
                    name: String::new(),
                    arguments: String::new(),
                },
                is_begun: false,
                waiting: String::new(),
                guard: JsonGuard::new(platform.guard().await),
            });
        }
        let call = &mut self.begun[piece.call];
        if let Some(name) = piece.name {
            // Its id leaves with its name: a later one would come too late.
            let id = piece
                .id
                .unwrap_or_else(|| format!("call_{:032x}", platform.random()));
            let guard = platform.guard().await;
            let (name, refusal) = judged(&guard, name);
            self.refusal = self.refusal.take().or(refusal);
            let (id, refusal) = judged(&guard, id);
            self.refusal = self.refusal.take().or(refusal);
            call.call.name = name.unwrap_or_else(|masked| name_of(&masked));
            call.call.id = id.unwrap_or_else(|_| format!("call_{:032x}", platform.random()));
            if self.is_refused() {
                return Ok(());
            }
        }
        let call = &mut self.begun[piece.call];
        let released = call.guard.push(&piece.arguments);
        self.release_arguments(index, piece.call, released, out)
            .await
    }

    async fn release_arguments(
        &mut self,
        index: usize,
        place: usize,
        released: Released,
        out: &mut impl Output,
    ) -> Result<(), Error> {
        self.refusal = self.refusal.take().or(released.refusal);
        self.other_bytes += released.text.len();
        let Some(call) = self.begun.get_mut(place) else {
            return Ok(());
        };
        call.call.arguments.push_str(&released.text);
        call.waiting.push_str(&released.text);
        let is_named = !call.call.name.is_empty();
        if !self.wanted.show_tool_calls || !is_named {
            return Ok(());
        }
        let start = (!call.is_begun).then(|| (call.call.id.clone(), call.call.name.clone()));
        call.is_begun = true;
        let arguments = std::mem::take(&mut call.waiting);
        if start.is_none() && arguments.is_empty() {
            return Ok(());
        }
        let piece = ToolCallPiece {
            index: place,
            start,
            arguments,
        };
        Ok(out.tool_call(index, piece).await?)
    }

    /// Lets go what the guards still hold.
    pub(super) async fn end(&mut self, index: usize, out: &mut impl Output) -> Result<(), Error> {
        if self.is_refused() {
            return Ok(());
        }
        if let Some(guard) = &self.reasoning {
            let released = guard.finish();
            self.release_reasoning(index, released, out).await?;
        }
        self.logprobs.finish();
        let released = self.content.finish();
        self.release(index, released, out).await?;
        self.release_logprobs(index, out).await?;
        for place in 0..self.begun.len() {
            let call = &mut self.begun[place];
            if call.call.name.is_empty() {
                return Err(Error::Unreadable("a tool call has no name".into()));
            }
            let mut released = call.guard.finish();
            // A function without arguments: clients parse them all the same.
            let is_whole = !matches!(self.finish_reason, Some(FinishReason::Length));
            if is_whole && call.call.arguments.is_empty() && released.text.is_empty() {
                released.text.push_str("{}");
            }
            self.release_arguments(index, place, released, out).await?;
        }
        Ok(())
    }

    /// The choice's result; its calls and its refusal are moved out.
    pub(super) fn relayed(&mut self) -> Relayed {
        Relayed {
            finish_reason: self.finish_reason(),
            text: self.text.clone(),
            tool_calls: self.begun.drain(..).map(|call| call.call).collect(),
            refusal: self.refusal.take(),
        }
    }
}

/// A text of its own: as it is, or masked; and why the answer ends here.
fn judged(guard: &impl Guard, text: String) -> (Result<String, String>, Option<Refusal>) {
    let pushed = guard.push(&text);
    let rest = guard.boundary();
    let released = pushed.text + &rest.text;
    let judged = if released == text {
        Ok(text)
    } else {
        Err(released)
    };
    (judged, pushed.refusal.or(rest.refusal))
}

/// OpenAI's reasons, and the names that other servers have for them.
fn finish_reason(name: &str) -> Result<FinishReason, Error> {
    match name {
        "length" | "max_tokens" | "model_length" => Ok(FinishReason::Length),
        "tool_calls" | "function_call" | "tool_use" => Ok(FinishReason::ToolCalls),
        "content_filter" | "safety" => Ok(FinishReason::ContentFilter),
        "error" => Err(Error::Unreadable("the backend ended with an error".into())),
        _ => Ok(FinishReason::Stop),
    }
}
