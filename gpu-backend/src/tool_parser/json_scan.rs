//! JSON, character by character (RFC 8259): where a value ends and where it goes wrong,
//! and the text of a string.
//! Knows nothing of calls.

/// Deepest nesting of a value.
const DEPTH_MAX: usize = 128;

/// This is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// How far a value has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    More,
    /// It ended with this character.
    Done,
    /// It ended before this character (only a number does).
    DoneBefore,
}

/// Follows one value. Line feeds and other control characters inside strings, which
/// models write and JSON forbids, are put through as escapes.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Open objects (true) and arrays (false).
    open: Vec<bool>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Value,
    FirstItem,
    FirstKey,
    Key,
    Colon,
    After,
    String { key: bool, escape: Escape },
    Number(Number),
    Word(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    None,
    Backslash,
    /// Hexadecimal digits left.
    Unicode(u8),
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            state: State::Value,
        }
    }
}

impl Scanner {
    /// Takes a character and writes it through, unless it is not the value's.
    pub(super) fn step(&mut self, c: char, out: &mut String) -> Result<Scan, Malformed> {
        let blank = matches!(c, ' ' | '\t' | '\n' | '\r');
        match self.state {
            State::String { key, escape } => return self.string(c, key, escape, out),
            State::Number(number) => match number.step(c) {
                Some(next) => self.state = State::Number(next),
                None if !number.complete() => return Err(Malformed),
                None if self.open.is_empty() => return Ok(Scan::DoneBefore),
                None => {
                    self.state = State::After;
                    return self.step(c, out);
                }
            },
            State::Word(rest) => {
                let rest = rest.strip_prefix(c).ok_or(Malformed)?;
                self.state = State::Word(rest);
                if rest.is_empty() {
                    out.push(c);
                    return Ok(self.close_value());
                }
            }
            _ if blank => {}
            State::Value => self.begin(c)?,
            State::FirstItem if c == ']' => return self.close(c, out),
            State::FirstItem => self.begin(c)?,
            State::FirstKey if c == '}' => return self.close(c, out),
            State::FirstKey | State::Key if c == '"' => self.begin_string(true),
            State::FirstKey | State::Key => return Err(Malformed),
            State::Colon if c == ':' => self.state = State::Value,
            State::Colon => return Err(Malformed),
            State::After => match (c, self.open.last()) {
                (',', Some(true)) => self.state = State::Key,
                (',', Some(false)) => self.state = State::Value,
                ('}', Some(true)) | (']', Some(false)) => return self.close(c, out),
                _ => return Err(Malformed),
            },
        }
        out.push(c);
        Ok(Scan::More)
    }

    /// An object or array that is complete.
    pub(super) fn is_done(&self) -> bool {
        self.open.is_empty() && matches!(self.state, State::After)
    }

    fn begin(&mut self, c: char) -> Result<(), Malformed> {
        self.state = match c {
            '{' | '[' if self.open.len() >= DEPTH_MAX => return Err(Malformed),
            '{' => {
                self.open.push(true);
                State::FirstKey
            }
            '[' => {
                self.open.push(false);
                State::FirstItem
            }
            '"' => {
                self.begin_string(false);
                return Ok(());
            }
            '-' => State::Number(Number::Minus),
            '0' => State::Number(Number::Zero),
            '1'..='9' => State::Number(Number::Whole),
            't' => State::Word("rue"),
            'f' => State::Word("alse"),
            'n' => State::Word("ull"),
            _ => return Err(Malformed),
        };
        Ok(())
    }

    fn begin_string(&mut self, key: bool) {
        let escape = Escape::None;
        self.state = State::String { key, escape };
    }

    fn close(&mut self, c: char, out: &mut String) -> Result<Scan, Malformed> {
        self.open.pop();
        out.push(c);
        Ok(self.close_value())
    }

    /// A value is complete.
    fn close_value(&mut self) -> Scan {
        self.state = State::After;
        if self.open.is_empty() {
            Scan::Done
        } else {
            Scan::More
        }
    }

