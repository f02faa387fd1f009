//! The guard of an answer that is JSON: the texts in it (values, names and numbers) are guarded,
//! decoded, one by one, and its structure passes as it is, so that what is masked stays valid. A
//! number that is masked becomes a string.
//!
//! It does NOT judge any text; `safety`'s guard does. From the first byte that is not JSON
//! on, everything is text.

mod scan;

use std::collections::VecDeque;

use crate::bindings::skerry::chat::safety::{Refusal, Released};
use crate::platform::Guard;
use scan::{Scanner, Step};

/// White space behind a number, in bytes: after so much it is one, whatever follows, for no value
/// has such a gap in it.
const SPACE_BYTES_MAX: usize = 1 << 10;

/// A guard over one JSON document, as it grows.
#[derive(Debug)]
pub(crate) struct JsonGuard<G> {
    guard: G,
    mode: Mode,
    /// Text of the value that is being read, not given to the guard yet.
    unread: String,
    /// A number and the white space behind it: whether it is one, what follows tells.
    number: String,
    spelled: Spelled,
}

#[derive(Debug)]
enum Mode {
    /// White space only so far.
    Start,
    Json(Scanner),
    Text,
}

impl<G: Guard> JsonGuard<G> {
    pub(crate) fn new(guard: G) -> Self {
        Self {
            guard,
            mode: Mode::Start,
            unread: String::new(),
            number: String::new(),
            spelled: Spelled::default(),
        }
    }

    /// Takes in the next piece of the document; returns what may leave.
    pub(crate) fn push(&mut self, delta: &str) -> Released {
        let mut out = Out::default();
        let mut rest = delta;
        while let Some(char) = rest.chars().next()
            && out.refusal.is_none()
        {
            if matches!(self.mode, Mode::Text) {
                let released = self.guard.push(rest);
                self.emit_text(released, &mut out);
                return out.into();
            }
            if matches!(self.mode, Mode::Start) {
                self.start(char, &mut out);
                if matches!(self.mode, Mode::Text) {
                    continue;
                }
                if matches!(self.mode, Mode::Start) {
                    rest = &rest[char.len_utf8()..];
                    continue;
                }
            }
            if !self.step(char, &mut out) {
                // What is left is no JSON.
                self.mode = Mode::Text;
                continue;
            }
            rest = &rest[char.len_utf8()..];
        }
        if out.refusal.is_none() {
            self.read(&mut out);
        }
        out.into()
    }

    /// The document is complete, or was cut: releases the rest.
    pub(crate) fn finish(&mut self) -> Released {
        let mut out = Out::default();
        if let Mode::Json(scanner) = &mut self.mode {
            let unfinished = scanner.unfinished();
            self.raw(&unfinished);
        }
        self.number_is_text();
        self.read(&mut out);
        let released = self.guard.finish();
        if matches!(self.mode, Mode::Json(_)) {
            self.emit(released, &mut out);
        } else {
            self.emit_text(released, &mut out);
        }
        out.into()
    }

    /// A document begins with a bracket: a lone number or string is a text.
    fn start(&mut self, char: char, out: &mut Out) {
        match char {
            '{' | '[' => self.mode = Mode::Json(Scanner::default()),
            ' ' | '\t' | '\r' | '\n' => out.text.push(char),
            _ => self.mode = Mode::Text,
        }
    }

    /// One character of the document; false where it does not belong there.
    fn step(&mut self, char: char, out: &mut Out) -> bool {
        let Mode::Json(scanner) = &mut self.mode else {
            return false;
        };
        let step = scanner.step(char);
        let is_space = matches!(char, ' ' | '\t' | '\r' | '\n');
        match step {
            Step::Number => self.number.push(char),
            Step::Structure if is_space && !self.number.is_empty() => {
                self.number.push(char);
                if self.number.len() > SPACE_BYTES_MAX {
                    self.settle_number(out);
                }
            }
            Step::Structure => {
                self.settle_number(out);
                if out.refusal.is_none() {
                    out.text.push(char);
                }
            }
            Step::Partial => {}
            Step::Text(decoded, spelling) => {
                self.unread.push(decoded);
                self.spelled.push(decoded, spelling);
            }
            Step::TextEnd => {
                self.read(out);
                if out.refusal.is_none() {
                    let released = self.guard.boundary();
                    self.emit(released, out);
                }
                self.spelled = Spelled::default();
                if out.refusal.is_none() {
                    out.text.push(char);
                }
            }
            Step::Violation(unfinished) => {
                self.number_is_text();
                self.raw(&unfinished);
                self.read(out);
                return false;
            }
        }
        true
    }

