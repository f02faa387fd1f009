//! Secrets and personal data, replaced by placeholders such as `[EMAIL_1]`.
//!
//! `screen` gives it whole texts, `guard` the chunks of an answer; both get the same result,
//! because every decision is taken at one place of the text, from what stands there, and only once
//! enough of it has arrived. Until then the text from that place on is held back: a word, a number
//! with its spaces, or a secret that is still growing.
//!
//! The scanners of each kind are in the files below; they look at bytes, cost a bounded time for
//! each place, and are compiled from nothing, so that an instance starts in microseconds. None of
//! them knows a chunk.

use std::collections::HashMap;

use crate::policy::{Finding, Policy};

mod api_key;
mod card;
mod email;
mod iban;
mod phone;
mod text;

#[cfg(test)]
mod tests;

/// The longest value of a key, in bytes; of a longer one the rest is dropped with it.
pub const KEY_BYTES_MAX: usize = api_key::BYTES_MAX;

/// What is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Email,
    Phone,
    Card,
    Iban,
    ApiKey,
}

impl Kind {
    pub const COUNT: usize = 5;
    pub const ALL: [Self; Self::COUNT] = [
        Self::Email,
        Self::Phone,
        Self::Card,
        Self::Iban,
        Self::ApiKey,
    ];

    /// As in the variable `mask` and in findings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::ApiKey => "api-key",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Email => "EMAIL",
            Self::Phone => "PHONE",
            Self::Card => "CARD",
            Self::Iban => "IBAN",
            Self::ApiKey => "API_KEY",
        }
    }

    /// One value is written in several ways.
    fn normal(self, value: &str) -> String {
        match self {
            Self::Email => value.to_lowercase(),
            Self::Phone => value
                .chars()
                .filter(|c| c.is_ascii_digit() || *c == '+')
                .collect(),
            Self::Card => {
                let digits = value.chars().filter_map(card::digit);
                digits.map(|digit| char::from(b'0' + digit)).collect()
            }
            Self::Iban => value
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|c| c.to_ascii_uppercase())
                .collect(),
            Self::ApiKey => value.to_owned(),
        }
    }
}

/// Which value has which placeholder. Lives as long as one prompt or one answer.
#[derive(Debug, Default)]
pub struct Placeholders {
    numbers: HashMap<(Kind, String), usize>,
    /// Different values of each kind, and how often any was found.
    distinct: [usize; Kind::COUNT],
    found: [u32; Kind::COUNT],
}

impl Placeholders {
    fn put(&mut self, kind: Kind, value: &str, out: &mut String) {
        let (distinct, found) = (
            &mut self.distinct[kind as usize],
            &mut self.found[kind as usize],
        );
        *found = found.saturating_add(1);
        let number = *self
            .numbers
            .entry((kind, kind.normal(value)))
            .or_insert_with(|| {
                *distinct += 1;
                *distinct
            });
        out.push_str(&format!("[{}_{number}]", kind.label()));
    }

    /// What was found so far.
    pub fn findings(&self) -> Vec<Finding> {
        Kind::ALL
            .iter()
            .map(|kind| Finding {
                kind: kind.name(),
                count: self.found[*kind as usize],
            })
            .filter(|finding| finding.count > 0)
            .collect()
    }
}

/// What a scanner sees at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    No,
    /// Not to be told before more of the text is there.
    More,
    /// A value of so many bytes.
    Hit(usize),
}

/// The text from one place on, and what stands before it.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The two bytes before `at`; a line's end before the beginning of the text.
    before: [u8; 2],
    /// Nothing follows `bytes`.
    last: bool,
}

impl Place<'_> {
    /// The byte so many bytes ahead. `Err` where it has not arrived yet, `Ok(None)` at the end.
    fn byte(&self, ahead: usize) -> Result<Option<u8>, Look> {
        match self.bytes.get(self.at + ahead) {
            Some(byte) => Ok(Some(*byte)),
            None if self.last => Ok(None),
            None => Err(Look::More),
        }
    }

    /// A point, comma, colon or hyphen after a digit stands before: the middle of a number.
    fn is_within_number(&self) -> bool {
        matches!(self.before, [b'0'..=b'9', b'.' | b',' | b':' | b'-'])
    }
}

