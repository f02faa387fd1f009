//! Llama 3's form: the whole answer is `{"name": …, "parameters": {…}}`, several parted
//! by semicolons; after `<|python_tag|>` a call may also follow text.

use super::Machine;
use super::json_call::{JsonCall, Progress};
use super::out::{Finder, Out};

pub(super) const TAG: &str = "<|python_tag|>";

#[derive(Debug, Default)]
pub(super) struct Llama3Json {
    state: State,
    finder: Finder,
    /// What becomes text if no call comes of it.
    raw: String,
}

#[derive(Debug, Default)]
enum State {
    /// A call may begin here.
    #[default]
    Start,
    Call(JsonCall),
    /// A call is complete; a semicolon may come.
    After,
    Text,
}

impl Machine for Llama3Json {
    fn step(&mut self, c: char, out: &mut Out) -> Option<String> {
        match &mut self.state {
            State::Start | State::After if c.is_whitespace() => self.raw.push(c),
            State::Start | State::After if c == '{' => {
                self.state = State::Call(JsonCall::default());
                return Some(c.into());
            }
            State::After if c == ';' => {
                self.state = State::Start;
                self.raw.push(c);
            }
            State::Start | State::After => {
                self.give_back(out);
                return Some(c.into());
            }
            State::Text => {
                if self.finder.step(c, &[TAG], out).is_some() {
                    self.state = State::Start;
                    self.raw = TAG.to_owned();
                }
            }
            State::Call(call) => {
                self.raw.push(c);
                match call.step(c, out) {
                    Progress::More => {}
                    Progress::Done => {
                        self.state = State::After;
                        self.raw.clear();
                    }
                    Progress::Broken if call.opened() => {
                        self.state = State::Text;
                        self.raw.clear();
                        return Some(c.into());
                    }
                    Progress::Broken => self.give_back(out),
                }
            }
        }
        None
    }

    fn end(&mut self, out: &mut Out) {
        if !matches!(&self.state, State::Call(call) if call.opened()) {
            self.give_back(out);
        }
        self.finder.end(out);
    }

    fn may_be_call(&self) -> bool {
        match &self.state {
            State::Start | State::After => self.raw.contains(TAG) || self.raw.contains(';'),
            State::Call(call) => call.opened() || self.raw.contains(TAG) || call.may_be_call(),
            State::Text => self.finder.holds(),
        }
    }

    fn is_in_arguments(&self) -> bool {
        matches!(&self.state, State::Call(call) if call.is_in_arguments())
    }
}

impl Llama3Json {
    fn give_back(&mut self, out: &mut Out) {
        out.text(&std::mem::take(&mut self.raw));
        self.state = State::Text;
    }
}
