//! One answer as it comes: token ids from the engine become text, stop at stop
//! strings, and are split into text and tool calls.
//!
//! Invariant: an answer ends with exactly one `End` or `Failed`.
//! Invariant: dropping it cancels the generation.
//! Knows no HTTP and no wire type.

use crate::handle::{Ended, Event, Generation};
use crate::sampler::Sampled;
use crate::tokenizer::{TextStream, Tokenizer};
use crate::tool_parser::{Piece, ToolCall, ToolParser};

use super::stop::StopMatcher;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    ToolCalls,
}

/// Tokens counted, stop tokens included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
}

/// One token's log-probability, as text.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    pub token: String,
    pub logprob: f32,
    /// The best tokens at this place, most likely first.
    pub top: Vec<(String, f32)>,
}

/// What is new in an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text and calls that are certain now (perhaps none), and the tokens' log-probabilities.
    Delta {
        pieces: Vec<Piece>,
        logprobs: Vec<TokenLogprob>,
    },
    /// The last text and calls, and the end.
    End {
        pieces: Vec<Piece>,
        finish: Finish,
        usage: Usage,
    },
    Failed {
        message: String,
    },
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    pub text: String,
    pub calls: Vec<ToolCall>,
    pub logprobs: Vec<TokenLogprob>,
    pub finish: Finish,
    pub usage: Usage,
}

/// The engine failed while answering.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine failed: {0}")]
pub struct Failed(pub String);

/// An answer in progress.
#[derive(Debug)]
pub struct Answer {
    generation: Option<Generation>,
    text: TextSteps,
    tokenizer: Tokenizer,
    usage: Usage,
}

/// The steps from token to piece.
#[derive(Debug)]
struct TextSteps {
    stream: TextStream,
    stops: StopMatcher,
    /// Absent where the caller offered no tools.
    tools: Option<ToolParser>,
    called: bool,
}

impl Answer {
    pub(super) fn new(
        generation: Generation,
        tokenizer: Tokenizer,
        stop: Vec<String>,
        parse_tools: bool,
        prompt_tokens: usize,
    ) -> Self {
        let text = TextSteps {
            stream: tokenizer.stream(),
            stops: StopMatcher::new(stop),
            tools: parse_tools.then(ToolParser::default),
            called: false,
        };
        let usage = Usage {
            prompt_tokens,
            completion_tokens: 0,
        };
        Self {
            generation: Some(generation),
            text,
            tokenizer,
            usage,
        }
    }

    /// The next part; `None` after the end.
    pub async fn next(&mut self) -> Option<Part> {
        let event = self.generation.as_mut()?.next().await;
        Some(self.take(event))
    }

    /// As [`Self::next`], for a thread outside the async runtime.
    pub fn next_blocking(&mut self) -> Option<Part> {
        let event = self.generation.as_mut()?.next_blocking();
        Some(self.take(event))
    }

    /// Waits for the whole answer.
    ///
    /// # Errors
    /// The engine failed.
    pub async fn whole(mut self) -> Result<Whole, Failed> {
        let mut whole = Whole::new();
        while let Some(part) = self.next().await {
            whole.add(part)?;
        }
        Ok(whole)
    }

    /// As [`Self::whole`], for a thread outside the async runtime.
    ///
    /// # Errors
    /// The engine failed.
    pub fn whole_blocking(mut self) -> Result<Whole, Failed> {
        let mut whole = Whole::new();
        while let Some(part) = self.next_blocking() {
            whole.add(part)?;
        }
        Ok(whole)
    }

    fn take(&mut self, event: Option<Event>) -> Part {
        match event {
            Some(Event::Token(sampled)) => self.token(sampled),
            Some(Event::Ended {
                reason,
                completion_tokens,
            }) => {
                self.usage.completion_tokens = completion_tokens;
                let (mut pieces, stopped) = self.text.finish();
                pieces.extend(self.text.finish_tools());
                let length = reason == Ended::Length && !stopped;
                self.end(pieces, if length { Finish::Length } else { Finish::Stop })
            }
            Some(Event::Failed { message }) => self.fail(message),
            None => self.fail("the engine stopped".to_owned()),
        }
    }

