//! One call as Python writes it, `name(key=value, …)`, with literals as values; its
//! arguments are given out as JSON while they are read.
//! Knows nothing of what stands round the call.

use serde::de::IgnoredAny;

use super::json_call::Progress;
use super::json_scan::{Malformed, push_escaped};
use super::out::Out;

/// Deepest nesting of a value.
const DEPTH_MAX: usize = 128;
/// Longest name of a function or a key, and longest number.
const WORD_CHARS_MAX: usize = 256;

/// Reads one call. It is opened at its first `key=`, or at `)`.
#[derive(Debug, Default)]
pub(super) struct PythonCall {
    state: State,
    name: String,
    word: String,
    /// Open lists and dictionaries of the value.
    open: Vec<Open>,
    opened: bool,
    /// JSON that is not given out yet.
    json: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    List,
    Dict,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// The function's name.
    #[default]
    Name,
    /// A keyword or `)`.
    Argument,
    Keyword,
    /// After the keyword: blanks, then `=`.
    Equals,
    Value,
    /// A value or the end of the list; a comma is due if there was one before.
    Item {
        comma: bool,
    },
    /// A key or the end of the dictionary.
    Key {
        comma: bool,
    },
    Colon,
    /// A comma, or what closes.
    After,
    String {
        quote: char,
        key: bool,
        escape: Escape,
    },
    /// A number, or True, False, None.
    Word,
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    None,
    Backslash,
    /// `\xNN`, `\uNNNN` or `\UNNNNNNNN`.
    Code {
        left: u8,
        value: u32,
    },
}

impl PythonCall {
    /// The call's name has been given out.
    pub(super) fn opened(&self) -> bool {
        self.opened
    }

    pub(super) fn step(&mut self, c: char, out: &mut Out) -> Progress {
        let done = self.try_step(c);
        if !self.json.is_empty() {
            if !self.opened {
                self.opened = true;
                out.open(&self.name);
            }
            out.arguments(&std::mem::take(&mut self.json));
        }
        match done {
            Ok(true) => Progress::Done,
            Ok(false) => Progress::More,
            Err(Malformed) => Progress::Broken,
        }
    }

    /// True: this was the call's closing parenthesis.
    fn try_step(&mut self, c: char) -> Result<bool, Malformed> {
        let blank = c.is_ascii_whitespace();
        match self.state {
            State::Name => return self.function_name(c),
            State::Keyword => return self.keyword(c),
            State::String { quote, key, escape } => self.string(c, quote, key, escape)?,
            State::Word => match word_char(c) {
                true if self.word.len() < WORD_CHARS_MAX => self.word.push(c),
                true => return Err(Malformed),
                false => {
                    let word = std::mem::take(&mut self.word);
                    self.json += &json_word(&word).ok_or(Malformed)?;
                    self.state = State::After;
                    return self.try_step(c);
                }
            },
            _ if blank => {}
            State::Argument if c == ')' => {
                self.json += if self.opened { "}" } else { "{}" };
                return Ok(true);
            }
            State::Argument if c.is_alphabetic() || c == '_' => {
                self.word.push(c);
                self.state = State::Keyword;
            }
            State::Equals if c == '=' => {
                let key = serde_json::Value::from(std::mem::take(&mut self.word));
                self.json = format!("{}{key}: ", if self.opened { ", " } else { "{" });
                self.state = State::Value;
            }
            State::Value => self.value(c)?,
            State::Item { .. } if c == ']' => self.close(Open::List)?,
            State::Item { comma } => {
                self.json += if comma { ", " } else { "" };
                self.value(c)?;
            }
            State::Key { .. } if c == '}' => self.close(Open::Dict)?,
            State::Key { comma } if matches!(c, '"' | '\'') => {
                self.json += if comma { ", " } else { "" };
                self.begin_string(c, true);
            }
            State::Colon if c == ':' => {
                self.json += ": ";
                self.state = State::Value;
            }
            State::After => return self.after(c),
            State::Argument | State::Equals | State::Key { .. } | State::Colon => {
                return Err(Malformed);
            }
        }
        Ok(false)
    }

    fn function_name(&mut self, c: char) -> Result<bool, Malformed> {
        let first = self.name.is_empty();
        match c {
            '(' if !first => self.state = State::Argument,
            c if c.is_alphabetic() || c == '_' => self.name.push(c),
            c if !first && (c.is_ascii_digit() || matches!(c, '.' | '-')) => self.name.push(c),
            _ => return Err(Malformed),
        }
        if self.name.len() > WORD_CHARS_MAX {
            return Err(Malformed);
        }
        Ok(false)
    }

    fn keyword(&mut self, c: char) -> Result<bool, Malformed> {
        if c.is_alphanumeric() || c == '_' {
            self.word.push(c);
            return match self.word.len() {
                0..=WORD_CHARS_MAX => Ok(false),
                _ => Err(Malformed),
            };
        }
        self.state = State::Equals;
        self.try_step(c)
    }

