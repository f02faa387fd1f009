//! One turn, from an admitted request to its settled end: the gateway carries out
//! what the orchestrator decides.
//!
//! `Invariant:` what was admitted is settled exactly once, on every way out.
//! `Invariant:` a turn is stored and its usage is durable before the client is told
//! that the answer is complete.

mod account;
pub(crate) mod meter;
mod open;
mod screening;

use serde_json::value::RawValue;

use crate::backend::usage::WireUsage;
use crate::bindings::skerry::chat::orchestrator::{
    Action, Event, ModelOutcome, ToolUse, TurnOptions,
};
use crate::bindings::skerry::chat::rate_limit::State;
use crate::bindings::skerry::chat::router::Target;
use crate::bindings::skerry::chat::session::TurnOutcome;
use crate::bindings::skerry::chat::tools::ToolError;
use crate::bindings::skerry::chat::types::{
    FinishReason, Message, MessageRole, Principal, ToolCall, Usage,
};
use crate::error::ApiError;
use crate::output::{Gone, Identity, Output, StepEvent};
use crate::platform::{Platform, Turn};
use crate::relay::{Relay, RelayError, Relayed, Wanted};
use crate::request::ChatRequest;
use crate::settings;
use crate::timing::Timing;
use meter::{Answer, Meter};
use open::Opened;

/// The longest answer of a tool that a model is shown.
const TOOL_OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Why a turn ended before its end.
#[derive(Debug)]
pub(crate) enum Interrupt {
    Gone,
    Failed(ApiError),
}

impl From<Gone> for Interrupt {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<ApiError> for Interrupt {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

pub(crate) struct Exchange<P: Platform> {
    platform: P,
    who: Principal,
    request: ChatRequest,
    request_id: String,
    meter: Meter,
    /// The estimate of the prompt of the next call.
    prompt_tokens: u32,
    /// Of it, what is no message.
    beside_messages: u32,
    /// The whole prompt as it grows; from `own_from` on it is this turn's.
    messages: Vec<Message>,
    own_from: usize,
    /// What the turn is stored as.
    outcome: TurnOutcome,
    turn: Option<P::Turn>,
    /// Tools that go to the model: the client's, or else the platform's.
    tools: Option<Box<RawValue>>,
    /// They are the client's, who runs them.
    client_tools: bool,
    next: Option<Action>,
    opened: Option<Opened<P::Upstream>>,
    target: Option<Target>,
    pub(crate) timing: Timing,
    started_ns: u64,
    started_unix_ms: u64,
    usage: Usage,
    /// Something of it is not what a backend counted at an answer's end.
    is_estimated: bool,
    model_calls: u32,
    tool_calls: u32,
    /// What the client was shown of a call that was cut.
    cut_text: String,
    /// Of the last call's choices all but the first.
    other_finish_reasons: Vec<FinishReason>,
}

impl<P: Platform> Exchange<P> {
    /// Admits the request and carries the turn to where the model begins to answer,
    /// so that every refusal until there has its own status.
    pub(crate) async fn begin(
        platform: P,
        who: Principal,
        request: ChatRequest,
        request_id: String,
        mut timing: Timing,
        started_ns: u64,
    ) -> Result<Self, ApiError> {
        let tools = account::platform_tools(&platform, &who, &request).await;
        let beside_messages = account::beside_messages(&request, tools.as_deref());
        let messages = platform.estimate_tokens(&request.messages).await;
        let prompt_tokens = messages.saturating_add(beside_messages);
        let tokens_max = request.completion_tokens_max.map(|(tokens, _)| tokens);
        let answer = Answer::new(tokens_max, request.choices);
        let admission = platform
            .admit(&who, prompt_tokens.saturating_add(answer.first()))
            .await?;
        timing.lap("rate-limit", platform.monotonic_ns());
        let started_unix_ms = platform.unix_ms();
        let mut exchange = Self {
            platform,
            who,
            messages: Vec::new(),
            own_from: 0,
            outcome: TurnOutcome::Answered,
            request,
            request_id,
            meter: Meter::new(admission, answer),
            prompt_tokens,
            beside_messages,
            turn: None,
            tools,
            client_tools: false,
            next: None,
            opened: None,
            target: None,
            timing,
            started_ns,
            started_unix_ms,
            usage: Usage {
                prompt_tokens: 0,
                cached_tokens: 0,
                completion_tokens: 0,
                reasoning_tokens: 0,
            },
            is_estimated: false,
            model_calls: 0,
            tool_calls: 0,
            cut_text: String::new(),
            other_finish_reasons: Vec::new(),
        };
        match exchange.prepare().await {
            Ok(()) => Ok(exchange),
            Err(mut error) => {
                // The refusal is what the client is told of.
                let _logged = exchange.settle().await;
                error.limits.get_or_insert(*exchange.meter.state());
                Err(error)
            }
        }
    }

