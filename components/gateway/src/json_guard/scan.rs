//! A JSON document, character by character: which belong to its structure, and which to
//! a text or a number (RFC 8259).
//!
//! It does NOT keep the document.

/// Nested brackets; what is deeper is no document.
const DEPTH_MAX: usize = 256;
/// Characters of a number or a literal.
const WORD_CHARS_MAX: usize = 64;

/// The part that a character plays.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A bracket, a comma, white space, part of a literal, or an opening quote.
    Structure,
    /// Part of a number.
    Number,
    /// Part of an escape in a text.
    Partial,
    /// A character of a text, a value or a name, is complete; with its spelling where that is not the
    /// shortest.
    Text(char, Option<String>),
    /// The closing quote of a text.
    TextEnd,
    /// Not JSON; with the spelling of the escape before it that stays incomplete.
    Violation(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
    End,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Between,
    Text,
    /// The escape so far, its backslash with it.
    Escape(String),
    Word(String),
}

/// The state of a document.
#[derive(Debug)]
pub(super) struct Scanner {
    /// The open brackets; true for an object.
    open: Vec<bool>,
    expect: Expect,
    state: State,
    /// The text that is read is a property's name.
    is_name: bool,
    /// The first half of a surrogate pair, and its spelling.
    half: Option<(u32, String)>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            expect: Expect::Value,
            state: State::Between,
            is_name: false,
            half: None,
        }
    }
}

impl Scanner {
    pub(super) fn step(&mut self, char: char) -> Step {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => self.between(char),
            State::Text => self.text(char),
            State::Escape(spelling) => self.escape(spelling, char),
            State::Word(word) => self.word(word, char),
        }
    }

    /// The spelling of the escape that the document's end cut.
    pub(super) fn unfinished(&mut self) -> String {
        let before = match std::mem::replace(&mut self.state, State::Text) {
            State::Escape(spelling) => spelling,
            other => {
                self.state = other;
                String::new()
            }
        };
        let half = self.half.take().map(|(_, spelling)| spelling);
        half.unwrap_or_default() + &before
    }

    fn between(&mut self, char: char) -> Step {
        use Expect::{Colon, CommaOrEnd, Name, NameOrEnd, Value, ValueOrEnd};
        let is_object = self.open.last() == Some(&true);
        match (char, self.expect) {
            (' ' | '\t' | '\r' | '\n', _) => {}
            ('{' | '[', Value | ValueOrEnd) if self.open.len() < DEPTH_MAX => {
                self.open.push(char == '{');
                self.expect = if char == '{' { NameOrEnd } else { ValueOrEnd };
            }
            ('}', NameOrEnd) | (']', ValueOrEnd) => self.close(),
            ('}', CommaOrEnd) if is_object => self.close(),
            (']', CommaOrEnd) if !is_object => self.close(),
            (',', CommaOrEnd) => self.expect = if is_object { Name } else { Value },
            (':', Colon) => self.expect = Value,
            ('"', Name | NameOrEnd | Value | ValueOrEnd) => {
                self.is_name = matches!(self.expect, Name | NameOrEnd);
                self.state = State::Text;
            }
            (first, Value | ValueOrEnd) if begins_word(&first.to_string()) => {
                self.state = State::Word(first.to_string());
                if !first.is_ascii_alphabetic() {
                    return Step::Number;
                }
            }
            _ => return Step::Violation(String::new()),
        }
        Step::Structure
    }

    fn close(&mut self) {
        self.open.pop();
        self.value_ended();
    }

    fn value_ended(&mut self) {
        self.expect = match self.open.last() {
            Some(_) => Expect::CommaOrEnd,
            None => Expect::End,
        };
    }

    fn text(&mut self, char: char) -> Step {
        match char {
            '\\' => {
                self.state = State::Escape("\\".to_owned());
                Step::Partial
            }
            _ if self.half.is_some() => self.violation(String::new()),
            '"' => {
                if self.is_name {
                    self.expect = Expect::Colon;
                } else {
                    self.value_ended();
                }
                Step::TextEnd
            }
            char => {
                self.state = State::Text;
                // A control character may not stand in a string; models write line breaks.
                let spelling = (char < ' ').then(|| char.to_string());
                Step::Text(char, spelling)
            }
        }
    }

    fn escape(&mut self, before: String, char: char) -> Step {
        let spelling = format!("{before}{char}");
        let decoded = match (spelling.len(), char) {
            (2, '"' | '\\' | '/') => char,
            (2, 'b') => '\u{8}',
            (2, 'f') => '\u{c}',
            (2, 'n') => '\n',
            (2, 'r') => '\r',
            (2, 't') => '\t',
            (2, 'u') => {
                self.state = State::Escape(spelling);
                return Step::Partial;
            }
            (3..=5, digit) if digit.is_ascii_hexdigit() => {
                self.state = State::Escape(spelling);
                return Step::Partial;
            }
            (6, digit) if digit.is_ascii_hexdigit() => return self.code_unit(before, spelling),
            _ => return self.violation(before),
        };
        if self.half.is_some() {
            return self.violation(before);
        }
        self.state = State::Text;
        // These are the shortest for their characters.
        let is_shortest = char != '/';
        Step::Text(decoded, (!is_shortest).then_some(spelling))
    }

    /// `\uXXXX` is complete: a character, or half of one.
    fn code_unit(&mut self, before: String, spelling: String) -> Step {
        let hex = spelling.get(2..).unwrap_or_default();
        let unit = u32::from_str_radix(hex, 16).unwrap_or_default();
        let (code, spelling) = match (&self.half, unit) {
            (None, 0xd800..=0xdbff) => {
                self.half = Some((unit, spelling));
                self.state = State::Text;
                return Step::Partial;
            }
            (Some((high, first)), 0xdc00..=0xdfff) => {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
                (code, format!("{first}{spelling}"))
            }
            (None, _) => (unit, spelling),
            (Some(_), _) => return self.violation(before),
        };
        let Some(decoded) = char::from_u32(code) else {
            return self.violation(before);
        };
        self.half = None;
        self.state = State::Text;
        Step::Text(decoded, Some(spelling))
    }

    /// The character that was met belongs to no document; `before` it an escape was begun.
    fn violation(&mut self, before: String) -> Step {
        self.state = State::Escape(before);
        Step::Violation(self.unfinished())
    }

    fn word(&mut self, word: String, char: char) -> Step {
        let longer = format!("{word}{char}");
        if begins_word(&longer) {
            self.state = State::Word(longer);
            return match word.starts_with(|first: char| first.is_ascii_alphabetic()) {
                true => Step::Structure,
                false => Step::Number,
            };
        }
        let is_whole =
            word.ends_with(|last: char| last.is_ascii_digit()) || LITERALS.contains(&word.as_str());
        if !is_whole {
            return Step::Violation(String::new());
        }
        self.value_ended();
        self.between(char)
    }
}

const LITERALS: [&str; 3] = ["true", "false", "null"];

/// The beginning of a number or of a literal.
fn begins_word(word: &str) -> bool {
    let is_number = word.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && word
            .chars()
            .all(|char| char.is_ascii_digit() || "+-.eE".contains(char));
    let is_literal = LITERALS.iter().any(|literal| literal.starts_with(word));
    word.len() <= WORD_CHARS_MAX && (is_number || is_literal)
}