    fn value(&mut self, c: char) -> Result<(), Malformed> {
        match c {
            '[' | '{' if self.open.len() >= DEPTH_MAX => return Err(Malformed),
            '[' => {
                self.open.push(Open::List);
                self.json.push(c);
                self.state = State::Item { comma: false };
            }
            '{' => {
                self.open.push(Open::Dict);
                self.json.push(c);
                self.state = State::Key { comma: false };
            }
            '"' | '\'' => self.begin_string(c, false),
            c if word_char(c) => {
                self.word.push(c);
                self.state = State::Word;
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn close(&mut self, what: Open) -> Result<(), Malformed> {
        if self.open.pop() != Some(what) {
            return Err(Malformed);
        }
        self.json.push(match what {
            Open::List => ']',
            Open::Dict => '}',
        });
        self.state = State::After;
        Ok(())
    }

    fn after(&mut self, c: char) -> Result<bool, Malformed> {
        match (c, self.open.last()) {
            (',', None) => self.state = State::Argument,
            (')', None) => {
                self.json.push('}');
                return Ok(true);
            }
            (',', Some(Open::List)) => self.state = State::Item { comma: true },
            (',', Some(Open::Dict)) => self.state = State::Key { comma: true },
            (']', Some(Open::List)) => self.close(Open::List)?,
            ('}', Some(Open::Dict)) => self.close(Open::Dict)?,
            _ => return Err(Malformed),
        }
        Ok(false)
    }

    fn begin_string(&mut self, quote: char, key: bool) {
        self.json.push('"');
        let escape = Escape::None;
        self.state = State::String { quote, key, escape };
    }

    fn string(&mut self, c: char, quote: char, key: bool, escape: Escape) -> Result<(), Malformed> {
        let escape = match (escape, c) {
            (Escape::None, '\\') => Escape::Backslash,
            (Escape::None, c) if c == quote => {
                self.json.push('"');
                self.state = if key { State::Colon } else { State::After };
                return Ok(());
            }
            (Escape::None, c) => {
                push_quoted(c, &mut self.json);
                Escape::None
            }
            (Escape::Backslash, 'x') => Escape::Code { left: 2, value: 0 },
            (Escape::Backslash, 'u') => Escape::Code { left: 4, value: 0 },
            (Escape::Backslash, 'U') => Escape::Code { left: 8, value: 0 },
            (Escape::Backslash, c) => {
                push_simple_escape(c, &mut self.json);
                Escape::None
            }
            (Escape::Code { left, value }, c) => {
                let value = (value << 4) | c.to_digit(16).ok_or(Malformed)?;
                match left {
                    1 => {
                        push_code(value, &mut self.json)?;
                        Escape::None
                    }
                    _ => Escape::Code {
                        left: left - 1,
                        value,
                    },
                }
            }
        };
        self.state = State::String { quote, key, escape };
        Ok(())
    }
}

fn word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-')
}

/// A character of a string's value, inside JSON's quotes.
fn push_quoted(c: char, json: &mut String) {
    if matches!(c, '"' | '\\') {
        json.push('\\');
    }
    push_escaped(c, json);
}

/// Python keeps the backslash of an escape that it does not know; a line's end after a
/// backslash is nothing.
fn push_simple_escape(c: char, json: &mut String) {
    match c {
        '\n' => {}
        '\\' | '\'' | '"' => push_quoted(c, json),
        'n' => push_escaped('\n', json),
        'r' => push_escaped('\r', json),
        't' => push_escaped('\t', json),
        'a' => push_escaped('\u{7}', json),
        'b' => push_escaped('\u{8}', json),
        'f' => push_escaped('\u{c}', json),
        'v' => push_escaped('\u{b}', json),
        '0' => push_escaped('\0', json),
        other => {
            push_quoted('\\', json);
            push_quoted(other, json);
        }
    }
}

fn push_code(code: u32, json: &mut String) -> Result<(), Malformed> {
    match char::from_u32(code) {
        Some(c) => push_quoted(c, json),
        // Half of a character: JSON writes it the same way.
        None if code <= 0xffff => *json += &format!("\\u{code:04x}"),
        None => return Err(Malformed),
    }
    Ok(())
}

/// A number or a constant of Python (or of JSON, which models mix in) as JSON.
fn json_word(word: &str) -> Option<String> {
    match word {
        "True" | "true" => return Some("true".to_owned()),
        "False" | "false" => return Some("false".to_owned()),
        "None" | "null" => return Some("null".to_owned()),
        _ => {}
    }
    let plain = word.replace('_', "");
    let (minus, digits) = match plain.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], &digits[at..]),
        None => (digits, ""),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !fraction.is_none_or(all_digits) {
        return None;
    }
    if whole.is_empty() && fraction.is_none_or(str::is_empty) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let fraction = match fraction {
        None => String::new(),
        Some("") => ".0".to_owned(),
        Some(fraction) => format!(".{fraction}"),
    };
    let json = format!("{minus}{whole}{fraction}{exponent}");
    // The exponent is checked, and the whole once more, by a parser of JSON's own, which
    // reads no value: a number that no double holds is JSON all the same.
    serde_json::from_str::<IgnoredAny>(&json).ok()?;
    Some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_constants_become_json() {
        for (python, json) in [
            ("1", "1"),
            ("-07", "-7"),
            ("+1_000", "1000"),
            (".5", "0.5"),
            ("5.", "5.0"),
            ("1e5", "1e5"),
            ("-2.50E-3", "-2.50E-3"),
            ("9e999", "9e999"),
            ("True", "true"),
            ("None", "null"),
        ] {
            assert_eq!(json_word(python).as_deref(), Some(json), "{python}");
        }
        for word in [
            "", ".", "-", "0x1f", "1e", "nan", "x", "1.2.3", "1-2", "--1",
        ] {
            assert_eq!(json_word(word), None, "{word}");
        }
    }
}