/// Masks one text.
#[derive(Debug)]
pub struct Masker {
    pending: String,
    before: [u8; 2],
    /// The rest of a key that was longer than `KEY_BYTES_MAX` is dropped.
    dropping: bool,
}

impl Default for Masker {
    fn default() -> Self {
        Self {
            pending: String::new(),
            before: *b"\n\n",
            dropping: false,
        }
    }
}

impl Masker {
    /// Reads on, and appends what is certain to `out`.
    pub fn push(
        &mut self,
        policy: &Policy,
        text: &str,
        placeholders: &mut Placeholders,
        out: &mut String,
    ) {
        if self.pending.is_empty() {
            let used = self.scan(policy, text, false, placeholders, out);
            self.pending.push_str(&text[used..]);
        } else {
            self.pending.push_str(text);
            let pending = std::mem::take(&mut self.pending);
            let used = self.scan(policy, &pending, false, placeholders, out);
            self.pending = pending;
            self.pending.drain(..used);
        }
    }

    /// The text is over: appends the rest.
    pub fn finish(&mut self, policy: &Policy, placeholders: &mut Placeholders, out: &mut String) {
        let pending = std::mem::take(&mut self.pending);
        self.scan(policy, &pending, true, placeholders, out);
    }

    /// Decides place by place; returns how many bytes are decided.
    fn scan(
        &mut self,
        policy: &Policy,
        text: &str,
        last: bool,
        placeholders: &mut Placeholders,
        out: &mut String,
    ) -> usize {
        let bytes = text.as_bytes();
        let (mut at, mut copied) = (0, 0);
        let mut seen = email::Seen::default();
        while at < bytes.len() {
            if self.dropping {
                let rest = bytes[at..]
                    .iter()
                    .take_while(|byte| api_key::is_key(**byte))
                    .count();
                at += rest;
                copied = at;
                self.dropping = at == bytes.len();
                continue;
            }
            let place = Place {
                bytes,
                at,
                before: self.before,
                last,
            };
            let next = match look(policy, &place, &mut seen) {
                (_, Look::More) => break,
                (_, Look::No) => at + text::step(bytes, at),
                (kind, Look::Hit(length)) => {
                    out.push_str(&text[copied..at]);
                    // Only a limit can cut a character.
                    copied = text.ceil_char_boundary(at + length);
                    placeholders.put(kind, &text[at..copied], out);
                    self.dropping = length >= KEY_BYTES_MAX;
                    copied
                }
            };
            self.before = text::before(self.before, &bytes[at..next]);
            at = next;
        }
        out.push_str(&text[copied..at]);
        at
    }
}

/// The first kind that is found at this place, or that may be.
fn look(policy: &Policy, place: &Place<'_>, seen: &mut email::Seen) -> (Kind, Look) {
    let byte = place.bytes[place.at];
    let kinds: &[Kind] = match byte {
        _ if text::is_word(place.before[1]) => &[],
        b'0'..=b'9' => &[Kind::ApiKey, Kind::Email, Kind::Card, Kind::Phone],
        b'+' | b'(' => &[Kind::Phone],
        // Leads of digits that are not ASCII's.
        0xd9 | 0xdb | 0xef => &[Kind::Card],
        b'-' => &[Kind::ApiKey],
        _ if text::is_word(byte) => &[Kind::ApiKey, Kind::Email, Kind::Iban],
        _ => &[],
    };
    for kind in kinds.iter().copied().filter(|kind| policy.masks(*kind)) {
        let found = match kind {
            Kind::ApiKey => api_key::look(place),
            Kind::Email => email::look(place, seen),
            Kind::Card => card::look(place),
            Kind::Phone => phone::look(place),
            Kind::Iban => iban::look(place),
        };
        let found = found.unwrap_or_else(|undecided| undecided);
        if found != Look::No {
            return (kind, found);
        }
    }
    (Kind::Email, Look::No)
}
