//! An answer's text, parted into reasoning, text and tool calls.
//!
//! Invariant: where an answer was cut, nothing that began a call is given out as text.
//! Knows nothing of tokens.

use super::answer::Finish;
use crate::reasoning::ReasoningParser;
use crate::tool_parser::{Piece, ToolParser};

/// Parser of the reasoning and of the calls in an answer's text.
#[derive(Debug)]
pub(super) struct Split {
    /// Absent where the model does not reason.
    reasoning: Option<ReasoningParser>,
    /// Absent where the caller offered no tools.
    tools: Option<ToolParser>,
    /// The answer is either calls or a text of some form: once it is text, what looks
    /// like a call is part of that.
    either: bool,
    called: bool,
}

impl Split {
    pub(super) fn new(
        reasoning: Option<ReasoningParser>,
        tools: Option<ToolParser>,
        either: bool,
    ) -> Self {
        Self {
            reasoning,
            tools,
            either,
            called: false,
        }
    }

    /// A call was given out.
    pub(super) fn called(&self) -> bool {
        self.called
    }

    /// Tells whether the text that comes now is reasoning.
    pub(super) fn is_reasoning(&self) -> bool {
        self.reasoning.as_ref().is_some_and(ReasoningParser::inside)
    }

    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        if text.is_empty() {
            return Vec::new();
        }
        let pieces = match &mut self.reasoning {
            Some(parser) => parser.push(text),
            None => vec![Piece::Text(text.to_owned())],
        };
        self.calls(pieces)
    }

    /// The rest of an answer that the model ended by itself.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        self.rest(ReasoningParser::finish, ToolParser::finish)
    }

    /// The rest of an answer that was cut, and how it ended: a call that is not complete
    /// was cut by a length, whatever cut it, for its arguments are of no use.
    pub(super) fn cut(&mut self, finish: Finish) -> (Vec<Piece>, Finish) {
        let open = self.tools.as_ref().is_some_and(ToolParser::is_in_arguments);
        let pieces = self.rest(ReasoningParser::cut, ToolParser::cut);
        (pieces, if open { Finish::Length } else { finish })
    }

    fn rest(
        &mut self,
        of_reasoning: impl Fn(&mut ReasoningParser) -> Vec<Piece>,
        of_tools: impl Fn(&mut ToolParser) -> Vec<Piece>,
    ) -> Vec<Piece> {
        let rest = self.reasoning.as_mut().map(of_reasoning);
        let mut pieces = self.calls(rest.unwrap_or_default());
        let rest = self.tools.as_mut().map(of_tools);
        pieces.extend(self.note(rest.unwrap_or_default()));
        pieces
    }

    /// Looks for calls in what is text; reasoning holds none.
    fn calls(&mut self, pieces: Vec<Piece>) -> Vec<Piece> {
        let mut all = Vec::new();
        for piece in pieces {
            match (piece, &mut self.tools) {
                (Piece::Text(text), Some(parser)) => {
                    all.extend(parser.push(&text));
                    let is_text = |piece: &Piece| matches!(piece, Piece::Text(_));
                    if self.either && !self.called && all.first().is_some_and(is_text) {
                        all.extend(parser.finish());
                        self.tools = None;
                    }
                }
                (piece, _) => all.push(piece),
            }
        }
        self.note(all)
    }

    fn note(&mut self, pieces: Vec<Piece>) -> Vec<Piece> {
        let call = |piece: &Piece| matches!(piece, Piece::Call { .. });
        self.called |= pieces.iter().any(call);
        pieces
    }
}

#[cfg(test)]
mod tests;
