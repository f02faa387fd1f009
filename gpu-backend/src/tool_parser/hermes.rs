//! Hermes' and Qwen's form: one JSON object between `<tool_call>` and `</tool_call>`.

use super::Machine;
use super::json_call::{JsonCall, Progress};
use super::out::{Finder, Out};

pub(super) const OPEN: &str = "<tool_call>";
pub(super) const CLOSE: &str = "</tool_call>";

#[derive(Debug, Default)]
pub(super) struct Hermes {
    state: State,
    finder: Finder,
    /// The call so far, after its opening tag.
    raw: String,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    Call(JsonCall),
    /// After the call's object, or after the place where it went wrong: text, in which
    /// the closing tag is layout.
    Rest,
}

impl Machine for Hermes {
    fn step(&mut self, c: char, out: &mut Out) -> Option<String> {
        match &mut self.state {
            State::Text => {
                if self.finder.step(c, &[OPEN], out).is_some() {
                    self.begin();
                }
            }
            State::Rest => match self.finder.step(c, &[CLOSE, OPEN], out) {
                Some(0) => self.state = State::Text,
                Some(_) => self.begin(),
                None => {}
            },
            State::Call(call) => {
                self.raw.push(c);
                match call.step(c, out) {
                    Progress::More => {}
                    Progress::Done => self.state = State::Rest,
                    Progress::Broken if call.opened() => {
                        self.state = State::Rest;
                        return Some(c.into());
                    }
                    Progress::Broken => {
                        self.state = State::Text;
                        out.text(OPEN);
                        return Some(std::mem::take(&mut self.raw));
                    }
                }
            }
        }
        None
    }

    fn end(&mut self, out: &mut Out) {
        match &self.state {
            State::Call(call) if !call.opened() => {
                out.text(OPEN);
                out.text(&self.raw);
            }
            _ => self.finder.end(out),
        }
    }

    fn may_be_call(&self) -> bool {
        match &self.state {
            State::Text | State::Rest => self.finder.holds(),
            State::Call(_) => true,
        }
    }

    fn is_in_arguments(&self) -> bool {
        matches!(&self.state, State::Call(call) if call.is_in_arguments())
    }
}

impl Hermes {
    fn begin(&mut self) {
        self.raw.clear();
        self.state = State::Call(JsonCall::default());
    }
}
