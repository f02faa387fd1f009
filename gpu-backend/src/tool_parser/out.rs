//! What the machines write: pieces, neighbouring ones joined; and the search for a
//! marker in text.
//! Knows nothing of how calls are written.

use std::sync::Arc;

use super::{Piece, ToolFormat};

/// Collects pieces. Blanks next to a call are dropped.
#[derive(Debug)]
pub(super) struct Out {
    format: ToolFormat,
    /// Functions that may be called; absent: any.
    names: Option<Arc<[String]>>,
    pieces: Vec<Piece>,
    /// Blanks at the end of the text so far: text if more text follows, else layout.
    blanks: String,
    /// Nothing but blanks since the last call.
    after_call: bool,
}

impl Out {
    pub(super) fn new(format: ToolFormat, names: Option<Arc<[String]>>) -> Self {
        Self {
            format,
            names,
            pieces: Vec::new(),
            blanks: String::new(),
            after_call: false,
        }
    }

    pub(super) fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }

    pub(super) fn text(&mut self, text: &str) {
        let text = if self.after_call {
            text.trim_start()
        } else {
            text
        };
        if text.is_empty() {
            return;
        }
        self.after_call = false;
        self.blanks.push_str(text);
        let end = self.blanks.trim_end().len();
        let blanks = self.blanks.split_off(end);
        let text = std::mem::replace(&mut self.blanks, blanks);
        self.give(text);
    }

    /// Returns true where a function of this name may be called.
    pub(super) fn knows(&self, name: &str) -> bool {
        let names = self.names.as_ref();
        names.is_none_or(|names| names.iter().any(|known| known == name))
    }

    /// A call begins.
    pub(super) fn open(&mut self, name: &str) {
        self.blanks.clear();
        self.after_call = true;
        self.pieces.push(Piece::Call {
            id: self.format.call_id(),
            name: name.to_owned(),
        });
    }

    /// More of the open call's arguments.
    pub(super) fn arguments(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Arguments(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Arguments(text.to_owned())),
        }
    }

    pub(super) fn end(&mut self) {
        let blanks = std::mem::take(&mut self.blanks);
        self.give(blanks);
    }

    fn give(&mut self, text: String) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(last)) => last.push_str(&text),
            _ => self.pieces.push(Piece::Text(text)),
        }
    }
}

/// Looks for markers in text that comes character by character.
#[derive(Debug, Default)]
pub(super) struct Finder {
    /// An end of the text with which a marker begins.
    held: String,
}

impl Finder {
    /// Adds a character; gives out what is certain to be text. Returns which marker is
    /// complete now.
    pub(super) fn step(&mut self, c: char, markers: &[&str], out: &mut Out) -> Option<usize> {
        self.held.push(c);
        loop {
            if let Some(found) = markers.iter().position(|m| *m == self.held) {
                self.held.clear();
                return Some(found);
            }
            if markers.iter().any(|m| m.starts_with(self.held.as_str())) {
                return None;
            }
            let first = self.held.remove(0);
            out.text(first.encode_utf8(&mut [0; 4]));
        }
    }

    /// A marker may have begun.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn end(&mut self, out: &mut Out) {
        out.text(&std::mem::take(&mut self.held));
    }
}
