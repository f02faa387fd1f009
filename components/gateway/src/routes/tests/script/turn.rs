//! The orchestrator's own decisions.

use std::cell::RefCell;

use crate::bindings::skerry::chat::orchestrator::{self as wit, Action, Event, TurnOptions};
use crate::bindings::skerry::chat::types::{FinishReason, ToolCall};
use crate::platform::Turn;

pub(in super::super) struct RealTurn(RefCell<orchestrator::turn::Turn>);

impl RealTurn {
    pub(super) fn new(options: &TurnOptions) -> Self {
        let options = orchestrator::turn::Options {
            platform_tools: options.platform_tools,
            client_tools: options.client_tools,
            retrieval: options.retrieval,
            tool_rounds_max: options.tool_rounds_max,
            query: options.query.clone(),
        };
        Self(RefCell::new(orchestrator::turn::Turn::new(options)))
    }
}

impl Turn for RealTurn {
    fn next(&self, event: &Event) -> Action {
        use orchestrator::turn as core;
        let event = match event.clone() {
            Event::Start => core::Event::Start,
            Event::Blocked(words) => core::Event::Blocked(words),
            Event::Retrieved(count) => core::Event::Retrieved(count),
            Event::ToolsFinished => core::Event::ToolsFinished,
            Event::Cut => core::Event::Cut,
            Event::ModelFinished(outcome) => core::Event::ModelFinished(core::Outcome {
                reason: match outcome.finish_reason {
                    FinishReason::Stop => core::FinishReason::Stop,
                    FinishReason::Length => core::FinishReason::Length,
                    FinishReason::ToolCalls => core::FinishReason::ToolCalls,
                    FinishReason::ContentFilter => core::FinishReason::ContentFilter,
                },
                tool_calls: outcome
                    .tool_calls
                    .into_iter()
                    .map(|call| core::ToolCall {
                        id: call.id,
                        name: call.name,
                        arguments: call.arguments,
                    })
                    .collect(),
            }),
        };
        match self.0.borrow_mut().next(event) {
            core::Action::CallModel(core::ToolUse::Allowed) => {
                Action::CallModel(wit::ToolUse::Allowed)
            }
            core::Action::CallModel(core::ToolUse::Forbidden) => {
                Action::CallModel(wit::ToolUse::Forbidden)
            }
            core::Action::Retrieve(query) => Action::Retrieve(query),
            core::Action::CallTools(calls) => Action::CallTools(
                calls
                    .into_iter()
                    .map(|call| ToolCall {
                        id: call.id,
                        name: call.name,
                        arguments: call.arguments,
                    })
                    .collect(),
            ),
            core::Action::Refuse(words) => Action::Refuse(words),
            core::Action::Finish(reason) => Action::Finish(match reason {
                core::FinishReason::Stop => FinishReason::Stop,
                core::FinishReason::Length => FinishReason::Length,
                core::FinishReason::ToolCalls => FinishReason::ToolCalls,
                core::FinishReason::ContentFilter => FinishReason::ContentFilter,
            }),
            core::Action::Invalid(detail) => Action::Invalid(detail),
        }
    }
}
