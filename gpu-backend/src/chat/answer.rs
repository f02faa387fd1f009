//! One answer as it comes: token ids from the engine become text, stop at stop
//! strings, and are split into reasoning, text and tool calls.
//!
//! Invariant: an answer ends with exactly one `End` or `Failed`.
//! Invariant: dropping it cancels the generation.
//! Knows no HTTP and no wire type.

use crate::handle::{Ended, Event, Generation};
use crate::sampler::{Logprobs, Sampled};
use crate::tokenizer::{TextStream, TokenText, Tokenizer};
use crate::tool_parser::{Piece, ToolCall};

use super::formats::Parsers;
use super::options::AnswerOptions;
use super::split::Split;
use super::stop::StopMatcher;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    ToolCalls,
}

/// What the caller asked to stop at, and was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    Text(String),
    Token(u32),
}

/// Tokens counted, stop tokens included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: usize,
    /// Of these, found in the prefix cache.
    pub cached_tokens: usize,
    pub completion_tokens: usize,
    /// Of the completion's, those of the model's reasoning.
    pub reasoning_tokens: usize,
}

/// One token's log-probability.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    pub token: TokenText,
    pub logprob: f32,
    /// The best tokens at this place, most likely first.
    pub top: Vec<(TokenText, f32)>,
}

/// One token of the prompt, and its log-probability, which the first has not.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptToken {
    pub token: TokenText,
    pub logprob: Option<TokenLogprob>,
}

/// What is new in an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// The prompt's own log-probabilities, where asked for; first of all.
    Prompt(Vec<PromptToken>),
    /// Text and calls that are certain now (perhaps none), and the tokens' log-probabilities.
    Delta {
        pieces: Vec<Piece>,
        logprobs: Vec<TokenLogprob>,
    },
    End(End),
    Failed(Failed),
}

/// The last text and calls, and how the answer ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub pieces: Vec<Piece>,
    /// Of the token that completed a stop string.
    pub logprobs: Vec<TokenLogprob>,
    pub finish: Finish,
    pub stop_reason: Option<StopReason>,
    pub usage: Usage,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// Empty unless asked for.
    pub prompt: Vec<PromptToken>,
    /// What the model thought before it answered; empty if nothing.
    pub reasoning: String,
    pub text: String,
    pub calls: Vec<ToolCall>,
    pub logprobs: Vec<TokenLogprob>,
    pub finish: Finish,
    pub stop_reason: Option<StopReason>,
    pub usage: Usage,
}

/// Why an answer broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    #[error("the engine failed: {0}")]
    Engine(String),
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The form that this field asked for could not be held to any further.
    #[error("{message}")]
    Form {
        field: Option<String>,
        message: String,
    },
}

/// An answer in progress.
#[derive(Debug)]
pub struct Answer {
    generation: Option<Generation>,
    text: TextSteps,
    tokenizer: Tokenizer,
    limits: Limits,
    /// The prompt's tokens, kept where their log-probabilities are wanted.
    prompt: Vec<u32>,
    usage: Usage,
}

/// What of the caller's options matters after each token.
#[derive(Debug)]
struct Limits {
    /// Only the prompt is wanted.
    prompt_only: bool,
    min_tokens: usize,
    stop_token_ids: Vec<u32>,
    include_stop: bool,
    show_special: bool,
    /// The field that asked for the answer's form.
    form_field: Option<String>,
}

/// The steps from token to piece.
#[derive(Debug)]
struct TextSteps {
    stream: TextStream,
    /// Special tokens that the parsers must see as text.
    markers: Vec<(u32, &'static str)>,
    stops: StopMatcher,
    split: Split,
}

impl Answer {
    pub(super) fn new(
        generation: Generation,
        tokenizer: Tokenizer,
        options: &AnswerOptions,
        parsers: Parsers,
        prompt: &[u32],
    ) -> Self {
        let text = TextSteps {
            stream: tokenizer.stream(options.show_special),
            markers: match options.show_special {
                true => Vec::new(),
                false => tokenizer.special_among(&parsers.markers()),
            },
            stops: StopMatcher::new(options.stop.clone(), options.include_stop),
            split: parsers.split(),
        };
        let limits = Limits {
            prompt_only: options.tokens_max == Some(0),
            min_tokens: options.min_tokens,
            stop_token_ids: options.stop_token_ids.clone(),
            include_stop: options.include_stop,
            show_special: options.show_special,
            form_field: options.form.as_ref().map(|asked| asked.field.clone()),
        };
        let kept = options.prompt_logprobs.map(|_| prompt.to_vec());
        let usage = Usage {
            prompt_tokens: prompt.len(),
            ..Usage::default()
        };
        Self {
            generation: Some(generation),
            text,
            tokenizer,
            limits,
            prompt: kept.unwrap_or_default(),
            usage,
        }
    }

    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.usage.prompt_tokens
    }

