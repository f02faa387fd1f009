//! Tool calls in the model's text, in the way its family writes them. One state machine
//! per format; a call's name is given out first, then its arguments as they are written.
//!
//! Invariant: the result does not depend on where the text was cut: every machine takes
//! one character at a time.
//! Invariant: nothing is lost: what is no call is given back as text, and what follows
//! the place where a call goes wrong is text. The one exception is an answer that was
//! cut inside what began as a call: that is never text.
//! Knows nothing of tokens, HTTP, or what the tools do.

mod out;

mod json_call;
mod json_scan;
mod python_call;

mod gemma;
mod hermes;
mod llama3_json;
mod mistral;
mod pythonic;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use out::Out;

/// One call, as the model wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// A JSON object as text; unfinished if the answer ended inside it.
    pub arguments: String,
}

/// A piece of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// What a model thinks before it answers.
    Reasoning(String),
    /// A call begins; the next `Arguments` are its own.
    Call {
        id: String,
        name: String,
    },
    /// More of the arguments of the call that began last.
    Arguments(String),
}

/// How a family of models writes its calls. The names are vLLM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Hermes, Qwen).
    Hermes,
    /// `{"name": …, "parameters": {…}}`, several parted by `;` (Llama 3).
    Llama3Json,
    /// `[f(a=1), g(b="x")]` (Llama 3.2 and 4).
    Pythonic,
    /// `[TOOL_CALLS][{"name": …, "arguments": {…}}]`, or `[TOOL_CALLS]f[ARGS]{…}`.
    Mistral,
    /// A block fenced as `tool_code` or `json`, or one of the two forms above (Gemma).
    Gemma,
}

impl ToolFormat {
    const ALL: [Self; 5] = [
        Self::Hermes,
        Self::Llama3Json,
        Self::Pythonic,
        Self::Mistral,
        Self::Gemma,
    ];

    /// The format that a chat template speaks of; Hermes' if it speaks of none.
    pub fn of_template(template: &str) -> Self {
        let has = |text: &str| template.contains(text);
        if has("<tool_call>") {
            Self::Hermes
        } else if has(mistral::CALLS) {
            Self::Mistral
        } else if has("<start_of_turn>") || has("tool_code") {
            Self::Gemma
        } else if has("[func_name1(") {
            Self::Pythonic
        } else if has(llama3_json::TAG) || has("<|start_header_id|>") {
            Self::Llama3Json
        } else {
            Self::Hermes
        }
    }

    /// A parser for one answer.
    pub fn parser(self) -> ToolParser {
        self.with(Out::new(self, None))
    }

    /// As [`Self::parser`]; an object is a call only if it names one of these functions.
    pub fn parser_of(self, names: Arc<[String]>) -> ToolParser {
        self.with(Out::new(self, Some(names)))
    }

    fn with(self, out: Out) -> ToolParser {
        let machine: Box<dyn Machine> = match self {
            Self::Hermes => Box::new(hermes::Hermes::default()),
            Self::Llama3Json => Box::new(llama3_json::Llama3Json::default()),
            Self::Pythonic => Box::new(pythonic::Pythonic::default()),
            Self::Mistral => Box::new(mistral::Mistral::default()),
            Self::Gemma => Box::new(gemma::Gemma::default()),
        };
        ToolParser { machine, out }
    }

    /// Texts that must reach the parser even where the vocabulary has them as special
    /// tokens, which are else left out of an answer's text.
    pub fn markers(self) -> &'static [&'static str] {
        match self {
            Self::Hermes => &[hermes::OPEN, hermes::CLOSE],
            Self::Llama3Json => &[llama3_json::TAG],
            Self::Pythonic | Self::Gemma => &[],
            Self::Mistral => &[mistral::CALLS, mistral::ARGS, mistral::CALL_ID],
        }
    }

    /// An identifier that no other call has, in the form that the family's template wants.
    fn call_id(self) -> String {
        match self {
            // Mistral's template takes nine letters or digits and nothing else.
            Self::Mistral => format!("{:09x}", rand::random::<u64>() & 0xf_ffff_ffff),
            _ => format!("call_{:032x}", rand::random::<u128>()),
        }
    }
}

impl fmt::Display for ToolFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hermes => "hermes",
            Self::Llama3Json => "llama3_json",
            Self::Pythonic => "pythonic",
            Self::Mistral => "mistral",
            Self::Gemma => "gemma",
        })
    }
}

impl FromStr for ToolFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|f| f.to_string() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(|f| f.to_string()).join(", ");
            format!("unknown tool-call parser; known are {names}")
        })
    }
}

/// One format's machine. It writes what is certain to `out`.
trait Machine: fmt::Debug + Send + Sync {
    /// Takes one character. What comes back was read as part of a call that is none: it
    /// is to be read again, now as text.
    fn step(&mut self, c: char, out: &mut Out) -> Option<String>;

    /// The answer has ended.
    fn end(&mut self, out: &mut Out);

    /// Tells whether the text that is held back may be the beginning of a call.
    fn may_be_call(&self) -> bool;

    /// A call was given out whose arguments are not complete.
    fn is_in_arguments(&self) -> bool;
}

/// Splits a streamed answer into text and calls. Blanks next to a call are layout and
/// are dropped; all other text is given out unchanged.
#[derive(Debug)]
pub struct ToolParser {
    machine: Box<dyn Machine>,
    out: Out,
}

impl ToolParser {
    /// Adds text and returns what is certain now.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let mut again: Vec<char> = Vec::new();
        for c in text.chars() {
            again.push(c);
            while let Some(c) = again.pop() {
                if let Some(back) = self.machine.step(c, &mut self.out) {
                    again.extend(back.chars().rev());
                }
            }
        }
        self.out.take()
    }

    /// The rest at the end of the answer.
    pub fn finish(&mut self) -> Vec<Piece> {
        self.machine.end(&mut self.out);
        self.out.end();
        self.out.take()
    }

    /// The rest of an answer that was cut: the beginning of a call is dropped.
    pub fn cut(&mut self) -> Vec<Piece> {
        if !self.machine.may_be_call() {
            return self.finish();
        }
        self.out.end();
        self.out.take()
    }

    /// A call was given out whose arguments are not complete.
    pub fn is_in_arguments(&self) -> bool {
        self.machine.is_in_arguments()
    }
}

/// Length of the longest end of `text` with which `tag` begins.
pub(crate) fn begun(text: &str, tag: &str) -> usize {
    let most = text.len().min(tag.len().saturating_sub(1));
    (1..=most)
        .rev()
        .find(|n| {
            tag.as_bytes()
                .starts_with(&text.as_bytes()[text.len() - n..])
        })
        .unwrap_or(0)
}