    fn string(
        &mut self,
        c: char,
        key: bool,
        escape: Escape,
        out: &mut String,
    ) -> Result<Scan, Malformed> {
        let escape = match (escape, c) {
            (Escape::None, '"') => {
                out.push(c);
                if key {
                    self.state = State::Colon;
                    return Ok(Scan::More);
                }
                return Ok(self.close_value());
            }
            (Escape::None, '\\') => Escape::Backslash,
            (Escape::None, _) => {
                push_escaped(c, out);
                return Ok(Scan::More);
            }
            (Escape::Backslash, 'u') => Escape::Unicode(4),
            (Escape::Backslash, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Escape::None,
            (Escape::Unicode(left), c) if c.is_ascii_hexdigit() => match left {
                1 => Escape::None,
                more => Escape::Unicode(more - 1),
            },
            _ => return Err(Malformed),
        };
        out.push(c);
        self.state = State::String { key, escape };
        Ok(Scan::More)
    }
}

impl Number {
    fn step(self, c: char) -> Option<Self> {
        Some(match (self, c) {
            (Self::Minus, '0') => Self::Zero,
            (Self::Minus, '1'..='9') | (Self::Whole, '0'..='9') => Self::Whole,
            (Self::Zero | Self::Whole, '.') => Self::Point,
            (Self::Point | Self::Fraction, '0'..='9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, 'e' | 'E') => Self::E,
            (Self::E, '+' | '-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, '0'..='9') => Self::Exponent,
            _ => return None,
        })
    }

    fn complete(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Whole | Self::Fraction | Self::Exponent
        )
    }
}

/// A character as it stands inside a JSON string; quotes and backslashes are the
/// caller's business.
pub(super) fn push_escaped(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\u{1f}' => *out += &format!("\\u{:04x}", u32::from(c)),
        _ => out.push(c),
    }
}

/// Decodes a JSON string after its opening quote.
#[derive(Debug, Default)]
pub(super) struct Unescape {
    state: Unescaping,
    /// The first half of a character beyond U+FFFF.
    high: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Unescaping {
    #[default]
    Plain,
    Backslash,
    Unicode {
        left: u8,
        value: u32,
    },
}

impl Unescape {
    /// Takes a character and writes what it stands for. True: this was the closing quote.
    pub(super) fn step(&mut self, c: char, out: &mut String) -> Result<bool, Malformed> {
        match (self.state, c) {
            (Unescaping::Plain, '\\') => self.state = Unescaping::Backslash,
            (Unescaping::Plain, '"') => {
                self.lone_half(out);
                return Ok(true);
            }
            (Unescaping::Plain, c) => self.push(c, out),
            (Unescaping::Backslash, 'u') => {
                self.state = Unescaping::Unicode { left: 4, value: 0 };
            }
            (Unescaping::Backslash, c) => {
                self.state = Unescaping::Plain;
                let c = match c {
                    '"' | '\\' | '/' => c,
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    _ => return Err(Malformed),
                };
                self.push(c, out);
            }
            (Unescaping::Unicode { left, value }, c) => {
                let value = value * 16 + c.to_digit(16).ok_or(Malformed)?;
                self.state = Unescaping::Unicode {
                    left: left - 1,
                    value,
                };
                if left == 1 {
                    self.state = Unescaping::Plain;
                    self.code(value, out);
                }
            }
        }
        Ok(false)
    }

    fn push(&mut self, c: char, out: &mut String) {
        self.lone_half(out);
        out.push(c);
    }

    fn code(&mut self, code: u32, out: &mut String) {
        match (self.high.take(), code) {
            (Some(high), 0xdc00..=0xdfff) => {
                let code = 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00);
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (other, code) => {
                self.high = other;
                self.lone_half(out);
                match code {
                    0xd800..=0xdbff => self.high = Some(code),
                    _ => out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
        }
    }

    fn lone_half(&mut self, out: &mut String) {
        if self.high.take().is_some() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the scanner says of the whole text, and what it wrote.
    fn scan(text: &str) -> (Result<Scan, Malformed>, String) {
        let (mut scanner, mut out) = (Scanner::default(), String::new());
        let mut last = Ok(Scan::More);
        for c in text.chars() {
            if matches!(last, Ok(Scan::Done)) {
                return (Err(Malformed), out);
            }
            last = scanner.step(c, &mut out);
            if last.is_err() {
                break;
            }
        }
        (last, out)
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_whole_parser(text in prop_oneof![
            "[\\[\\]{}\",:0-9eE.+\\-truefalsn \\\\]{0,16}",
            "\\{(\"[ab\\\\\"n]{0,3}\" ?: ?(-?[0-9.]{1,3}|true|null|\\[\\]|\"é\"),?){0,3}\\}",
        ]) {
            // A scalar ends only with what follows it, so an array is put round it.
            let text = format!("[{text}]");
            let (end, out) = scan(&text);
            let valid = serde_json::from_str::<serde_json::Value>(&text);
            // Lone halves and numbers out of range are serde's own refusals.
            if !text.contains("\\u") && !text.contains(['e', 'E']) {
                prop_assert_eq!(end == Ok(Scan::Done), valid.is_ok(), "{}", text);
            }
            if end.is_ok() {
                prop_assert_eq!(out, text);
            }
        }

        #[test]
        fn a_string_is_read_as_it_was_written(text in "\\PC{0,12}|[\\x00-\\x1f\"\\\\😀]{0,8}") {
            let written = serde_json::to_string(&text).unwrap();
            let (mut unescape, mut out) = (Unescape::default(), String::new());
            let mut done = false;
            for c in written[1..].chars() {
                done = unescape.step(c, &mut out).unwrap();
            }
            prop_assert!(done);
            prop_assert_eq!(out, text);
        }
    }

    #[test]
    fn escapes_and_control_characters() {
        let (mut unescape, mut out) = (Unescape::default(), String::new());
        for c in "\\ud83d\\ude00\\u00e9\\ud83dx\\ude00\"".chars() {
            unescape.step(c, &mut out).unwrap();
        }
        assert_eq!(out, "😀é\u{fffd}x\u{fffd}");
        assert_eq!(
            scan("{\"a\": \"x\ny\u{1}\"}").1,
            "{\"a\": \"x\\ny\\u0001\"}"
        );
    }
}
