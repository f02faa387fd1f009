//! A turn's account: what a call may use before it is made, what it used, and the bill.
//!
//! `Invariant:` only a call that answered is charged, or one whose client left; each once.
//! It does NOT know windows; `meter.rs` does.

use serde_json::value::RawValue;

use super::meter::Answer;
use super::open::Opened;
use super::{Exchange, sum};
use crate::backend::{counts_continuously, tool_definitions};
use crate::bindings::skerry::chat::billing::UsageEvent;
use crate::bindings::skerry::chat::types::{Principal, Usage};
use crate::error::ApiError;
use crate::estimate::Extent;
use crate::platform::Platform;
use crate::relay::count::{Counting, Used};
use crate::request::{ChatRequest, ToolChoice};

/// The platform's tools, where this request may have them.
pub(super) async fn platform_tools(
    platform: &impl Platform,
    who: &Principal,
    request: &ChatRequest,
) -> Option<Box<RawValue>> {
    // The platform answers the calls of one choice: the others would have none.
    let is_wanted = who.platform_tools
        && request.tools.is_none()
        && request.choices == 1
        && !matches!(request.tool_choice, ToolChoice::None);
    if !is_wanted {
        return None;
    }
    tool_definitions(&platform.tools(who).await)
}

/// An estimate of what a prompt may have beside its messages: tools and the fields that are
/// handed on, such as a form, by their text.
pub(super) fn beside_messages(request: &ChatRequest, platform_tools: Option<&RawValue>) -> u32 {
    let mut extent = Extent::default();
    for tools in [request.tools.as_deref(), platform_tools] {
        extent.add(tools.map_or("", RawValue::get));
    }
    for (_, value) in &request.fields {
        extent.add(value.get());
    }
    extent.tokens_max()
}

impl<P: Platform> Exchange<P> {
    /// Takes what the next call may use, as far as it is not taken already: the stored history,
    /// and each round of tools with what it adds to the prompt.
    pub(super) async fn reserve(&mut self) -> Result<(), ApiError> {
        let has_grown = self.own_from > 0 || self.model_calls > 0;
        if has_grown {
            let messages = self.platform.estimate_tokens(&self.messages).await;
            self.prompt_tokens = messages.saturating_add(self.beside_messages);
        }
        let answer = Answer::new(self.completion_tokens_left(), self.request.choices);
        let begun = self
            .meter
            .begin(&self.platform, self.prompt_tokens, answer)
            .await;
        if has_grown {
            self.lap("rate-limit");
        }
        begun
    }

    pub(super) fn counting(&self, opened: &Opened<P::Upstream>) -> Counting {
        let choices = u32::try_from(self.request.choices).unwrap_or(u32::MAX);
        let most = self.completion_tokens_left();
        Counting {
            is_continuous: counts_continuously(opened.target.dialect),
            prompt_tokens: self.prompt_tokens,
            completion_tokens_max: most.map(|tokens| tokens.saturating_mul(choices)),
        }
    }

    /// Of the client's ceiling, what the calls to the model so far have left: it bounds the
    /// turn, and not each call.
    pub(super) fn completion_tokens_left(&self) -> Option<u32> {
        let (tokens, _) = self.request.completion_tokens_max?;
        Some(tokens.saturating_sub(self.usage.completion_tokens))
    }

    pub(super) fn charge(&mut self, used: Used) {
        let usage = used.usage;
        self.model_calls += 1;
        self.is_estimated |= used.is_estimated;
        self.usage = sum(self.usage, usage);
        let tokens = usage.prompt_tokens.saturating_add(usage.completion_tokens);
        self.meter.end(tokens);
    }

    /// The client left before the backend answered, which may have computed the prompt.
    pub(super) fn charge_prompt(&mut self) {
        self.charge(Used {
            usage: Usage {
                prompt_tokens: self.prompt_tokens,
                cached_tokens: 0,
                completion_tokens: 0,
                reasoning_tokens: 0,
            },
            is_estimated: true,
        });
    }

    pub(super) async fn settle(&mut self) -> Result<(), ApiError> {
        if let Err(detail) = self.meter.settle(&self.platform).await {
            crate::log::error("rate_limit_settle", &detail);
        }
        self.lap("rate-limit");
        if self.model_calls == 0 {
            return Ok(());
        }
        let target = self.target.as_ref();
        let event = UsageEvent {
            request_id: self.request_id.clone(),
            who: self.who.clone(),
            model: target.map_or_else(String::new, |target| target.model_id.clone()),
            backend: target.map_or_else(String::new, |target| target.backend.clone()),
            usage: self.usage,
            estimated: self.is_estimated,
            model_calls: self.model_calls,
            tool_calls: self.tool_calls,
            started_at_ms: self.started_unix_ms,
            duration_ms: u32::try_from(self.elapsed_ms()).unwrap_or(u32::MAX),
        };
        let recorded = self.platform.record(&event).await;
        self.lap("billing");
        recorded.map_err(|detail| {
            let detail = format!("{}: {detail}", self.request_id);
            crate::log::error("usage_not_recorded", &detail);
            ApiError::usage_not_recorded(detail)
        })
    }
}
