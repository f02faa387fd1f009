//! Characters that are spelled with several: HTML's entities and tags, escapes of programming
//! languages, percent-encoding (RFC 3986, 2.1) and the marks of Markdown. Part of `view`.
//!
//! It does NOT know which characters look alike.

/// What stands at one place of the text, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelled {
    Char(char, usize),
    /// Emphasis, or a tag: not to be read.
    Markup(usize),
    /// Not to be told before more of the text is there.
    More,
}

/// Not enough of the text has arrived.
struct Pending;

/// A spelling's character and bytes; none where the place is no spelling.
type Read = Result<Option<(char, usize)>, Pending>;

/// An entity's digits or letters, at most.
const ENTITY_CHARS_MAX: usize = 12;
/// How often an escape may be escaped itself: `&amp;#64;`, `%2540`, `\\u0040`.
const NESTED_MAX: usize = 3;

/// Tags that show nothing themselves, and the line break.
const TAGS: [&str; 21] = [
    "b", "big", "br", "code", "del", "em", "font", "i", "ins", "kbd", "mark", "s", "small", "span",
    "strong", "sub", "sup", "tt", "u", "var", "wbr",
];
const TAG_CHARS_MAX: usize = 6;

/// Bytes of ASCII at which a spelling may begin.
pub fn may_begin(byte: u8) -> bool {
    matches!(byte, b'&' | b'\\' | b'%' | b'<' | b'*' | b'`' | b'~')
}

/// Reads at `at`, which is within the text. Where it is `last`, nothing follows it.
pub fn next(text: &str, at: usize, last: bool) -> Spelled {
    let rest = &text[at..];
    let Some(first) = rest.chars().next() else {
        return Spelled::More;
    };
    let ahead = Ahead {
        text: rest,
        is_last: last,
    };
    let read = match first {
        '*' | '`' => return Spelled::Markup(1),
        '~' => match ahead.byte(1) {
            Ok(Some(b'~')) => return Spelled::Markup(2),
            Ok(_) => Ok(None),
            Err(Pending) => Err(Pending),
        },
        '<' => match ahead.tag() {
            Ok(Some(length)) if is_line_break(&rest[..length]) => Ok(Some(('\n', length))),
            Ok(Some(length)) => return Spelled::Markup(length),
            Ok(None) => Ok(None),
            Err(Pending) => Err(Pending),
        },
        '&' => ahead.entity(),
        '\\' => ahead.escape(),
        '%' => ahead.percent(),
        _ => Ok(None),
    };
    match read {
        Ok(Some((char, length))) => Spelled::Char(char, length),
        Ok(None) => Spelled::Char(first, first.len_utf8()),
        Err(Pending) => Spelled::More,
    }
}

fn is_line_break(tag: &str) -> bool {
    tag.get(1..3)
        .is_some_and(|name| name.eq_ignore_ascii_case("br"))
}

struct Ahead<'a> {
    text: &'a str,
    is_last: bool,
}

