//! Opens an answer: asks one backend after the other until one begins to answer.
//!
//! It does NOT read the answer; `relay.rs` does.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::value::to_raw_value;

use crate::backend::{BackendRequest, Written};
use crate::bindings::skerry::chat::orchestrator::ToolUse;
use crate::bindings::skerry::chat::router::{Outcome, RouteRequest, Target};
use crate::error::ApiError;
use crate::exchange::Exchange;
use crate::platform::{Answer, CallError, Platform, Upstream};
use crate::request::ToolChoice;

/// A backend's error body: an error object fits many times over.
const ERROR_BODY_BYTES_MAX: usize = 64 << 10;
/// Of a model's window, what stays free for the answer when the client set no
/// ceiling of its own: a quarter, at most this.
const ANSWER_TOKENS_KEPT_MAX: u32 = 1_024;
/// For a busy backend that does not say when.
const RETRY_AFTER_MS_DEFAULT: u32 = 1_000;

/// A backend that has begun to answer, and those that could be asked instead.
pub(super) struct Opened<U> {
    pub(super) upstream: U,
    pub(super) target: Target,
    pub(super) others: VecDeque<Target>,
    pub(super) sent_ns: u64,
}

/// What came of asking one backend.
enum Asked<U> {
    Answers(U),
    /// Another backend may do better.
    Failed(ApiError),
    /// No other backend would do better: the request itself is at fault.
    Refused(ApiError),
    /// The client left.
    Left,
}

impl<P: Platform> Exchange<P> {
    pub(super) async fn open(
        &mut self,
        tool_use: ToolUse,
    ) -> Result<Opened<P::Upstream>, ApiError> {
        let chars: usize = self
            .messages
            .iter()
            .map(|message| message.content.len())
            .sum();
        let request = RouteRequest {
            model: self.request.model.clone(),
            prompt_chars: u32::try_from(chars).unwrap_or(u32::MAX),
            query: self.request.query().to_owned(),
            // The platform's tools are always on offer, so they say nothing of the question.
            tools: self.client_tools,
        };
        let targets = self.platform.route(&request).await;
        self.lap("router");
        let targets = targets.map_err(|error| ApiError::no_route(error, &request.model))?;
        self.open_at(targets.into(), tool_use).await
    }

    /// Asks the targets in order; each is asked once.
    pub(super) async fn open_at(
        &mut self,
        mut targets: VecDeque<Target>,
        tool_use: ToolUse,
    ) -> Result<Opened<P::Upstream>, ApiError> {
        let mut last = ApiError::backend_failed("no backend is configured");
        while let Some(target) = targets.pop_front() {
            self.fit(target.context_window).await?;
            self.reserve().await?;
            let sent_ns = self.timing.since_ns();
            let asked = self.ask(&target, tool_use).await;
            self.lap("llm");
            match asked {
                Asked::Answers(upstream) => {
                    self.target = Some(target.clone());
                    let others = targets;
                    return Ok(Opened {
                        upstream,
                        target,
                        others,
                        sent_ns,
                    });
                }
                Asked::Failed(error) => last = error,
                Asked::Refused(error) => return Err(error),
                Asked::Left => {
                    self.target = Some(target);
                    self.charge_prompt();
                    return Err(ApiError::client_gone());
                }
            }
        }
        Err(last)
    }

    /// Makes a stored conversation fit into the model's window, where that is known. What the
    /// client sent itself is never shortened: the backend says whether it fits.
    async fn fit(&mut self, context_window: Option<u32>) -> Result<(), ApiError> {
        let Some(context_window) = context_window else {
            return Ok(());
        };
        let kept = match self.request.completion_tokens_max {
            Some((tokens, field)) if tokens >= context_window => {
                let message = format!(
                    "'{field}' is {tokens}, but the model's context is {context_window} tokens, \
                     prompt and completion together."
                );
                return Err(ApiError::invalid(field, message));
            }
            Some((tokens, _)) => tokens,
            None => (context_window / 4).min(ANSWER_TOKENS_KEPT_MAX),
        };
        if self.own_from == 0 {
            return Ok(());
        }
        let own = self.messages.len() - self.own_from;
        let history = self
            .platform
            .trim(&self.messages, own, context_window - kept)
            .await?;
        self.messages = history.messages;
        self.own_from = self.messages.len().saturating_sub(own);
        self.lap("session");
        Ok(())
    }

