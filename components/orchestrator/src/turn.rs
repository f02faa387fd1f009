//! The state machine of one turn: event in, action out.
//!
//! It stands between `safety` and the model: the gateway performs each action and reports what
//! came of it. It knows no network, no clock, no messages and no tool by name, so the same events
//! always give the same actions.
//!
//! Invariant: whatever is reported, a turn asks for at most one retrieval, for
//! `TOOL_ROUNDS_CEILING` rounds of tools and for one call of the model more than that.
//! Invariant: an event that does not belong to the state changes nothing.

#[cfg(test)]
mod tests;

/// More rounds than this are not run, whatever the options ask for: each is a call of the model.
pub const TOOL_ROUNDS_CEILING: u32 = 32;

/// Calls that one round runs. A model that asks for more repeats itself; the rest is left out, and
/// the model hears only of those that ran.
pub const TOOL_CALLS_MAX: usize = 16;

/// What is known before the turn begins (`turn-options`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Tools that the platform runs itself are offered.
    pub platform_tools: bool,
    /// The client brought tools of its own and runs them.
    pub client_tools: bool,
    /// Passages are to be looked up before the model is called.
    pub retrieval: bool,
    /// Rounds of platform tools, at most.
    pub tool_rounds_max: u32,
    /// The words of the last user message.
    pub query: String,
}

/// Why the model, or the turn, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

/// A function that the model asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

/// How one call of the model ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reason: FinishReason,
    pub tool_calls: Vec<ToolCall>,
}

/// What the gateway reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Start,
    Blocked(String),
    Retrieved(u32),
    ModelFinished(Outcome),
    ToolsFinished,
    Cut,
}

/// Whether the model may call tools this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolUse {
    Allowed,
    Forbidden,
}

/// What the gateway does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    CallModel(ToolUse),
    Retrieve(String),
    CallTools(Vec<ToolCall>),
    Refuse(String),
    Finish(FinishReason),
    Invalid(String),
}

impl Action {
    /// The turn is over with this action.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Refuse(_) | Self::Finish(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Retrieving,
    Generating,
    RunningTools,
    Ended,
}

/// Whose tools the model was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    Nothing,
    Platform,
    Client,
}

/// One turn, from the user's message to the end of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    options: Options,
    state: State,
    /// Rounds of platform tools that were started.
    rounds: u32,
}

impl Turn {
    /// A turn that waits for `Event::Start` (or `Event::Blocked`).
    pub fn new(options: Options) -> Self {
        Self {
            options,
            state: State::New,
            rounds: 0,
        }
    }

    /// The next action. The branches and the state are here, and nowhere else.
    pub fn next(&mut self, event: Event) -> Action {
        match (self.state, event) {
            (State::New, Event::Start) if self.options.retrieval => self.go(
                State::Retrieving,
                Action::Retrieve(self.options.query.clone()),
            ),
            (State::New, Event::Start) | (State::Retrieving, Event::Retrieved(_)) => {
                self.call_model()
            }
            (State::RunningTools, Event::ToolsFinished) => self.call_model(),
            // A prompt grows by passages and by tools' answers, so it may be refused at any time.
            (
                State::New | State::Retrieving | State::Generating | State::RunningTools,
                Event::Blocked(message),
            ) => self.go(State::Ended, Action::Refuse(message)),
            (State::Generating, Event::Cut) => {
                self.go(State::Ended, Action::Finish(FinishReason::ContentFilter))
            }
            (State::Generating, Event::ModelFinished(outcome)) => self.model_finished(outcome),
            (state, event) => Action::Invalid(format!("{} {}", label(&event), waits_for(state))),
        }
    }

    fn call_model(&mut self) -> Action {
        let tool_use = if self.offer() == Offer::Platform && self.rounds_left() == 0 {
            ToolUse::Forbidden
        } else {
            ToolUse::Allowed
        };
        self.go(State::Generating, Action::CallModel(tool_use))
    }

    fn model_finished(&mut self, outcome: Outcome) -> Action {
        let reason = finish_reason(&outcome);
        if reason != FinishReason::ToolCalls {
            return self.go(State::Ended, Action::Finish(reason));
        }
        match self.offer() {
            Offer::Client => self.go(State::Ended, Action::Finish(FinishReason::ToolCalls)),
            Offer::Platform if self.rounds_left() > 0 => {
                self.rounds += 1;
                let mut calls = outcome.tool_calls;
                calls.truncate(TOOL_CALLS_MAX);
                self.go(State::RunningTools, Action::CallTools(calls))
            }
            // It called tools that it was not offered, or was forbidden: nobody would run them.
            Offer::Platform | Offer::Nothing => {
                self.go(State::Ended, Action::Finish(FinishReason::Stop))
            }
        }
    }

    /// A client that brings tools answers its calls itself, so its offer is the one that counts.
    fn offer(&self) -> Offer {
        if self.options.client_tools {
            Offer::Client
        } else if self.options.platform_tools {
            Offer::Platform
        } else {
            Offer::Nothing
        }
    }

    fn rounds_left(&self) -> u32 {
        self.options
            .tool_rounds_max
            .min(TOOL_ROUNDS_CEILING)
            .saturating_sub(self.rounds)
    }

    fn go(&mut self, state: State, action: Action) -> Action {
        self.state = state;
        action
    }
}

/// What the outcome amounts to. Engines disagree on `stop` with calls, and a model may announce
/// calls and make none. Calls that were cut off (`length`, `content-filter`) are never run: their
/// arguments may be incomplete.
fn finish_reason(outcome: &Outcome) -> FinishReason {
    match (outcome.reason, outcome.tool_calls.is_empty()) {
        (FinishReason::Stop | FinishReason::ToolCalls, false) => FinishReason::ToolCalls,
        (FinishReason::Stop | FinishReason::ToolCalls, true) => FinishReason::Stop,
        (reason, _) => reason,
    }
}

fn label(event: &Event) -> &'static str {
    match event {
        Event::Start => "`start`",
        Event::Blocked(_) => "`blocked`",
        Event::Retrieved(_) => "`retrieved`",
        Event::ModelFinished(_) => "`model-finished`",
        Event::ToolsFinished => "`tools-finished`",
        Event::Cut => "`cut`",
    }
}

fn waits_for(state: State) -> &'static str {
    match state {
        State::New => "came before `start`",
        State::Retrieving => "came while passages are looked up",
        State::Generating => "came while the model answers",
        State::RunningTools => "came while tools run",
        State::Ended => "came after the end of the turn",
    }
}
