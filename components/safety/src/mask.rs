//! Secrets and personal data, replaced by placeholders such as `[EMAIL_1]`.
//!
//! `screen` gives it whole texts, `guard` the chunks of an answer; both get the same result,
//! because every decision is taken at one place of the text, from what stands there, and only once
//! enough of it has arrived. Until then the text from that place on is held back: a word, a number
//! with its spaces, or a secret that is still growing.
//!
//! What is matched is the text's view (`view`), and what is replaced are the whole characters for
//! which it stands. The scanners of each kind are in the files below; they look at bytes of the
//! view, cost a bounded time for each place, and are compiled from nothing, so that an instance
//! starts in microseconds. None of them knows a chunk.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

use crate::policy::{Finding, Policy};
use crate::view::{Text, View, fold};

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
/// Bytes of a text that are read at a time: a view may be many times as large as its text.
const PIECE_BYTES: usize = 64 << 10;

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

    /// One value is written in several ways: `raw`, of which `view` is what is read.
    fn normal(self, raw: &str, view: &[u8]) -> String {
        let of_view = |keep: fn(&u8) -> bool| {
            let kept = view.iter().filter(|byte| keep(byte));
            kept.map(|byte| char::from(byte.to_ascii_uppercase()))
                .collect()
        };
        match self {
            Self::Email if !view.is_ascii() || !raw.is_ascii() => {
                raw.nfkc().flat_map(char::to_lowercase).collect()
            }
            Self::Email => of_view(|byte| !byte.is_ascii_whitespace()),
            Self::Phone => of_view(|byte| byte.is_ascii_digit() || *byte == b'+'),
            Self::Card => of_view(u8::is_ascii_digit),
            Self::Iban => of_view(u8::is_ascii_alphanumeric),
            Self::ApiKey => String::from_utf8_lossy(view).into_owned(),
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
    fn put(&mut self, kind: Kind, value: String, out: &mut String) {
        let (distinct, found) = (
            &mut self.distinct[kind as usize],
            &mut self.found[kind as usize],
        );
        *found = found.saturating_add(1);
        let number = *self.numbers.entry((kind, value)).or_insert_with(|| {
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

/// The view of a text from one place on, and what stands before it.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The two bytes before `at`; a line's end before the beginning of the text.
    before: [u8; 2],
    /// Nothing follows `bytes`.
    last: bool,
    /// Offsets before which something was left out.
    breaks: &'a [usize],
    /// A secret was spoken of, not long ago.
    is_near_secret: bool,
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

    /// No word goes on there.
    fn ends_word(&self, ahead: usize) -> Result<bool, Look> {
        let goes_on = self.byte(ahead)?.is_some_and(text::is_word);
        Ok(!goes_on || self.breaks.binary_search(&(self.at + ahead)).is_ok())
    }

    /// The bytes between two characters of one value: spaces and marks, at most `max` of them,
    /// all of which `is` takes.
    fn gap(&self, ahead: usize, max: usize, is: impl Fn(u8) -> bool) -> Result<usize, Look> {
        let mut length = 0;
        while length < max && self.byte(ahead + length)?.is_some_and(&is) {
            length += 1;
        }
        Ok(length)
    }

    /// A point, comma, colon or hyphen after a digit stands before: the middle of a number.
    fn is_within_number(&self) -> bool {
        matches!(self.before, [b'0'..=b'9', b'.' | b',' | b':' | b'-'])
    }
}

/// Masks one text.
#[derive(Debug)]
pub struct Masker {
    view: View,
    before: [u8; 2],
    /// The rest of a key that was longer than `KEY_BYTES_MAX` is dropped.
    dropping: bool,
    secret: api_key::Spoken,
}

impl Default for Masker {
    fn default() -> Self {
        Self {
            view: View::default(),
            before: *b"\n\n",
            dropping: false,
            secret: api_key::Spoken::default(),
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
        if self.view.is_empty()
            && let Some(plain) = Text::plain(text)
        {
            let used = self.scan(policy, &plain, false, placeholders, out);
            self.view.push(&text[used..], false);
            return;
        }
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            self.read_on(policy, piece, false, placeholders, out);
            rest = after;
        }
    }

    /// The text is over: appends the rest.
    pub fn finish(&mut self, policy: &Policy, placeholders: &mut Placeholders, out: &mut String) {
        self.read_on(policy, "", true, placeholders, out);
    }

    fn read_on(
        &mut self,
        policy: &Policy,
        text: &str,
        last: bool,
        placeholders: &mut Placeholders,
        out: &mut String,
    ) {
        let mut view = std::mem::take(&mut self.view);
        view.push(text, last);
        let used = self.scan(policy, &view.text(), last, placeholders, out);
        view.drain(used);
        self.view = view;
    }

    /// Decides place by place; returns how many bytes of the view are decided.
    fn scan(
        &mut self,
        policy: &Policy,
        text: &Text<'_>,
        last: bool,
        placeholders: &mut Placeholders,
        out: &mut String,
    ) -> usize {
        let bytes = text.bytes;
        let (mut at, mut copied) = (0, 0);
        let mut seen = email::Seen::default();
        while at < bytes.len() {
            if self.dropping {
                let rest = &bytes[at..];
                at += rest
                    .iter()
                    .take_while(|byte| api_key::is_key(**byte))
                    .count();
                copied = text.until(at);
                self.dropping = at == bytes.len();
                continue;
            }
            if !text.breaks.is_empty() && text.breaks.binary_search(&at).is_ok() {
                self.before[1] = text::BREAK;
            }
            let place = Place {
                bytes,
                at,
                before: self.before,
                last,
                breaks: text.breaks,
                is_near_secret: self.secret.is_near(),
            };
            let next = match look(policy, &place, &mut seen) {
                (_, Look::More) => break,
                (_, Look::No) => at + text::step(&place),
                // A mark may follow that belongs to the last character.
                (_, Look::Hit(length)) if at + length >= bytes.len() && !last => break,
                (kind, Look::Hit(length)) => {
                    let next = at + length;
                    let (from, to) = (text.start(at).max(copied), text.end(next));
                    out.push_str(&text.raw[copied..from]);
                    copied = to.max(from);
                    let value = kind.normal(&text.raw[from..copied], &bytes[at..next]);
                    placeholders.put(kind, value, out);
                    self.dropping = length >= KEY_BYTES_MAX;
                    next
                }
            };
            let is_cut = policy.masks(Kind::Email) && text::is_cut(&place, next);
            self.pass(policy, &bytes[at..next], is_cut);
            at = next;
        }
        out.push_str(&text.raw[copied..text.until(at).max(copied)]);
        at
    }

    /// Remembers what stands before the next place.
    fn pass(&mut self, policy: &Policy, passed: &[u8], is_cut: bool) {
        if policy.masks(Kind::ApiKey) {
            self.secret.read(passed);
        }
        let before = text::before(self.before[1], passed);
        self.before = match passed {
            [.., first, _] => [*first, before],
            _ => [self.before[1], before],
        };
        if is_cut {
            self.before[1] = text::BREAK;
        }
    }
}

/// The first kind that is found at this place, or that may be.
fn look(policy: &Policy, place: &Place<'_>, seen: &mut email::Seen) -> (Kind, Look) {
    let byte = place.bytes[place.at];
    let kinds: &[Kind] = match byte {
        // A card's number right behind letters.
        b'0'..=b'9' if text::is_letter(place.before[1]) => &[Kind::Card],
        _ if text::is_word(place.before[1]) => &[],
        b'0'..=b'9' => &[Kind::ApiKey, Kind::Email, Kind::Card, Kind::Phone],
        b'+' | b'(' => &[Kind::Phone, Kind::ApiKey],
        b'-' | b'/' => &[Kind::ApiKey],
        fold::WIDE if place.before[1] != fold::WIDE => &[Kind::Email],
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
