//! One call as a JSON object: `name`, and `arguments` or `parameters`, in any order.
//! Knows nothing of what stands round the object.

use super::json_scan::{Malformed, Scan, Scanner, Unescape};
use super::out::Out;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Done,
    /// This character does not belong there. What was given out of the call stays; if
    /// nothing was, it is none.
    Broken,
}

/// Reads one object. The call is opened when both its name and the beginning of its
/// arguments are known; arguments that come before the name are held until then.
#[derive(Debug, Default)]
pub(super) struct JsonCall {
    state: State,
    /// The key whose value comes.
    key: String,
    first_key: Option<String>,
    name: Option<String>,
    /// Arguments that wait for the name.
    held: String,
    has_arguments: bool,
    opened: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Brace,
    FirstKey,
    Key,
    InKey(Unescape),
    Colon,
    Value,
    Name(Unescape, String),
    Arguments(Scanner),
    /// The arguments as a string of JSON, as some models write them.
    Quoted(Unescape, Option<Scanner>),
    Skipped(Scanner),
    After,
}

impl JsonCall {
    /// The call's name has been given out.
    pub(super) fn opened(&self) -> bool {
        self.opened
    }

    /// Its arguments have been given out in part.
    pub(super) fn is_in_arguments(&self) -> bool {
        self.opened && matches!(self.state, State::Arguments(_) | State::Quoted(..))
    }

    /// Begun, and not begun as an object of another kind: its first key is one of a
    /// call's, as far as it is written.
    pub(super) fn may_be_call(&self) -> bool {
        const KEYS: [&str; 6] = ["name", "arguments", "parameters", "type", "function", "id"];
        let first = match &self.first_key {
            Some(key) => return KEYS.contains(&key.as_str()),
            None => self.key.as_str(),
        };
        KEYS.iter().any(|key| key.starts_with(first))
    }

    pub(super) fn step(&mut self, c: char, out: &mut Out) -> Progress {
        self.try_step(c, out).unwrap_or(Progress::Broken)
    }

    fn try_step(&mut self, c: char, out: &mut Out) -> Result<Progress, Malformed> {
        let blank = matches!(c, ' ' | '\t' | '\n' | '\r');
        match &mut self.state {
            State::InKey(unescape) => {
                if unescape.step(c, &mut self.key)? {
                    self.first_key.get_or_insert_with(|| self.key.clone());
                    self.state = State::Colon;
                }
            }
            State::Name(unescape, name) => {
                if unescape.step(c, name)? {
                    let name = std::mem::take(name);
                    self.named(name, out)?;
                }
            }
            State::Arguments(_) | State::Quoted(..) => self.arguments(c, out)?,
            State::Skipped(scanner) => match scanner.step(c, &mut String::new())? {
                Scan::More => {}
                Scan::Done => self.state = State::After,
                Scan::DoneBefore => {
                    self.state = State::After;
                    return self.try_step(c, out);
                }
            },
            _ if blank => {}
            State::Brace if c == '{' => self.state = State::FirstKey,
            State::FirstKey | State::After if c == '}' => return self.end(out),
            State::FirstKey | State::Key if c == '"' => {
                self.key.clear();
                self.state = State::InKey(Unescape::default());
            }
            State::Colon if c == ':' => self.state = State::Value,
            State::Value => self.value(c, out)?,
            State::After if c == ',' => self.state = State::Key,
            State::Brace | State::FirstKey | State::Key | State::Colon | State::After => {
                return Err(Malformed);
            }
        }
        Ok(Progress::More)
    }

    fn value(&mut self, c: char, out: &mut Out) -> Result<(), Malformed> {
        match (self.key.as_str(), c) {
            ("name", '"') if self.name.is_none() => {
                self.state = State::Name(Unescape::default(), String::new());
            }
            ("arguments" | "parameters", '{' | '"' | 'n') if !self.has_arguments => {
                return self.begin_arguments(c, out);
            }
            ("name" | "arguments" | "parameters", _) => return Err(Malformed),
            _ => {
                let mut scanner = Scanner::default();
                scanner.step(c, &mut String::new())?;
                self.state = State::Skipped(scanner);
            }
        }
        Ok(())
    }

    fn begin_arguments(&mut self, c: char, out: &mut Out) -> Result<(), Malformed> {
        let mut scanner = Scanner::default();
        match c {
            '{' => {
                self.has_arguments = true;
                self.open(out);
                let mut text = String::new();
                scanner.step(c, &mut text)?;
                self.state = State::Arguments(scanner);
                self.give(&text, out);
            }
            '"' => {
                self.has_arguments = true;
                self.state = State::Quoted(Unescape::default(), None);
            }
            // `null`: as if they were left out.
            _ => {
                scanner.step(c, &mut String::new())?;
                self.state = State::Skipped(scanner);
            }
        }
        Ok(())
    }

    fn arguments(&mut self, c: char, out: &mut Out) -> Result<(), Malformed> {
        let mut text = String::new();
        let mut done = false;
        match &mut self.state {
            State::Arguments(scanner) => done = scanner.step(c, &mut text)? == Scan::Done,
            State::Quoted(unescape, inner) => {
                let mut decoded = String::new();
                done = unescape.step(c, &mut decoded)?;
                for c in decoded.chars() {
                    // A blank before the object and after it is nothing.
                    match inner {
                        None if c.is_whitespace() => {}
                        None if c == '{' => {
                            let mut scanner = Scanner::default();
                            scanner.step(c, &mut text)?;
                            *inner = Some(scanner);
                        }
                        None => return Err(Malformed),
                        Some(scanner) => {
                            scanner.step(c, &mut text)?;
                        }
                    }
                }
                if done && !inner.as_ref().is_some_and(Scanner::is_done) {
                    return Err(Malformed);
                }
            }
            _ => {}
        }
        if !text.is_empty() {
            self.open(out);
            self.give(&text, out);
        }
        if done {
            self.state = State::After;
        }
        Ok(())
    }

    fn named(&mut self, name: String, out: &mut Out) -> Result<(), Malformed> {
        if name.is_empty() || !out.knows(&name) {
            return Err(Malformed);
        }
        self.name = Some(name);
        self.state = State::After;
        if self.has_arguments && !self.held.is_empty() {
            self.open(out);
            let held = std::mem::take(&mut self.held);
            out.arguments(&held);
        }
        Ok(())
    }

    fn open(&mut self, out: &mut Out) {
        if let Some(name) = self.name.as_ref().filter(|_| !self.opened) {
            out.open(name);
            self.opened = true;
        }
    }

    fn give(&mut self, text: &str, out: &mut Out) {
        if self.opened {
            out.arguments(text);
        } else {
            self.held.push_str(text);
        }
    }

    /// The closing brace.
    fn end(&mut self, out: &mut Out) -> Result<Progress, Malformed> {
        if self.name.is_none() {
            return Err(Malformed);
        }
        if !self.has_arguments {
            self.open(out);
            out.arguments("{}");
        }
        Ok(Progress::Done)
    }
}
