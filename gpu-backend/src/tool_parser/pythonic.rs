//! The pythonic form: the whole answer is a list of calls, `[f(a=1), g(b="x")]`.

use super::Machine;
use super::json_call::Progress;
use super::out::Out;
use super::python_call::PythonCall;

#[derive(Debug, Default)]
pub(super) struct Pythonic {
    state: State,
    /// What becomes text if no call comes of it.
    raw: String,
}

#[derive(Debug, Default)]
enum State {
    /// The list may begin here.
    #[default]
    Start,
    /// A call, a comma or the list's end.
    List,
    Call(PythonCall),
    Text,
}

impl Machine for Pythonic {
    fn step(&mut self, c: char, out: &mut Out) -> Option<String> {
        match &mut self.state {
            State::Text => out.text(c.encode_utf8(&mut [0; 4])),
            State::Start | State::List if c.is_whitespace() => self.raw.push(c),
            State::Start if c == '[' => {
                self.raw.push(c);
                self.state = State::List;
            }
            State::List if c == ',' => self.raw.push(c),
            State::List if c == ']' => {
                // Nothing is left of a list of calls; an empty one is text.
                if self.raw.contains('[') {
                    self.raw.push(c);
                    self.give_back(out);
                }
                self.raw.clear();
                self.state = State::Text;
            }
            State::List if c.is_alphabetic() || c == '_' => {
                self.state = State::Call(PythonCall::default());
                return Some(c.into());
            }
            State::Start | State::List => {
                self.give_back(out);
                return Some(c.into());
            }
            State::Call(call) => {
                self.raw.push(c);
                match call.step(c, out) {
                    Progress::More => {}
                    Progress::Done => {
                        self.state = State::List;
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
    }

    fn may_be_call(&self) -> bool {
        match &self.state {
            State::Start | State::Text => false,
            State::List | State::Call(_) => true,
        }
    }

    fn is_in_arguments(&self) -> bool {
        matches!(&self.state, State::Call(call) if call.opened())
    }
}

impl Pythonic {
    fn give_back(&mut self, out: &mut Out) {
        out.text(&std::mem::take(&mut self.raw));
        self.state = State::Text;
    }
}
