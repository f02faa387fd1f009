//! The text as it is read, beside the text as it is written: what is not seen is left out, what
//! looks alike is one, what is escaped is decoded, and each byte of this view knows the characters
//! for which it stands. `mask` matches on the view and replaces in the text.
//!
//! It knows no kind of secret. A plain text is its own view, and costs no copy.

/// Escapes, entities, markup.
pub mod decode;
/// Characters that look alike.
pub mod fold;
mod lookalikes;

use decode::Spelled;

/// Characters that are not seen, in a row, in bytes: after so many the word before them is over,
/// so that a text of nothing else is not held back for ever.
pub const UNSEEN_BYTES_MAX: usize = 512;

/// Bytes of the view that stand for other characters than themselves, or for more or fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edit {
    from: usize,
    to: usize,
    raw_from: usize,
    raw_to: usize,
}

/// A text that grows, and its view.
#[derive(Debug, Default)]
pub struct View {
    raw: String,
    bytes: Vec<u8>,
    edits: Vec<Edit>,
    /// Offsets in the view before which something was left out: there a word may end or begin.
    breaks: Vec<usize>,
    /// The text is read until here: the beginning of an escape, or its end.
    read: usize,
    /// Bytes that were left out since the last that was not.
    unseen: usize,
}

/// A view to be read.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub raw: &'a str,
    pub bytes: &'a [u8],
    edits: &'a [Edit],
    pub breaks: &'a [usize],
    read: usize,
}

/// The bytes at the beginning that are their own view.
fn plain_bytes(text: &str) -> usize {
    let is_plain = |byte: &u8| match byte {
        b' '..=b'}' => !decode::may_begin(*byte),
        b'\t' | b'\n' | b'\r' => true,
        _ => false,
    };
    let bytes = text.as_bytes();
    bytes
        .iter()
        .position(|byte| !is_plain(byte))
        .unwrap_or(bytes.len())
}

impl View {
    /// Nothing is held, and nothing that was left out matters to what comes.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty() && self.breaks.is_empty() && self.unseen == 0
    }

    /// Reads on. Where the text is at its `last`, an escape that was begun is no escape.
    pub fn push(&mut self, text: &str, last: bool) {
        self.raw.push_str(text);
        while self.read < self.raw.len() {
            let plain = plain_bytes(&self.raw[self.read..]);
            if plain > 0 {
                let run = &self.raw.as_bytes()[self.read..self.read + plain];
                self.bytes.extend_from_slice(run);
                self.read += plain;
                self.unseen = 0;
                continue;
            }
            match decode::next(&self.raw, self.read, last) {
                Spelled::More => break,
                Spelled::Char(char, length) => self.char(char, length),
                Spelled::Markup(length) => self.leave_out(length),
            }
        }
    }

    fn char(&mut self, char: char, length: usize) {
        let (raw_from, from) = (self.read, self.bytes.len());
        if fold::extends(char) {
            return self.extend(length);
        }
        if fold::is_unseen(char) {
            return self.leave_out(length);
        }
        let bytes = &mut self.bytes;
        fold::bytes(char, |byte| bytes.push(byte));
        self.read += length;
        self.unseen = 0;
        self.edit(from, raw_from);
    }

    fn edit(&mut self, from: usize, raw_from: usize) {
        self.edits.push(Edit {
            from,
            to: self.bytes.len(),
            raw_from,
            raw_to: self.read,
        });
    }

    fn leave_out(&mut self, length: usize) {
        let (raw_from, from) = (self.read, self.bytes.len());
        self.read += length;
        self.unseen += length;
        if self.unseen > UNSEEN_BYTES_MAX {
            self.bytes.push(fold::OTHER);
            self.unseen = 0;
        }
        self.edit(from, raw_from);
        if self.breaks.last() != Some(&self.bytes.len()) {
            self.breaks.push(self.bytes.len());
        }
    }

    /// A mark belongs to the character before it, and is not matched.
    fn extend(&mut self, length: usize) {
        let raw_from = self.read;
        let end = self.bytes.len();
        if self.unseen + length > UNSEEN_BYTES_MAX {
            return self.leave_out(length);
        }
        self.unseen += length;
        self.read += length;
        if end == 0 {
            // The character before it has left.
            return self.edit(0, raw_from);
        }
        match self.edits.last_mut() {
            Some(edit) if edit.raw_to == raw_from => edit.raw_to = self.read,
            _ => self.edits.push(Edit {
                from: end - 1,
                to: end,
                raw_from: raw_from - 1,
                raw_to: self.read,
            }),
        }
    }

    pub fn text(&self) -> Text<'_> {
        Text {
            raw: &self.raw,
            bytes: &self.bytes,
            edits: &self.edits,
            breaks: &self.breaks,
            read: self.read,
        }
    }

    /// Bytes of its buffers, used or not.
    #[cfg(test)]
    pub fn capacity_bytes(&self) -> usize {
        let edits = self.edits.capacity() * size_of::<Edit>();
        let breaks = self.breaks.capacity() * size_of::<usize>();
        self.raw.capacity() + self.bytes.capacity() + edits + breaks
    }

    /// Forgets the view before `at`, and the text for which it stands.
    pub fn drain(&mut self, at: usize) {
        let raw = self.text().until(at);
        self.raw.drain(..raw);
        self.bytes.drain(..at);
        self.read -= raw;
        self.edits.retain(|edit| edit.raw_to > raw);
        for edit in &mut self.edits {
            // A character of several bytes, of which the first are decided.
            edit.from = edit.from.saturating_sub(at);
            edit.to -= at;
            edit.raw_from -= raw;
            edit.raw_to -= raw;
        }
        self.breaks.retain(|place| *place >= at);
        for place in &mut self.breaks {
            *place -= at;
        }
    }
}

impl<'a> Text<'a> {
    /// The view of a text that is its own; none of another.
    pub fn plain(raw: &'a str) -> Option<Self> {
        (plain_bytes(raw) == raw.len()).then_some(Self {
            raw,
            bytes: raw.as_bytes(),
            edits: &[],
            breaks: &[],
            read: raw.len(),
        })
    }

    /// The offset in the text of the character for which the byte at `at` stands.
    pub fn start(&self, at: usize) -> usize {
        let next = self.edits.partition_point(|edit| edit.to <= at);
        match self.edits.get(next) {
            Some(edit) if edit.from <= at => edit.raw_from,
            _ => self.after(next, at),
        }
    }

    /// The offset in the text after the character, with its marks, for which the byte before `at`
    /// stands.
    pub fn end(&self, at: usize) -> usize {
        let Some(last) = at.checked_sub(1) else {
            return 0;
        };
        let next = self.edits.partition_point(|edit| edit.to <= last);
        match self.edits.get(next) {
            Some(edit) if edit.from <= last => edit.raw_to,
            _ => self.after(next, last) + 1,
        }
    }

    /// The offset in the text until which all stands before `at`: what is left out goes with it.
    pub fn until(&self, at: usize) -> usize {
        if at == self.bytes.len() {
            self.read
        } else {
            self.start(at)
        }
    }

    fn after(&self, next: usize, at: usize) -> usize {
        match next.checked_sub(1) {
            Some(before) => self.edits[before].raw_to + (at - self.edits[before].to),
            None => at,
        }
    }
}