    /// The next part; `None` after the end.
    pub async fn next(&mut self) -> Option<Part> {
        loop {
            match self.generation.as_mut()?.next().await {
                Some(Event::Started { cached_tokens }) => self.usage.cached_tokens = cached_tokens,
                event => return Some(self.take(event)),
            }
        }
    }

    /// As [`Self::next`], for a thread outside the async runtime.
    pub fn next_blocking(&mut self) -> Option<Part> {
        loop {
            match self.generation.as_mut()?.next_blocking() {
                Some(Event::Started { cached_tokens }) => self.usage.cached_tokens = cached_tokens,
                event => return Some(self.take(event)),
            }
        }
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
            Some(Event::Prompt(scores)) => self.scored(scores),
            // The one token that computing the prompt gave, or the end that it was.
            Some(Event::Token(_) | Event::Ended { .. }) if self.limits.prompt_only => {
                self.end(Vec::new(), Vec::new(), Finish::Length, None)
            }
            Some(Event::Token(sampled)) => self.token(&sampled),
            Some(Event::Ended {
                reason,
                completion_tokens,
            }) => self.ended(reason, completion_tokens),
            Some(Event::Failed { message }) => self.fail(Failed::Engine(message)),
            Some(Event::FormFailed { message }) => {
                let field = self.limits.form_field.take();
                let message = format!("The answer could not be held to its form: {message}.");
                self.fail(Failed::Form { field, message })
            }
            Some(Event::DeadlineExceeded) => self.fail(Failed::DeadlineExceeded),
            Some(Event::Started { .. }) | None => {
                self.fail(Failed::Engine("the engine stopped".to_owned()))
            }
        }
    }

    fn scored(&mut self, scores: Vec<Option<Logprobs>>) -> Part {
        let prompt = std::mem::take(&mut self.prompt);
        let each = |(token, scores): (u32, Option<Logprobs>)| PromptToken {
            token: self.tokenizer.token_text(token, true),
            logprob: scores
                .map(|scores| scored(&scores, token, |id| self.tokenizer.token_text(id, true))),
        };
        Part::Prompt(prompt.into_iter().zip(scores).map(each).collect())
    }

    fn token(&mut self, sampled: &Sampled) -> Part {
        self.usage.completion_tokens += 1;
        if self.text.split.is_reasoning() {
            self.usage.reasoning_tokens += 1;
        }
        let watched = self.usage.completion_tokens >= self.limits.min_tokens;
        let (mut pieces, stopped) = self.text.push(sampled.token, watched);
        let scores = sampled.logprobs.as_ref();
        let logprobs = scores.map(|scores| scored(scores, sampled.token, |id| self.named(id)));
        let logprobs = logprobs.into_iter().collect();
        match stopped {
            None => Part::Delta { pieces, logprobs },
            // The engine goes no further: the end stops its generation.
            Some(stop) => {
                let (rest, finish) = self.text.split.cut(Finish::Stop);
                pieces.extend(rest);
                self.end(pieces, logprobs, finish, Some(StopReason::Text(stop)))
            }
        }
    }

    /// The engine has ended the generation.
    fn ended(&mut self, reason: Ended, completion_tokens: usize) -> Part {
        let mut pieces = Vec::new();
        let mut stop_reason = None;
        self.usage.completion_tokens = completion_tokens;
        if let Ended::Stop(token) = reason {
            if self.limits.include_stop {
                pieces = self.text.push(token, false).0;
            }
            let asked = self.limits.stop_token_ids.contains(&token);
            stop_reason = asked.then_some(StopReason::Token(token));
        }
        let (rest, stopped) = self.text.finish();
        pieces.extend(rest);
        let split = &mut self.text.split;
        let (rest, finish) = match (reason, stopped) {
            (Ended::Length, None) => split.cut(Finish::Length),
            (_, Some(stop)) => {
                stop_reason = Some(StopReason::Text(stop));
                split.cut(Finish::Stop)
            }
            // What the caller made a stop token cuts the answer as a stop string does.
            (Ended::Stop(_), None) if stop_reason.is_some() => split.cut(Finish::Stop),
            (Ended::Stop(_), None) => (split.finish(), Finish::Stop),
        };
        pieces.extend(rest);
        self.end(pieces, Vec::new(), finish, stop_reason)
    }

    /// A token at the answer's present end.
    fn named(&self, id: u32) -> TokenText {
        let shown = self.limits.show_special;
        match self.usage.completion_tokens {
            1 => self.tokenizer.first_token_text(id, shown),
            _ => self.tokenizer.token_text(id, shown),
        }
    }

    fn end(
        &mut self,
        pieces: Vec<Piece>,
        logprobs: Vec<TokenLogprob>,
        finish: Finish,
        stop_reason: Option<StopReason>,
    ) -> Part {
        if let Some(generation) = self.generation.take() {
            generation.stop();
        }
        let finish = match finish {
            Finish::Stop if self.text.split.called() => Finish::ToolCalls,
            other => other,
        };
        Part::End(End {
            pieces,
            logprobs,
            finish,
            stop_reason,
            usage: self.usage,
        })
    }

    fn fail(&mut self, failed: Failed) -> Part {
        self.generation = None;
        Part::Failed(failed)
    }
}

