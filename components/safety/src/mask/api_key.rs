//! Keys and tokens of well-known forms, JSON Web Tokens (RFC 7519) and PEM private keys
//! (RFC 7468). Part of `mask`.
//!
//! What begins like a key and is long enough is one; it then reaches to its last character,
//! however long it is. A secret key of AWS begins like nothing: a word that speaks of it must stand
//! before it.

use super::{Look, Place};

/// A key is collected up to here; the rest is dropped with it.
pub(super) const BYTES_MAX: usize = 8192;

/// A prefix, and how many characters must follow it.
struct Form {
    prefix: &'static [u8],
    rest_bytes_min: usize,
    /// Words may have hyphens too (`sk-learn-something-something`): a digit must be among them.
    needs_digit: bool,
}

const fn form(prefix: &'static [u8], rest_bytes_min: usize) -> Form {
    Form {
        prefix,
        rest_bytes_min,
        needs_digit: false,
    }
}

const fn form_with_digit(prefix: &'static [u8], rest_bytes_min: usize) -> Form {
    Form {
        prefix,
        rest_bytes_min,
        needs_digit: true,
    }
}

const FORMS: [Form; 24] = [
    form_with_digit(b"sk-", 16),
    form_with_digit(b"pk-", 16),
    form(b"sk_live_", 16),
    form(b"sk_test_", 16),
    form(b"rk_live_", 16),
    form(b"AKIA", 16),
    form(b"ASIA", 16),
    form(b"AIza", 30),
    form(b"GOCSPX-", 20),
    form_with_digit(b"ya29.", 20),
    form(b"ghp_", 30),
    form(b"gho_", 30),
    form(b"ghu_", 30),
    form(b"ghs_", 30),
    form(b"ghr_", 30),
    form(b"github_pat_", 30),
    form(b"glpat-", 20),
    form(b"xoxa-", 10),
    form(b"xoxb-", 10),
    form(b"xoxp-", 10),
    form(b"xoxr-", 10),
    form(b"xoxs-", 10),
    form(b"hf_", 30),
    form(b"npm_", 30),
];

/// Where a digit must have come.
const DIGIT_WITHIN: usize = 48;
/// The first part of a token, at most: it names an algorithm and a key.
const TOKEN_HEAD_BYTES_MAX: usize = 512;
const PEM_LABEL_BYTES_MAX: usize = 32;
const SECRET_BYTES: usize = 40;
/// How far a word reaches that speaks of a secret.
const NEAR_BYTES: usize = 160;
/// Words are shorter.
const PIECE_BYTES_MIN: usize = 24;

/// A character of a key. Also what is dropped after a key that is too long.
pub(super) fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

pub(super) fn look(place: &Place<'_>) -> Result<Look, Look> {
    match place.bytes[place.at] {
        b'-' if place.before[1] != b'-' => pem(place),
        b'e' if !is_key(place.before[1]) && starts(place, b"eyJ", 0)? => token(place),
        b's' | b'p' | b'r' | b'A' | b'g' | b'G' | b'x' | b'h' | b'n' | b'y' => {
            match prefixed(place)? {
                Look::No => secret(place),
                found => Ok(found),
            }
        }
        _ => secret(place),
    }
}

/// A secret access key of AWS: 40 characters of base64 with nothing to know them by but that a
/// secret was spoken of before.
fn secret(place: &Place<'_>) -> Result<Look, Look> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if !place.is_near_secret || is_part(place.before[1]) {
        return Ok(Look::No);
    }
    let mut has = [false; 3];
    for length in 0..SECRET_BYTES {
        match place.byte(length)? {
            Some(byte) if is_part(byte) => {
                has[0] |= byte.is_ascii_digit();
                has[1] |= byte.is_ascii_uppercase();
                has[2] |= byte.is_ascii_lowercase();
            }
            _ => return Ok(Look::No),
        }
    }
    let goes_on = place.byte(SECRET_BYTES)?.is_some_and(is_base64);
    let is_secret = !goes_on && has.iter().all(|has| *has);
    Ok(if is_secret {
        Look::Hit(SECRET_BYTES)
    } else {
        Look::No
    })
}

/// Words that speak of a secret, and how much of each was just read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spoken {
    read: [usize; SPEAKS_OF_SECRET.len()],
    is_reading: bool,
    /// So many bytes are still near such a word.
    near: usize,
}

const SPEAKS_OF_SECRET: [&[u8]; 3] = [b"secret", b"aws", b"akia"];

impl Spoken {
    pub(super) fn is_near(&self) -> bool {
        self.near > 0
    }

    pub(super) fn read(&mut self, passed: &[u8]) {
        let begins = |byte: &u8| matches!(byte, b's' | b'S' | b'a' | b'A');
        if !self.is_reading && !passed.iter().any(begins) {
            self.near = self.near.saturating_sub(passed.len());
        } else {
            passed.iter().for_each(|byte| self.read_byte(*byte));
        }
    }

    fn read_byte(&mut self, byte: u8) {
        self.near = self.near.saturating_sub(1);
        let byte = byte.to_ascii_lowercase();
        for (word, read) in SPEAKS_OF_SECRET.iter().zip(&mut self.read) {
            // No word begins again within itself but by its first letter.
            *read = match word.get(*read) {
                Some(expected) if *expected == byte => *read + 1,
                _ => usize::from(word[0] == byte),
            };
            if *read == word.len() {
                self.near = NEAR_BYTES;
            }
        }
        self.is_reading = self.read.iter().any(|read| *read > 0);
    }
}

