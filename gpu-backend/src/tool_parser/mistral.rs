//! Mistral's forms: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, and of its newer
//! models `[TOOL_CALLS]name[ARGS]{…}` or `[TOOL_CALLS]name{…}`, once for each call.

use super::Machine;
use super::json_call::{JsonCall, Progress};
use super::json_scan::{Scan, Scanner};
use super::out::{Finder, Out};

pub(super) const CALLS: &str = "[TOOL_CALLS]";
pub(super) const ARGS: &str = "[ARGS]";
pub(super) const CALL_ID: &str = "[CALL_ID]";

#[derive(Debug, Default)]
pub(super) struct Mistral {
    state: State,
    finder: Finder,
    /// What becomes text if no call comes of it, without the marker.
    raw: String,
    /// A call of this list was given out.
    called: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// After the marker: a list or a name.
    Head,
    /// An object, a comma or the list's end.
    List,
    Object(JsonCall),
    /// A name, up to the arguments or a marker.
    Name,
    /// After `[ARGS]`: blanks, then the arguments.
    Args {
        name: String,
    },
    Arguments(Scanner),
}

impl Machine for Mistral {
    fn step(&mut self, c: char, out: &mut Out) -> Option<String> {
        match &mut self.state {
            State::Text => {
                if self.finder.step(c, &[CALLS], out).is_some() {
                    self.state = State::Head;
                    self.called = false;
                    self.raw.clear();
                }
                return None;
            }
            State::Arguments(scanner) => {
                let ended = scan(scanner, c, out)?;
                self.state = State::Text;
                return (!ended).then(|| c.into());
            }
            State::Object(call) => {
                self.raw.push(c);
                let (progress, opened) = (call.step(c, out), call.opened());
                return self.object(progress, opened, c, out);
            }
            _ => self.raw.push(c),
        }
        match &mut self.state {
            State::Head if c == '[' => self.state = State::List,
            State::Head | State::List | State::Args { .. } if c.is_whitespace() => {}
            State::List if c == ',' => {}
            State::List if c == ']' && self.called => self.state = State::Text,
            State::Head | State::List if c == '{' => {
                self.raw.pop();
                self.state = State::Object(JsonCall::default());
                return Some(c.into());
            }
            State::Head if name_char(c) => self.state = State::Name,
            State::Name if name_char(c) || c == '[' || c == ']' => self.marker(),
            State::Name if c == '{' => {
                let name = self.raw[..self.raw.len() - 1].trim().to_owned();
                return self.begin_arguments(name, c, out);
            }
            State::Args { name } if c == '{' => {
                let name = std::mem::take(name);
                return self.begin_arguments(name, c, out);
            }
            _ => return self.give_back(out),
        }
        None
    }

    fn end(&mut self, out: &mut Out) {
        match &self.state {
            State::Text => self.finder.end(out),
            State::Arguments(_) => {}
            State::Object(call) if call.opened() => {}
            _ => {
                if !self.called {
                    out.text(CALLS);
                }
                out.text(&std::mem::take(&mut self.raw));
            }
        }
    }

    fn may_be_call(&self) -> bool {
        match &self.state {
            State::Text => self.finder.holds(),
            _ => true,
        }
    }

    fn is_in_arguments(&self) -> bool {
        match &self.state {
            State::Object(call) => call.is_in_arguments(),
            State::Arguments(_) => true,
            _ => false,
        }
    }
}

impl Mistral {
    fn object(
        &mut self,
        progress: Progress,
        opened: bool,
        c: char,
        out: &mut Out,
    ) -> Option<String> {
        self.called |= opened;
        match progress {
            Progress::More => None,
            Progress::Done => {
                self.raw.clear();
                self.called = true;
                self.state = State::List;
                None
            }
            Progress::Broken if opened => {
                self.state = State::Text;
                Some(c.into())
            }
            Progress::Broken => self.give_back(out),
        }
    }

    /// After a character of a name: `[ARGS]` may be complete now.
    fn marker(&mut self) {
        let Some(name) = self.raw.strip_suffix(ARGS) else {
            return;
        };
        // Between name and arguments some models write an identifier of their own.
        let name = name.split(CALL_ID).next().unwrap_or_default().trim();
        self.state = State::Args {
            name: name.to_owned(),
        };
    }

    fn begin_arguments(&mut self, name: String, c: char, out: &mut Out) -> Option<String> {
        if name.is_empty() || !name.chars().all(name_char) {
            return self.give_back(out);
        }
        out.open(&name);
        self.raw.clear();
        self.state = State::Arguments(Scanner::default());
        Some(c.into())
    }

    /// No call: the marker is text, and what followed is read again.
    fn give_back(&mut self, out: &mut Out) -> Option<String> {
        if !self.called {
            out.text(CALLS);
        }
        self.state = State::Text;
        Some(std::mem::take(&mut self.raw))
    }
}

/// None: the arguments go on. Else whether they ended well, with this character.
fn scan(scanner: &mut Scanner, c: char, out: &mut Out) -> Option<bool> {
    let mut text = String::new();
    let step = scanner.step(c, &mut text);
    out.arguments(&text);
    match step {
        Ok(Scan::More) => None,
        Ok(Scan::Done) => Some(true),
        Ok(Scan::DoneBefore) | Err(_) => Some(false),
    }
}

fn name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}