    pub(crate) fn limits(&self) -> &State {
        self.meter.state()
    }

    pub(crate) fn request(&self) -> &ChatRequest {
        &self.request
    }

    pub(crate) fn identity(&self) -> Identity {
        let model = self
            .target
            .as_ref()
            .map_or(&self.request.model, |target| &target.model_id);
        Identity {
            id: format!("chatcmpl-{}", self.request_id.trim_start_matches("req_")),
            created: self.started_unix_ms / 1_000,
            model: model.clone(),
        }
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        (self.platform.monotonic_ns() - self.started_ns) / 1_000_000
    }

    pub(crate) fn usage(&self) -> WireUsage {
        self.usage.into()
    }

    /// The finish reason of each choice, in a turn whose first choice ended with `reason`.
    pub(crate) fn finish_reasons(&self, reason: FinishReason) -> Vec<FinishReason> {
        let others = self.other_finish_reasons.iter().copied();
        std::iter::once(reason).chain(others).collect()
    }

    /// History, safety, the first decision, and the backend's first word.
    async fn prepare(&mut self) -> Result<(), ApiError> {
        if let Some(conversation) = &self.request.conversation {
            self.messages = self.platform.load(&self.who, conversation).await?;
        }
        self.lap("session");

        let blocked = self.screen().await?;
        self.lap("safety");

        let options = self.options().await?;
        let turn = self.platform.turn(&options);
        let first = match blocked {
            Some(words) => turn.next(&Event::Blocked(words)),
            None => turn.next(&Event::Start),
        };
        self.turn = Some(turn);
        self.lap("orchestrator");

        if let Action::CallModel(tool_use) = first {
            self.opened = Some(self.open(tool_use).await?);
        }
        self.next = Some(first);
        Ok(())
    }

    async fn options(&mut self) -> Result<TurnOptions, ApiError> {
        let client_tools = self.request.tools.take();
        let options = TurnOptions {
            platform_tools: self.tools.is_some(),
            client_tools: client_tools.is_some(),
            retrieval: false,
            tool_rounds_max: settings::tool_rounds_max(&self.platform).await?,
            query: self.request.query().to_owned(),
        };
        self.client_tools = client_tools.is_some();
        self.tools = client_tools.or(self.tools.take());
        Ok(options)
    }

    /// Carries out action after action until the turn ends.
    pub(crate) async fn run(&mut self, out: &mut impl Output) -> Result<FinishReason, Interrupt> {
        loop {
            let event = match self.next.take() {
                Some(Action::CallModel(tool_use)) => {
                    let answered = self.call_model(tool_use, out).await;
                    // The answer's own time is no stage's.
                    self.timing.skip(self.platform.monotonic_ns());
                    answered?
                }
                Some(Action::CallTools(calls)) => self.call_tools(calls, out).await?,
                Some(Action::Refuse(words)) => {
                    self.push_answer(words.clone(), Vec::new());
                    out.text(0, words, Vec::new()).await?;
                    out.flush().await?;
                    return Ok(FinishReason::ContentFilter);
                }
                Some(Action::Finish(reason)) => {
                    self.drop_unrun_calls();
                    return Ok(reason);
                }
                Some(Action::Retrieve(_)) => {
                    return Err(ApiError::internal("a passage was asked for; none is kept").into());
                }
                Some(Action::Invalid(detail)) => return Err(ApiError::internal(detail).into()),
                None => return Err(ApiError::internal("the turn has no next step").into()),
            };
            self.next = self.turn.as_ref().map(|turn| turn.next(&event));
            self.lap("orchestrator");
        }
    }