impl Ahead<'_> {
    fn byte(&self, at: usize) -> Result<Option<u8>, Pending> {
        match self.text.as_bytes().get(at) {
            Some(byte) => Ok(Some(*byte)),
            None if self.is_last => Ok(None),
            None => Err(Pending),
        }
    }

    fn starts(&self, at: usize, word: &[u8]) -> Result<bool, Pending> {
        for (index, expected) in word.iter().enumerate() {
            if self.byte(at + index)? != Some(*expected) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The offset after at most so many characters of a kind.
    fn run(&self, at: usize, max: usize, is: fn(&u8) -> bool) -> Result<usize, Pending> {
        let mut end = at;
        while end - at < max && self.byte(end)?.as_ref().is_some_and(is) {
            end += 1;
        }
        Ok(end)
    }

    fn hex(&self, from: usize, to: usize) -> Option<char> {
        let digits = self
            .text
            .get(from..to)
            .filter(|digits| !digits.is_empty())?;
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    }

    /// `&#64;`, `&#x40`, `&commat;`, also with an escaped ampersand.
    fn entity(&self) -> Read {
        let mut at = 1;
        for _ in 0..NESTED_MAX {
            at += if self.starts(at, b"amp;")? { 4 } else { 0 };
        }
        let plain = (at > 1).then_some(('&', at));
        if self.byte(at)? != Some(b'#') {
            let end = self.run(at, ENTITY_CHARS_MAX, u8::is_ascii_alphanumeric)?;
            if end == at || self.byte(end)? != Some(b';') {
                return Ok(plain);
            }
            return Ok(named(&self.text[at..end])
                .map(|char| (char, end + 1))
                .or(plain));
        }
        at += 1;
        let is_hex = matches!(self.byte(at)?, Some(b'x' | b'X'));
        at += usize::from(is_hex);
        let is_digit = if is_hex {
            u8::is_ascii_hexdigit
        } else {
            u8::is_ascii_digit
        };
        let end = self.run(at, ENTITY_CHARS_MAX, is_digit)?;
        let code = u32::from_str_radix(&self.text[at..end], if is_hex { 16 } else { 10 });
        let Some(char) = code.ok().and_then(char::from_u32) else {
            return Ok(plain);
        };
        let semicolon = usize::from(self.byte(end)? == Some(b';'));
        Ok(Some((char, end + semicolon)))
    }

    /// `\u0040`, `\u{40}`, `\x40`, `\U00000040`, `\100`, `\n`, and a mark that Markdown would read.
    fn escape(&self) -> Read {
        let at = self.run(0, NESTED_MAX, |byte| *byte == b'\\')?;
        let Some(kind) = self.byte(at)? else {
            return Ok(None);
        };
        let is_hex = u8::is_ascii_hexdigit;
        match kind {
            b'u' if self.byte(at + 1)? == Some(b'{') => {
                let end = self.run(at + 2, 8, is_hex)?;
                let char = self.hex(at + 2, end);
                let is_closed = self.byte(end)? == Some(b'}');
                Ok(char.filter(|_| is_closed).map(|char| (char, end + 1)))
            }
            b'u' => self.code_units(at),
            b'U' | b'x' => {
                let digits = if kind == b'x' { 2 } else { 8 };
                let end = self.run(at + 1, digits, is_hex)?;
                let char = self.hex(at + 1, end);
                Ok(char
                    .filter(|_| end == at + 1 + digits)
                    .map(|char| (char, end)))
            }
            b'n' | b'r' => Ok(Some(('\n', at + 1))),
            b't' => Ok(Some(('\t', at + 1))),
            b'0' | b'1' => {
                let end = self.run(at, 3, |byte| matches!(byte, b'0'..=b'7'))?;
                let code = u8::from_str_radix(&self.text[at..end], 8).ok();
                let char = code.filter(|code| end == at + 3 && *code >= b' ');
                Ok(char.map(|code| (char::from(code), end)))
            }
            mark if at == 1 && mark.is_ascii_punctuation() => Ok(Some((char::from(mark), 2))),
            _ => Ok(None),
        }
    }

    /// `\u` and four digits, or two such for a pair of surrogates.
    fn code_units(&self, at: usize) -> Read {
        let end = self.run(at + 1, 4, u8::is_ascii_hexdigit)?;
        if end != at + 5 {
            return Ok(None);
        }
        let unit = |from: usize| u32::from_str_radix(&self.text[from..from + 4], 16).unwrap_or(0);
        let high = unit(at + 1);
        if !(0xd800..0xdc00).contains(&high) {
            return Ok(char::from_u32(high).map(|char| (char, end)));
        }
        if !self.starts(end, &self.text.as_bytes()[..=at])? {
            return Ok(None);
        }
        let second = end + at + 1;
        if self.run(second, 4, u8::is_ascii_hexdigit)? != second + 4 {
            return Ok(None);
        }
        let pair = [high, unit(second)].map(|unit| u16::try_from(unit).unwrap_or(0));
        let char = char::decode_utf16(pair).next().and_then(Result::ok);
        Ok(char.map(|char| (char, second + 4)))
    }

    /// `%40`, or the bytes of one character.
    fn percent(&self) -> Read {
        let mut at = 1;
        for _ in 0..NESTED_MAX {
            let is_nested = self.starts(at, b"25")?
                && self
                    .byte(at + 2)?
                    .is_some_and(|byte| byte.is_ascii_hexdigit())
                && self
                    .byte(at + 3)?
                    .is_some_and(|byte| byte.is_ascii_hexdigit());
            at += if is_nested { 2 } else { 0 };
        }
        let mut bytes = [0; 4];
        let mut count = 0;
        while count < bytes.len() {
            let from = if count == 0 {
                at
            } else if self.byte(at)? == Some(b'%') {
                at + 1
            } else {
                return Ok(None);
            };
            if self.run(from, 2, u8::is_ascii_hexdigit)? != from + 2 {
                return Ok(None);
            }
            let byte = u8::from_str_radix(&self.text[from..from + 2], 16).unwrap_or(0);
            (bytes[count], count, at) = (byte, count + 1, from + 2);
            let needed = match bytes[0] {
                0x20..0x80 => 1,
                0xc2..0xe0 => 2,
                0xe0..0xf0 => 3,
                0xf0..0xf5 => 4,
                _ => return Ok(None),
            };
            if count == needed {
                break;
            }
        }
        let text = str::from_utf8(&bytes[..count]).ok();
        Ok(text
            .and_then(|text| text.chars().next())
            .map(|char| (char, at)))
    }

    /// `<b>`, `</b>`, `<wbr/>`.
    fn tag(&self) -> Result<Option<usize>, Pending> {
        let start = 1 + usize::from(self.byte(1)? == Some(b'/'));
        let end = self.run(start, TAG_CHARS_MAX, u8::is_ascii_alphabetic)?;
        if end == start {
            return Ok(None);
        }
        let mut close = self.run(end, 1, |byte| *byte == b' ')?;
        close += usize::from(self.byte(close)? == Some(b'/'));
        if self.byte(close)? != Some(b'>') {
            return Ok(None);
        }
        let name = &self.text[start..end];
        let is_tag = TAGS.iter().any(|tag| tag.eq_ignore_ascii_case(name));
        Ok(is_tag.then_some(close + 1))
    }
}

/// The entities of spaces and marks that stand in numbers and addresses (HTML, 13.5).
fn named(name: &str) -> Option<char> {
    Some(match name {
        "nbsp" | "NonBreakingSpace" => '\u{a0}',
        "ensp" | "emsp" | "thinsp" | "hairsp" | "numsp" | "puncsp" | "ThinSpace" => ' ',
        "emsp13" | "emsp14" | "MediumSpace" | "VeryThinSpace" => ' ',
        "Tab" => '\t',
        "NewLine" => '\n',
        "shy" | "zwj" | "zwnj" | "lrm" | "rlm" | "NoBreak" | "af" | "it" | "ic" => '\u{ad}',
        "commat" => '@',
        "period" => '.',
        "comma" => ',',
        "colon" => ':',
        "semi" => ';',
        "sol" => '/',
        "bsol" => '\\',
        "hyphen" | "dash" | "ndash" | "mdash" | "minus" | "horbar" => '-',
        "lowbar" | "UnderBar" => '_',
        "plus" => '+',
        "equals" => '=',
        "num" => '#',
        "ast" | "midast" => '*',
        "lpar" => '(',
        "rpar" => ')',
        "lsqb" | "lbrack" => '[',
        "rsqb" | "rbrack" => ']',
        "lcub" | "lbrace" => '{',
        "rcub" | "rbrace" => '}',
        "lt" | "LT" => '<',
        "gt" | "GT" => '>',
        "quot" | "QUOT" => '"',
        "apos" => '\'',
        "percnt" => '%',
        "verbar" | "vert" => '|',
        "middot" | "centerdot" => '\u{b7}',
        "bull" => '\u{2022}',
        _ => return None,
    })
}
