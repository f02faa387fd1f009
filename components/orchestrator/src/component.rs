//! The border of the component: generated bindings of `orchestrator.wit`, and the conversion
//! between their types and those of `turn`. It decides nothing.

use std::cell::RefCell;

use crate::turn;

mod bindings {
    wit_bindgen::generate!({
        world: "orchestrator-component",
        path: "../../wit",
        generate_all,
    });
}

use bindings::exports::skerry::chat::orchestrator as wit;
use bindings::skerry::chat::types;

struct Component;

bindings::export!(Component with_types_in bindings);

impl wit::Guest for Component {
    type Turn = Turn;
}

/// One turn, owned by the caller's handle: nothing is shared between turns.
struct Turn(RefCell<turn::Turn>);

impl wit::GuestTurn for Turn {
    fn new(options: wit::TurnOptions) -> Self {
        Self(RefCell::new(turn::Turn::new(turn::Options {
            platform_tools: options.platform_tools,
            client_tools: options.client_tools,
            retrieval: options.retrieval,
            tool_rounds_max: options.tool_rounds_max,
            query: options.query,
        })))
    }

    fn next(&self, event: wit::Event) -> wit::Action {
        action(self.0.borrow_mut().next(event_from(event)))
    }
}

fn event_from(event: wit::Event) -> turn::Event {
    match event {
        wit::Event::Start => turn::Event::Start,
        wit::Event::Blocked(message) => turn::Event::Blocked(message),
        wit::Event::Retrieved(passages) => turn::Event::Retrieved(passages),
        wit::Event::ModelFinished(outcome) => turn::Event::ModelFinished(turn::Outcome {
            reason: reason_from(outcome.finish_reason),
            tool_calls: outcome
                .tool_calls
                .into_iter()
                .map(|call| turn::ToolCall {
                    id: call.id,
                    name: call.name,
                    arguments: call.arguments,
                })
                .collect(),
        }),
        wit::Event::ToolsFinished => turn::Event::ToolsFinished,
        wit::Event::Cut => turn::Event::Cut,
    }
}

fn action(action: turn::Action) -> wit::Action {
    match action {
        turn::Action::CallModel(turn::ToolUse::Allowed) => {
            wit::Action::CallModel(wit::ToolUse::Allowed)
        }
        turn::Action::CallModel(turn::ToolUse::Forbidden) => {
            wit::Action::CallModel(wit::ToolUse::Forbidden)
        }
        turn::Action::Retrieve(query) => wit::Action::Retrieve(query),
        turn::Action::CallTools(calls) => wit::Action::CallTools(
            calls
                .into_iter()
                .map(|call| types::ToolCall {
                    id: call.id,
                    name: call.name,
                    arguments: call.arguments,
                })
                .collect(),
        ),
        turn::Action::Refuse(message) => wit::Action::Refuse(message),
        turn::Action::Finish(reason) => wit::Action::Finish(reason_into(reason)),
        turn::Action::Invalid(words) => wit::Action::Invalid(words),
    }
}

fn reason_from(reason: types::FinishReason) -> turn::FinishReason {
    match reason {
        types::FinishReason::Stop => turn::FinishReason::Stop,
        types::FinishReason::Length => turn::FinishReason::Length,
        types::FinishReason::ToolCalls => turn::FinishReason::ToolCalls,
        types::FinishReason::ContentFilter => turn::FinishReason::ContentFilter,
    }
}

fn reason_into(reason: turn::FinishReason) -> types::FinishReason {
    match reason {
        turn::FinishReason::Stop => types::FinishReason::Stop,
        turn::FinishReason::Length => types::FinishReason::Length,
        turn::FinishReason::ToolCalls => types::FinishReason::ToolCalls,
        turn::FinishReason::ContentFilter => types::FinishReason::ContentFilter,
    }
}