    async fn ask(&self, target: &Target, tool_use: ToolUse) -> Asked<P::Upstream> {
        let body = match Written(&self.backend_request(target, tool_use)).to_vec() {
            Ok(body) => body,
            Err(error) => return Asked::Refused(ApiError::internal(error.to_string())),
        };
        let url = format!("{}/chat/completions", target.base_url);
        let posted = self
            .platform
            .post(&url, &target.headers, body, &self.request_id)
            .await;
        let answer = match posted {
            Ok(answer) => answer,
            Err(CallError::AskerGone) => return Asked::Left,
            Err(CallError::Failed(detail)) => {
                self.report_failed(target).await;
                return Asked::Failed(ApiError::backend_failed(detail));
            }
        };
        match answer.status {
            200 => Asked::Answers(answer.body),
            429 | 503 => {
                let seconds = answer
                    .retry_after
                    .as_deref()
                    .and_then(|value| value.parse().ok());
                let wait_ms = seconds.map_or(RETRY_AFTER_MS_DEFAULT, |seconds: u32| {
                    seconds.saturating_mul(1_000)
                });
                self.platform
                    .report(&target.backend, Outcome::Busy(wait_ms))
                    .await;
                Asked::Failed(ApiError::backend_busy(wait_ms.into()))
            }
            // Of the credential or the account, which are the operator's.
            status @ (401 | 402 | 403 | 407) => Asked::Failed(ApiError::backend_failed(format!(
                "it answered {status}: its credential is refused"
            ))),
            status @ 400..=499 if !matches!(status, 408 | 425) => {
                let body = read_error(answer).await;
                Asked::Refused(ApiError::refused_by_backend(status, &body))
            }
            status => {
                // A 500 may be one request's fault; a proxy's word for a server that is away is not.
                if matches!(status, 502 | 504) {
                    self.report_failed(target).await;
                }
                Asked::Failed(ApiError::backend_failed(format!("it answered {status}")))
            }
        }
    }

    fn backend_request<'a>(&'a self, target: &'a Target, tool_use: ToolUse) -> BackendRequest<'a> {
        // The platform's tools go where the operator lets them.
        let tools = self.tools.as_deref();
        let tools = tools.filter(|_| self.client_tools || target.tools);
        let none = || to_raw_value("none").ok().map(Cow::Owned);
        let tool_choice = match (tools, tool_use, &self.request.tool_choice) {
            (None, _, _) => None,
            (Some(_), ToolUse::Forbidden, _) | (Some(_), _, ToolChoice::None) => none(),
            (Some(_), ToolUse::Allowed, ToolChoice::Default) => None,
            (Some(_), ToolUse::Allowed, ToolChoice::Given(choice)) => {
                Some(Cow::Borrowed(choice.as_ref()))
            }
        };
        BackendRequest {
            dialect: target.dialect,
            model: &target.model,
            messages: &self.messages,
            tokens_max: self.completion_tokens_left(),
            tools,
            tool_choice,
            // From the key alone: a client that could choose it would learn from the time
            // of an answer what another tenant asked.
            cache_salt: format!("{}/{}", self.who.organization_id, self.who.project_id),
            cache_shared_messages: (tools.is_some() && !self.client_tools).then_some(0),
            fields: &self.request.fields,
        }
    }

    pub(super) async fn report_failed(&self, target: &Target) {
        self.platform.report(&target.backend, Outcome::Failed).await;
    }

    pub(super) async fn report_answered(
        &self,
        target: &Target,
        sent_ns: u64,
        first_token_ns: Option<u64>,
    ) {
        let waited_ns = first_token_ns.map_or(0, |first| first.saturating_sub(sent_ns));
        let waited_ms = u32::try_from(waited_ns / 1_000_000).unwrap_or(u32::MAX);
        self.platform
            .report(&target.backend, Outcome::Answered(waited_ms))
            .await;
    }
}

async fn read_error<U: Upstream>(mut answer: Answer<U>) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(Ok(bytes)) = answer.body.next().await {
        body.extend_from_slice(&bytes);
        if body.len() > ERROR_BODY_BYTES_MAX {
            break;
        }
    }
    body
}
