//! How a model writes what is not its answer's text: tool calls and reasoning.
//! Knows nothing of tokens, and nothing of how either is read.

use std::sync::Arc;

use super::ChatRequest;
use super::split::Split;
use crate::constraint::grammar::Calls;
use crate::reasoning::{ReasoningFormat, Thinking};
use crate::tool_parser::ToolFormat;

/// How the model writes what is not its answer's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    pub tools: ToolFormat,
    /// Absent: the model does not reason.
    pub reasoning: Option<ReasoningFormat>,
}

/// What looks for reasoning and calls in the answers to one prompt.
#[derive(Clone, Debug, Default)]
pub(super) struct Parsers {
    tools: Option<ToolFormat>,
    /// Present where the answer is either calls of these functions or a text of a form:
    /// such a text may be a JSON object with a name of its own.
    either: Option<Arc<[String]>>,
    reasoning: Option<(ReasoningFormat, Thinking)>,
}

impl Formats {
    /// What the chat template speaks of.
    pub fn of_template(template: &str) -> Self {
        Self {
            tools: ToolFormat::of_template(template),
            reasoning: ReasoningFormat::of_template(template),
        }
    }

    /// What reads the answers to a prompt.
    pub(super) fn parsers(self, request: &ChatRequest, prompt: &str) -> Parsers {
        let names = |calls: &Calls| calls.functions.iter().map(|f| f.name.clone()).collect();
        let formed = request.options.form.as_ref();
        Parsers {
            tools: request.parse_tools.then_some(self.tools),
            either: formed.and(request.calls.as_ref()).map(names),
            reasoning: self.thinking(prompt),
        }
    }

    /// Whether the answers to a prompt begin with reasoning.
    pub(super) fn thinking(self, prompt: &str) -> Option<(ReasoningFormat, Thinking)> {
        let format = self.reasoning?;
        Some((format, format.thinking(prompt)))
    }
}

impl Parsers {
    pub(super) fn split(&self) -> Split {
        let reasoning = self
            .reasoning
            .and_then(|(format, thinking)| format.parser(thinking));
        let parser = |format: ToolFormat| match &self.either {
            Some(names) => format.parser_of(names.clone()),
            None => format.parser(),
        };
        Split::new(reasoning, self.tools.map(parser), self.either.is_some())
    }

    /// Special tokens that must be seen as text.
    pub(super) fn markers(&self) -> Vec<&'static str> {
        let reasoning = self.reasoning.map(|(format, _)| format.markers());
        let tools = self.tools.map(ToolFormat::markers);
        let reasoning = reasoning.into_iter().flatten();
        reasoning
            .chain(tools.into_iter().flatten().copied())
            .collect()
    }
}
