//! One call to a model: the backend's events pass through the guard to the client,
//! token by token.
//!
//! It does NOT choose the backend, and does NOT know what happens after.

mod ahead;
mod choice;
pub(crate) mod count;
mod logprobs;
mod source;

use std::pin::pin;

use futures::future::{Either, select};

use crate::backend::chunk::Chunk;
use crate::bindings::skerry::chat::safety::Refusal;
use crate::bindings::skerry::chat::types::{FinishReason, ToolCall};
use crate::error::{self, ApiError};
use crate::exchange::meter::Meter;
use crate::output::{Gone, Output};
use crate::platform::{CallError, Platform};
use ahead::{Counted, Sending, Sent};
use choice::Choice;
use count::{Count, Counting, Used};
use source::{NotTaken, Source};

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
    /// Nobody may have more, for the windows are empty, or there is no room for it: what was
    /// generated was shown.
    Ended(ApiError),
    /// The backend, while it answered, found the request at fault: such as a form that nothing
    /// can go on with.
    Refused(ApiError),
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
    count: Count,
    first_token_ns: Option<u64>,
    is_done: bool,
    /// The whole answer was read.
    is_ended: bool,
    /// A guard ended it before its end.
    is_cut: bool,
}

impl<'a, P: Platform> Relay<'a, P> {
    pub(crate) async fn new(platform: &'a P, wanted: Wanted, counting: Counting) -> Self {
        Self {
            platform,
            wanted,
            choices: vec![Choice::new(platform, wanted).await],
            count: Count::new(counting, wanted.choices),
            first_token_ns: None,
            is_done: false,
            is_ended: false,
            is_cut: false,
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

    /// What the call used: as the backend counted it, or estimated.
    pub(crate) fn used(&self) -> Used {
        self.count.used(self.is_ended && !self.is_cut)
    }

    /// Relays the whole answer.
    pub(crate) async fn run(
        &mut self,
        upstream: P::Upstream,
        out: &mut impl Output,
        meter: &mut Meter,
    ) -> Result<Relayed, RelayError> {
        let mut source = Source::new(upstream);
        let mut relayed = self.relay(&mut source, out, meter).await;
        if self.is_cut || matches!(relayed, Err(RelayError::Gone | RelayError::Ended(_))) {
            self.drain(&mut source).await;
        }
        drop(source);
        if let Err(RelayError::Ended(_)) = &relayed
            && let Err(Gone) = self.end_cut(out).await
        {
            relayed = Err(RelayError::Gone);
        }
        relayed
    }

    async fn relay(
        &mut self,
        source: &mut Source<P::Upstream>,
        out: &mut impl Output,
        meter: &mut Meter,
    ) -> Result<Relayed, RelayError> {
        let platform = self.platform;
        // One timer for the whole answer: what comes meanwhile does not move it.
        let mut pause = pin!(platform.sleep_ms(HEARTBEAT_MS));
        while !self.is_done && !self.is_refused() {
            let came = {
                let next = pin!(source.next());
                match select(next, pause.as_mut()).await {
                    Either::Left((bytes, _)) => Some(bytes),
                    Either::Right(_) => None,
                }
            };
            let sending = match came {
                Some(bytes) => {
                    if !self.push(source, bytes)? {
                        break;
                    }
                    while let Some(data) = source.body.next_event() {
                        self.event(data, out, Counted::Now).await?;
                    }
                    Sending::Said
                }
                None => {
                    pause.set(platform.sleep_ms(HEARTBEAT_MS));
                    self.heartbeat(meter).await;
                    Sending::Heartbeat
                }
            };
            let sent = self.send(sending, source, out, meter, pause.as_mut());
            if let Sent::Late = sent.await? {
                pause.set(platform.sleep_ms(HEARTBEAT_MS));
            }
            if !self.is_done {
                self.grow(meter).await.map_err(RelayError::Ended)?;
            }
        }
        let document = std::mem::take(&mut source.body).document();
        if let Some((document, _)) = &document {
            self.event(document, out, Counted::Now).await?;
        }
        let relayed = self.end(out).await?;
        out.flush().await?;
        Ok(relayed)
    }

    /// Takes in what came. False at the body's end.
    fn push(
        &mut self,
        source: &mut Source<P::Upstream>,
        bytes: Option<Result<bytes::Bytes, CallError>>,
    ) -> Result<bool, RelayError> {
        let bytes = match bytes {
            Some(Ok(bytes)) => bytes,
            Some(Err(CallError::AskerGone)) => return Err(RelayError::Gone),
            Some(Err(CallError::Failed(detail))) => return Err(self.failed(detail, true)),
            None => return Ok(false),
        };
        match source.body.push(&bytes) {
            Ok(()) if !self.is_too_long() => Ok(true),
            Err(NotTaken::Full) => Err(RelayError::Ended(ApiError::too_many_large())),
            Ok(()) | Err(NotTaken::TooLong) => {
                Err(self.failed("the answer is larger than its maximum".into(), false))
            }
        }
    }

    /// Time goes by.
    async fn heartbeat(&mut self, meter: &mut Meter) {
        self.count.heartbeat();
        let (tokens, completion) = self.count.so_far();
        meter.heartbeat(self.platform, tokens, completion).await;
    }

    async fn grow(&self, meter: &mut Meter) -> Result<(), ApiError> {
        let (tokens, completion) = self.count.so_far();
        meter.grow(self.platform, tokens, completion).await
    }

    fn is_refused(&self) -> bool {
        self.choices.iter().any(Choice::is_refused)
    }

    fn is_too_long(&self) -> bool {
        let bytes: usize = self.choices.iter().map(Choice::bytes).sum();
        bytes > ANSWER_BYTES_MAX
    }

    async fn event(
        &mut self,
        data: &[u8],
        out: &mut impl Output,
        counted: Counted,
    ) -> Result<(), RelayError> {
        if data.trim_ascii() == b"[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        let chunk = Chunk::parse(data).map_err(|detail| self.failed(detail, false))?;
        if let Some(error) = chunk.error {
            if let Some(refused) = ApiError::refused_in_stream(&error) {
                return Err(RelayError::Refused(refused));
            }
            return Err(self.failed(error::of_backend(&error), false));
        }
        if let Counted::Now = counted {
            self.count.event(&chunk);
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
        self.is_cut = self.is_refused();
        Ok(self.choices[0].relayed())
    }

    /// Lets go what the guards still hold of an answer that ends here because nobody may have
    /// more: it was generated, and it is charged.
    async fn end_cut(&mut self, out: &mut impl Output) -> Result<(), Gone> {
        for index in 0..self.choices.len() {
            if let Err(choice::Error::Gone) = self.choices[index].end(index, out).await {
                return Err(Gone);
            }
        }
        out.flush().await
    }

    /// The finish reasons of all choices but the first, whose reason the orchestrator decides.
    pub(crate) fn other_finish_reasons(&self) -> Vec<FinishReason> {
        let others = self.choices.iter().skip(1);
        let reason = |choice: &Choice<P::Guard>| match choice.has_finished() || self.is_ended {
            true => choice.finish_reason(),
            false => FinishReason::Length,
        };
        others.map(reason).collect()
    }

    fn choice_error(&self, error: choice::Error) -> RelayError {
        match error {
            choice::Error::Gone => RelayError::Gone,
            choice::Error::Full => RelayError::Ended(ApiError::too_many_large()),
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