    fn token(&mut self, sampled: Sampled) -> Part {
        self.usage.completion_tokens += 1;
        let (mut pieces, stopped) = self.text.push(sampled.token);
        if stopped {
            // The engine goes no further: the end stops its generation.
            pieces.extend(self.text.finish_tools());
            return self.end(pieces, Finish::Stop);
        }
        let logprobs = self.logprob(&sampled).into_iter().collect();
        Part::Delta { pieces, logprobs }
    }

    fn logprob(&self, sampled: &Sampled) -> Option<TokenLogprob> {
        let logprobs = sampled.logprobs.as_ref()?;
        let text = |id: u32| self.tokenizer.token_text(id);
        Some(TokenLogprob {
            token: text(sampled.token),
            logprob: logprobs.chosen,
            top: logprobs
                .top
                .iter()
                .map(|(id, logprob)| (text(*id), *logprob))
                .collect(),
        })
    }

    fn end(&mut self, pieces: Vec<Piece>, finish: Finish) -> Part {
        if let Some(generation) = self.generation.take() {
            generation.stop();
        }
        let finish = match finish {
            Finish::Stop if self.text.called => Finish::ToolCalls,
            other => other,
        };
        Part::End {
            pieces,
            finish,
            usage: self.usage,
        }
    }

    fn fail(&mut self, message: String) -> Part {
        self.generation = None;
        Part::Failed { message }
    }
}

impl TextSteps {
    /// Pieces of one more token, and whether a stop string ended the answer.
    fn push(&mut self, token: u32) -> (Vec<Piece>, bool) {
        let text = self.stream.push(token);
        self.watch(&text)
    }

    /// What was held back when the last token had come.
    fn finish(&mut self) -> (Vec<Piece>, bool) {
        let text = self.stream.finish();
        let (mut pieces, stopped) = self.watch(&text);
        if !stopped {
            let held = self.stops.finish();
            pieces.extend(self.split(&held));
        }
        (pieces, stopped)
    }

    fn watch(&mut self, text: &str) -> (Vec<Piece>, bool) {
        let (text, stopped) = self.stops.push(text);
        (self.split(&text), stopped)
    }

    fn split(&mut self, text: &str) -> Vec<Piece> {
        if text.is_empty() {
            return Vec::new();
        }
        let pieces = match &mut self.tools {
            Some(parser) => parser.push(text),
            None => vec![Piece::Text(text.to_owned())],
        };
        self.note(pieces)
    }

    fn finish_tools(&mut self) -> Vec<Piece> {
        let pieces = self
            .tools
            .as_mut()
            .map(ToolParser::finish)
            .unwrap_or_default();
        self.note(pieces)
    }

    fn note(&mut self, pieces: Vec<Piece>) -> Vec<Piece> {
        self.called |= pieces.iter().any(|piece| matches!(piece, Piece::Call(_)));
        pieces
    }
}

impl Whole {
    fn new() -> Self {
        Self {
            text: String::new(),
            calls: Vec::new(),
            logprobs: Vec::new(),
            finish: Finish::Stop,
            usage: Usage::default(),
        }
    }

    fn add(&mut self, part: Part) -> Result<(), Failed> {
        let pieces = match part {
            Part::Delta { pieces, logprobs } => {
                self.logprobs.extend(logprobs);
                pieces
            }
            Part::End {
                pieces,
                finish,
                usage,
            } => {
                (self.finish, self.usage) = (finish, usage);
                pieces
            }
            Part::Failed { message } => return Err(Failed(message)),
        };
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.text += &text,
                Piece::Call(call) => self.calls.push(call),
            }
        }
        Ok(())
    }
}