/// The log-probability of a token that was chosen, and of the best, each by its name.
fn scored(scores: &Logprobs, token: u32, named: impl Fn(u32) -> TokenText) -> TokenLogprob {
    TokenLogprob {
        token: named(token),
        logprob: scores.chosen,
        top: scores.top.iter().map(|(id, p)| (named(*id), *p)).collect(),
    }
}

impl TextSteps {
    /// Pieces of one more token, and the stop string that ended the answer, if one did
    /// and they are watched for.
    fn push(&mut self, token: u32, watched: bool) -> (Vec<Piece>, Option<String>) {
        let marker = self.markers.iter().find(|(id, _)| *id == token);
        let text = match marker {
            Some((_, marker)) => self.stream.push_text(marker),
            None => self.stream.push(token),
        };
        if watched {
            self.watch(&text)
        } else {
            let mut before = self.stops.finish();
            before.push_str(&text);
            (self.split.push(&before), None)
        }
    }

    /// What was held back when the last token had come.
    fn finish(&mut self) -> (Vec<Piece>, Option<String>) {
        let text = self.stream.finish();
        let (mut pieces, stopped) = self.watch(&text);
        if stopped.is_none() {
            let held = self.stops.finish();
            pieces.extend(self.split.push(&held));
        }
        (pieces, stopped)
    }

    fn watch(&mut self, text: &str) -> (Vec<Piece>, Option<String>) {
        let (text, stopped) = self.stops.push(text);
        (self.split.push(&text), stopped)
    }
}

impl Whole {
    fn new() -> Self {
        Self {
            prompt: Vec::new(),
            reasoning: String::new(),
            text: String::new(),
            calls: Vec::new(),
            logprobs: Vec::new(),
            finish: Finish::Stop,
            stop_reason: None,
            usage: Usage::default(),
        }
    }

    fn add(&mut self, part: Part) -> Result<(), Failed> {
        let pieces = match part {
            Part::Prompt(prompt) => {
                self.prompt = prompt;
                Vec::new()
            }
            Part::Delta { pieces, logprobs } => {
                self.logprobs.extend(logprobs);
                pieces
            }
            Part::End(end) => {
                self.logprobs.extend(end.logprobs);
                (self.finish, self.usage) = (end.finish, end.usage);
                self.stop_reason = end.stop_reason;
                end.pieces
            }
            Part::Failed(failed) => return Err(failed),
        };
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.text += &text,
                Piece::Reasoning(text) => self.reasoning += &text,
                Piece::Call { id, name } => self.calls.push(ToolCall {
                    id,
                    name,
                    arguments: String::new(),
                }),
                Piece::Arguments(text) => {
                    if let Some(call) = self.calls.last_mut() {
                        call.arguments += &text;
                    }
                }
            }
        }
        Ok(())
    }
}