    /// A number is complete: as it is, or what is put in its place as a string.
    fn settle_number(&mut self, out: &mut Out) {
        if self.number.is_empty() {
            return;
        }
        let held = std::mem::take(&mut self.number);
        let (number, space) = held.split_at(held.trim_end().len());
        let mut text = String::new();
        for released in [self.guard.push(number), self.guard.boundary()] {
            text.push_str(&released.text);
            out.refusal = out.refusal.take().or(released.refusal);
        }
        if text == number {
            out.text.push_str(&held);
        } else if out.refusal.is_none() {
            out.text.push_str(&format!("\"{}\"{space}", escaped(&text)));
        }
    }

    /// What follows the number is no JSON: they are one text.
    fn number_is_text(&mut self) {
        let number = std::mem::take(&mut self.number);
        self.raw(&number);
    }

    /// Gives the guard what was read of a value.
    fn read(&mut self, out: &mut Out) {
        if self.unread.is_empty() {
            return;
        }
        let released = self.guard.push(&std::mem::take(&mut self.unread));
        self.emit(released, out);
    }

    /// What was begun and not completed is text as it is spelled.
    fn raw(&mut self, unfinished: &str) {
        for char in unfinished.chars() {
            self.unread.push(char);
            self.spelled.push(char, Some(char.to_string()));
        }
    }

    fn emit(&mut self, released: Released, out: &mut Out) {
        let text = self.spelled.release(&released.text);
        out.text.push_str(&text);
        out.refusal = out.refusal.take().or(released.refusal);
    }

    /// Writes released text: first the rest of the value in which the document ended.
    fn emit_text(&mut self, released: Released, out: &mut Out) {
        let text = released.text.as_str();
        let of_value = if text.starts_with(&self.spelled.text) {
            self.spelled.text.len()
        } else if self.spelled.text.starts_with(text) {
            text.len()
        } else {
            self.spelled = Spelled::default();
            0
        };
        let (of_value, rest) = text.split_at(of_value);
        if !of_value.is_empty() {
            out.text.push_str(&self.spelled.release(of_value));
        }
        out.text.push_str(rest);
        out.refusal = out.refusal.take().or(released.refusal);
    }
}

#[derive(Default)]
struct Out {
    text: String,
    refusal: Option<Refusal>,
}

impl From<Out> for Released {
    fn from(out: Out) -> Self {
        Self {
            text: out.text,
            refusal: out.refusal,
        }
    }
}

/// How the model spelled the text that the guard holds: `\u00e9` and `é` are one text.
#[derive(Debug, Default)]
struct Spelled {
    /// Decoded, not released yet.
    text: String,
    /// Spellings that are not the shortest, by their offset in the whole value.
    odd: VecDeque<(usize, char, String)>,
    /// The offset of `text` in the whole value.
    from: usize,
    /// Something was masked: what follows is spelled anew.
    is_masked: bool,
}

impl Spelled {
    fn push(&mut self, decoded: char, spelling: Option<String>) {
        if let Some(spelling) = spelling {
            let at = self.from + self.text.len();
            self.odd.push_back((at, decoded, spelling));
        }
        self.text.push(decoded);
    }

    /// A released text as it stands in the document.
    fn release(&mut self, text: &str) -> String {
        if self.is_masked || !self.text.starts_with(text) {
            self.is_masked = true;
            self.odd.clear();
            return escaped(text);
        }
        let mut written = String::with_capacity(text.len());
        let end = self.from + text.len();
        let mut plain_from = self.from;
        while let Some((at, decoded, spelling)) = self.odd.pop_front_if(|(at, _, _)| *at < end) {
            written.push_str(&escaped(&text[plain_from - self.from..at - self.from]));
            written.push_str(&spelling);
            plain_from = at + decoded.len_utf8();
        }
        written.push_str(&escaped(&text[plain_from - self.from..]));
        self.text.drain(..text.len());
        self.from = end;
        written
    }
}

/// A text between a JSON string's quotes.
fn escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let inside = quoted
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inside.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