/// `Err` while all that is there agrees, and there is too little of it.
fn starts(place: &Place<'_>, word: &[u8], ahead: usize) -> Result<bool, Look> {
    for (index, expected) in word.iter().enumerate() {
        if place.byte(ahead + index)? != Some(*expected) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn prefixed(place: &Place<'_>) -> Result<Look, Look> {
    for form in FORMS
        .iter()
        .filter(|form| form.prefix[0] == place.bytes[place.at])
    {
        if !starts(place, form.prefix, 0)? {
            continue;
        }
        let start = form.prefix.len();
        let mut has_digit = !form.needs_digit;
        let mut length = 0;
        while let Some(byte) = place.byte(start + length)?.filter(|byte| is_key(*byte)) {
            has_digit |= byte.is_ascii_digit();
            length += 1;
            if has_digit && length >= form.rest_bytes_min {
                return run(place, start + length);
            }
            if length >= DIGIT_WITHIN.max(form.rest_bytes_min) {
                break;
            }
        }
    }
    Ok(Look::No)
}

/// It is a key: to its end.
fn run(place: &Place<'_>, start: usize) -> Result<Look, Look> {
    let mut length = start;
    while length < BYTES_MAX && place.byte(length)?.is_some_and(is_key) {
        length += 1;
    }
    Ok(Look::Hit(length))
}

/// `eyJ….eyJ….…`: two JSON objects in base64url, and a signature that may be empty.
fn token(place: &Place<'_>) -> Result<Look, Look> {
    let mut length = 0;
    while place.byte(length)?.is_some_and(is_key) {
        length += 1;
        if length > TOKEN_HEAD_BYTES_MAX {
            return Ok(Look::No);
        }
    }
    if length < 12 || place.byte(length)? != Some(b'.') || !starts(place, b"eyJ", length + 1)? {
        return Ok(Look::No);
    }
    let payload = run(place, length + 1)?;
    match payload {
        Look::Hit(end) if end < BYTES_MAX && place.byte(end)? == Some(b'.') => {
            match place.byte(end + 1)? {
                Some(byte) if is_key(byte) => run(place, end + 1),
                // A full stop.
                _ => Ok(payload),
            }
        }
        other => Ok(other),
    }
}

/// From `-----BEGIN … PRIVATE KEY-----` through the lines of base64 to the `-----END …-----`.
fn pem(place: &Place<'_>) -> Result<Look, Look> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    if !starts(place, BEGIN, 0)? {
        return Ok(Look::No);
    }
    let mut next = BEGIN.len();
    while !starts(place, b"PRIVATE KEY", next)? {
        let is_label = place
            .byte(next)?
            .is_some_and(|byte| byte.is_ascii_uppercase() || byte == b' ');
        if !is_label || next - BEGIN.len() > PEM_LABEL_BYTES_MAX {
            return Ok(Look::No);
        }
        next += 1;
    }
    next += b"PRIVATE KEY".len();
    if starts(place, b" BLOCK", next)? {
        next += b" BLOCK".len();
    }
    if !starts(place, b"-----", next)? {
        return Ok(Look::No);
    }
    body(place, next + b"-----".len())
}

/// Pieces of base64, one a line. Keys are pasted on one line too, with spaces for the line feeds:
/// there a piece must be long, or the words of a sentence would be taken for the key.
fn body(place: &Place<'_>, header_end: usize) -> Result<Look, Look> {
    let (mut end, mut has_base64) = (header_end, false);
    while end < BYTES_MAX {
        let after_space = place.byte(end)? == Some(b' ');
        let start = if after_space {
            Some(end + 1)
        } else {
            line_break(place, end)?
        };
        let Some(start) = start else { break };
        if starts(place, b"-----END ", start)? {
            return footer(place, start);
        }
        let mut next = start;
        while next < BYTES_MAX && place.byte(next)?.is_some_and(is_base64) {
            next += 1;
        }
        let is_long = next - start >= PIECE_BYTES_MIN;
        // `Proc-Type: 4,ENCRYPTED` and the like come before the key itself.
        if !has_base64 && !after_space && matches!(place.byte(next)?, Some(b':' | b'-')) {
            while next < BYTES_MAX && !matches!(place.byte(next)?, None | Some(b'\n')) {
                next += 1;
            }
        } else {
            has_base64 |= next > start;
        }
        let ends_line =
            place.byte(next)?.is_none() || line_break(place, next)?.is_some() || next >= BYTES_MAX;
        let ends_piece = is_long && place.byte(next)? == Some(b' ');
        if !(ends_line || ends_piece) || (after_space && !is_long) {
            break;
        }
        end = next;
    }
    Ok(Look::Hit(end))
}

fn footer(place: &Place<'_>, start: usize) -> Result<Look, Look> {
    let mut next = start + b"-----END ".len();
    while place
        .byte(next)?
        .is_some_and(|byte| byte.is_ascii_uppercase() || byte == b' ')
        && next - start <= 2 * PEM_LABEL_BYTES_MAX
    {
        next += 1;
    }
    while place.byte(next)? == Some(b'-') && next - start <= 3 * PEM_LABEL_BYTES_MAX {
        next += 1;
    }
    Ok(Look::Hit(next))
}

/// Where the next line begins, if a line ends here.
fn line_break(place: &Place<'_>, at: usize) -> Result<Option<usize>, Look> {
    let at = if place.byte(at)? == Some(b'\r') {
        at + 1
    } else {
        at
    };
    Ok(match place.byte(at)? {
        Some(b'\n') => Some(at + 1),
        _ => None,
    })
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}
