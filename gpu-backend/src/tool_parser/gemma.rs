//! Gemma's forms: calls as Python writes them in a block fenced as `tool_code`, one
//! JSON object in a block fenced as `json`, or either without a fence as the whole answer.

use super::Machine;
use super::json_call::{JsonCall, Progress};
use super::out::{Finder, Out};
use super::python_call::PythonCall;

const FENCES: [&str; 3] = ["```tool_code", "```tool_call", "```json"];
const FENCE: &str = "```";
/// What Gemma's own examples put round a call.
const PRINT: &str = "print(";

#[derive(Debug, Default)]
pub(super) struct Gemma {
    state: State,
    finder: Finder,
    /// What becomes text if no call comes of it.
    raw: String,
    /// Inside a fence; it must be closed.
    fenced: bool,
    /// A call of this block was given out.
    called: bool,
}

#[derive(Debug, Default)]
enum State {
    /// The answer begins.
    #[default]
    Start,
    Text,
    /// Calls, and what stands between them.
    Block,
    /// The beginning of `print(`, or of a call.
    Word(String),
    Python(PythonCall),
    Json(JsonCall),
}

impl Machine for Gemma {
    fn step(&mut self, c: char, out: &mut Out) -> Option<String> {
        match &mut self.state {
            State::Start if c.is_whitespace() => self.raw.push(c),
            State::Start if matches!(c, '[' | '{') => {
                self.state = State::Block;
                return Some(c.into());
            }
            State::Start => {
                self.give_back(out);
                return Some(c.into());
            }
            State::Text => {
                if let Some(found) = self.finder.step(c, &FENCES, out) {
                    self.raw = FENCES[found].to_owned();
                    (self.fenced, self.called) = (true, false);
                    self.state = State::Block;
                }
            }
            State::Block => return self.block(c, out),
            State::Word(word) => {
                word.push(c);
                if word == PRINT {
                    self.raw.push_str(PRINT);
                    self.state = State::Block;
                } else if !PRINT.starts_with(word.as_str()) {
                    let word = std::mem::take(word);
                    self.state = State::Python(PythonCall::default());
                    return Some(word);
                }
            }
            State::Python(call) => {
                self.raw.push(c);
                let (progress, opened) = (call.step(c, out), call.opened());
                return self.progress(progress, opened, c, out);
            }
            State::Json(call) => {
                self.raw.push(c);
                let (progress, opened) = (call.step(c, out), call.opened());
                return self.progress(progress, opened, c, out);
            }
        }
        None
    }

    fn end(&mut self, out: &mut Out) {
        let opened = match &self.state {
            State::Python(call) => call.opened(),
            State::Json(call) => call.opened(),
            // An open block whose calls are complete: its rest is layout.
            State::Block => self.called,
            State::Word(word) => {
                self.raw.push_str(word);
                false
            }
            _ => false,
        };
        if !opened {
            self.give_back(out);
        }
        self.finder.end(out);
    }

    fn may_be_call(&self) -> bool {
        match &self.state {
            State::Start => false,
            State::Text => self.finder.holds(),
            State::Block | State::Word(_) | State::Python(_) => true,
            State::Json(call) => call.opened() || call.may_be_call(),
        }
    }

    fn is_in_arguments(&self) -> bool {
        match &self.state {
            State::Python(call) => call.opened(),
            State::Json(call) => call.is_in_arguments(),
            _ => false,
        }
    }
}

impl Gemma {
    fn block(&mut self, c: char, out: &mut Out) -> Option<String> {
        match c {
            '{' => {
                self.state = State::Json(JsonCall::default());
                return Some(c.into());
            }
            'p' => self.state = State::Word(c.into()),
            c if c.is_alphabetic() || c == '_' => {
                self.state = State::Python(PythonCall::default());
                return Some(c.into());
            }
            '`' if self.fenced => {
                self.raw.push(c);
                if self.raw.ends_with(FENCE) {
                    if self.called {
                        self.raw.clear();
                    }
                    self.give_back(out);
                }
            }
            ']' if !self.fenced && self.called => {
                self.raw.clear();
                self.state = State::Text;
            }
            '[' | ']' | '(' | ')' | ',' | ';' => self.raw.push(c),
            c if c.is_whitespace() => self.raw.push(c),
            _ => {
                self.give_back(out);
                return Some(c.into());
            }
        }
        None
    }

    fn progress(
        &mut self,
        progress: Progress,
        opened: bool,
        c: char,
        out: &mut Out,
    ) -> Option<String> {
        self.called |= opened;
        match progress {
            Progress::More => {}
            Progress::Done => {
                let whole = !self.fenced && matches!(self.state, State::Json(_));
                self.raw.clear();
                self.state = if whole { State::Text } else { State::Block };
            }
            Progress::Broken if opened => {
                self.raw.clear();
                self.state = State::Text;
                return Some(c.into());
            }
            Progress::Broken => self.give_back(out),
        }
        None
    }

    fn give_back(&mut self, out: &mut Out) {
        out.text(&std::mem::take(&mut self.raw));
        self.state = State::Text;
    }
}