    async fn call_model(
        &mut self,
        tool_use: ToolUse,
        out: &mut impl Output,
    ) -> Result<Event, Interrupt> {
        if self.completion_tokens_left() == Some(0) {
            return Ok(Event::ModelFinished(ModelOutcome {
                finish_reason: FinishReason::Length,
                tool_calls: Vec::new(),
            }));
        }
        let mut opened = match self.opened.take() {
            Some(opened) => opened,
            None => self.open(tool_use).await?,
        };
        let wanted = Wanted {
            show_tool_calls: self.client_tools,
            logprobs: self.request.logprobs,
            json: self.request.json,
            choices: self.request.choices,
        };
        loop {
            let counting = self.counting(&opened);
            let mut relay = Relay::new(&self.platform, wanted, counting).await;
            let relayed = relay.run(opened.upstream, out, &mut self.meter).await;
            let first_token_ns = relay.first_token_ns();
            let cut_text = relay.text().to_owned();
            let used = relay.used();
            self.other_finish_reasons = relay.other_finish_reasons();
            if has_answered(&relayed, first_token_ns.is_some()) {
                self.charge(used);
            }
            let is_well = match &relayed {
                Err(RelayError::Failed(_)) => false,
                // A backend that was left before its first token has shown nothing.
                Err(RelayError::Gone) => first_token_ns.is_some(),
                Ok(_) | Err(RelayError::Ended(_) | RelayError::Refused(_)) => true,
            };
            if is_well {
                self.report_answered(&opened.target, opened.sent_ns, first_token_ns)
                    .await;
            }
            match relayed {
                Ok(relayed) => return Ok(self.model_finished(relayed)),
                Err(RelayError::Gone) => {
                    // An answer that is collected was shown to nobody.
                    if self.request.stream {
                        self.cut_text = cut_text;
                    }
                    return Err(Interrupt::Gone);
                }
                Err(RelayError::Ended(error)) => return self.cut_short(error, cut_text),
                Err(RelayError::Refused(error)) => return Err(error.into()),
                Err(RelayError::Failed(failure)) => {
                    if failure.is_unhealthy {
                        self.report_failed(&opened.target).await;
                    }
                    if failure.is_shown || opened.others.is_empty() {
                        return Err(ApiError::backend_failed(failure.detail).into());
                    }
                    // Nothing was shown yet: the next backend begins anew.
                    self.timing.skip(self.platform.monotonic_ns());
                    opened = self.open_at(opened.others, tool_use).await?;
                }
            }
        }
    }

    fn model_finished(&mut self, relayed: Relayed) -> Event {
        self.push_answer(relayed.text, relayed.tool_calls.clone());
        if relayed.refusal.is_some() {
            return Event::Cut;
        }
        Event::ModelFinished(ModelOutcome {
            finish_reason: relayed.finish_reason,
            tool_calls: relayed.tool_calls,
        })
    }

    /// Nobody may have more, and what was generated is shown. A stream says so by its last event.
    /// An answer that is collected is one that was cut at its length: its status could only be 429
    /// or 503, which throws away what is charged, and which clients send again by themselves.
    fn cut_short(&mut self, error: ApiError, text: String) -> Result<Event, Interrupt> {
        if self.request.stream {
            self.cut_text = text;
            return Err(Interrupt::Failed(error));
        }
        self.push_answer(text, Vec::new());
        Ok(Event::ModelFinished(ModelOutcome {
            finish_reason: FinishReason::Length,
            tool_calls: Vec::new(),
        }))
    }

    /// A call of the platform's tools that nobody runs, because it was cut or one too many, has
    /// no answer: it may not stay in the turn.
    fn drop_unrun_calls(&mut self) {
        if !self.client_tools
            && let Some(answer) = self.messages.last_mut()
        {
            answer.tool_calls.clear();
        }
    }

    async fn call_tools(
        &mut self,
        calls: Vec<ToolCall>,
        out: &mut impl Output,
    ) -> Result<Event, Interrupt> {
        // The orchestrator may run fewer calls than the model asked for; a call that is not
        // answered may not stay in the prompt.
        if let Some(asked) = self.messages.last_mut() {
            asked.tool_calls.clone_from(&calls);
        }
        for call in calls {
            let ToolCall {
                id,
                name,
                arguments,
            } = &call;
            out.step(StepEvent::ToolCall {
                id,
                name,
                arguments,
            })
            .await?;
            // To write to the client is not the tool's.
            self.timing.skip(self.platform.monotonic_ns());
            let answer = self.platform.call_tool(&self.who, &call).await;
            self.lap("tools");
            self.tool_calls += 1;
            let mut output = match answer {
                Ok(output) => output,
                Err(ToolError::Unknown) => format!("error: there is no tool named {name}"),
                Err(ToolError::InvalidArguments(words) | ToolError::Failed(words)) => {
                    format!("error: {words}")
                }
            };
            truncate(&mut output, TOOL_OUTPUT_BYTES_MAX);
            let output = self.screen_output(output).await;
            out.step(StepEvent::ToolResult {
                id,
                name,
                output: &output,
            })
            .await?;
            self.messages.push(Message {
                role: MessageRole::Tool,
                content: output,
                name: None,
                tool_calls: Vec::new(),
                tool_call_id: Some(call.id),
            });
        }
        Ok(Event::ToolsFinished)
    }

    /// A tool's answer as the model and the client may see it.
    async fn screen_output(&self, output: String) -> String {
        match self.platform.screen(&[output]).await {
            Ok(mut screened) => screened.texts.pop().unwrap_or_default(),
            Err(refusal) => format!("error: {}", refusal.message),
        }
    }

    /// Stores the turn and settles what was used. An error here means that the
    /// answer is not remembered or not accounted for, and the client is told so.
    pub(crate) async fn close(
        &mut self,
        result: &Result<FinishReason, Interrupt>,
    ) -> Result<(), ApiError> {
        let stored = match result {
            Ok(_) => self.store().await,
            Err(_) if !self.cut_text.is_empty() => {
                let text = std::mem::take(&mut self.cut_text);
                self.push_answer(text, Vec::new());
                self.store().await
            }
            Err(_) => Ok(()),
        };
        self.lap("session");
        let recorded = self.settle().await;
        stored.and(recorded)
    }

    async fn store(&self) -> Result<(), ApiError> {
        let Some(conversation) = &self.request.conversation else {
            return Ok(());
        };
        let own = self.messages.get(self.own_from..).unwrap_or_default();
        let own = screening::storable(own, self.outcome);
        let appended = self
            .platform
            .append(
                &self.who,
                conversation,
                &self.request_id,
                &own,
                self.outcome,
            )
            .await;
        appended.map_err(ApiError::turn_not_stored)
    }

    fn push_answer(&mut self, content: String, tool_calls: Vec<ToolCall>) {
        let role = MessageRole::Assistant;
        self.messages.push(Message {
            role,
            content,
            name: None,
            tool_calls,
            tool_call_id: None,
        });
    }

    fn lap(&mut self, stage: &'static str) {
        self.timing.lap(stage, self.platform.monotonic_ns());
    }
}

/// A try that failed before it showed anything is the platform's to bear, and a refusal costs
/// nothing, whether it comes with the answer's head or after it.
fn has_answered(relayed: &Result<Relayed, RelayError>, is_begun: bool) -> bool {
    match relayed {
        Err(RelayError::Failed(failure)) => failure.is_shown,
        Err(RelayError::Refused(_)) => is_begun,
        Ok(_) | Err(RelayError::Gone | RelayError::Ended(_)) => true,
    }
}

fn sum(left: Usage, right: Usage) -> Usage {
    Usage {
        prompt_tokens: left.prompt_tokens.saturating_add(right.prompt_tokens),
        cached_tokens: left.cached_tokens.saturating_add(right.cached_tokens),
        completion_tokens: left
            .completion_tokens
            .saturating_add(right.completion_tokens),
        reasoning_tokens: left.reasoning_tokens.saturating_add(right.reasoning_tokens),
    }
}

/// Cuts a text at the last whole character within `bytes_max`.
fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
}
