//! The tokens that log probabilities name: those of the answer, and those that were likely in
//! their place. Each rank of them is a text of its own, through a guard of its own.
//!
//! It does NOT know the answer's text; `choice.rs` lets nothing leave before that did.

use std::collections::VecDeque;

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::bindings::skerry::chat::safety::Released;
use crate::memory::{Full, Share};
use crate::output::LOGPROB_BYTES;
use crate::platform::{Guard, Platform};

/// As many alternatives as a request may ask for, twice with the token itself: as its text, and as
/// its bytes where they say another.
const RANKS_MAX: usize = 2 * (20 + 1);
/// Of these the token itself, which is a part of the answer: as its text and as its bytes.
const OWN_RANKS: usize = 2;

/// An entry of more bytes is no token with its alternatives, and nothing of it is looked at.
const ENTRY_BYTES_MAX: usize = 64 << 10;

/// The tokens of one rank, joined.
struct Rank<G> {
    guard: G,
    /// Not released yet.
    held: String,
    read_bytes: usize,
    released_bytes: usize,
}

struct Entry {
    raw: Box<RawValue>,
    /// How much of the answer's text must have been released.
    text_end: usize,
    /// How much of each rank must have been released.
    ends: Vec<usize>,
}

impl Entry {
    fn bytes(&self) -> usize {
        LOGPROB_BYTES + self.raw.get().len() + self.ends.len() * size_of::<usize>()
    }
}

pub(super) struct Logprobs<G> {
    ranks: Vec<Rank<G>>,
    waiting: VecDeque<Entry>,
    /// Of those that wait.
    bytes: usize,
    share: Share,
    /// A rank of alternatives spells what must not be shown: of the rest none leaves.
    is_masked: bool,
    /// The tokens themselves do, be it in reasoning or in a call: no more entry leaves.
    own_is_masked: bool,
}

impl<G> Default for Logprobs<G> {
    fn default() -> Self {
        Self {
            ranks: Vec::new(),
            waiting: VecDeque::new(),
            bytes: 0,
            share: Share::default(),
            is_masked: false,
            own_is_masked: false,
        }
    }
}

impl<G: Guard> Logprobs<G> {
    /// An entry whose token ends within so many bytes of the answer's text. An error where there
    /// is no room for more that wait.
    pub(super) async fn take(
        &mut self,
        platform: &impl Platform<Guard = G>,
        entry: Box<RawValue>,
        text_end: usize,
    ) -> Result<(), Full> {
        let is_long = entry.get().len() > ENTRY_BYTES_MAX;
        let texts = if is_long { Vec::new() } else { texts(&entry) };
        self.is_masked |= is_long || texts.len() > RANKS_MAX;
        for (index, text) in texts.iter().take(RANKS_MAX).enumerate() {
            if self.ranks.len() <= index {
                self.ranks.push(Rank {
                    guard: platform.guard().await,
                    held: String::new(),
                    read_bytes: 0,
                    released_bytes: 0,
                });
            }
            let rank = &mut self.ranks[index];
            rank.held.push_str(text);
            rank.read_bytes += text.len();
            let released = rank.guard.push(text);
            let is_clear = rank.release(&released);
            self.note(index, is_clear);
        }
        let entry = Entry {
            raw: entry,
            text_end,
            ends: self.ranks.iter().map(|rank| rank.read_bytes).collect(),
        };
        self.bytes += entry.bytes();
        self.waiting.push_back(entry);
        self.share.grow_to(self.bytes, 1)
    }

    /// Bytes that entries take which wait for their text.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes
    }

    /// The answer is complete.
    pub(super) fn finish(&mut self) {
        for index in 0..self.ranks.len() {
            let rank = &mut self.ranks[index];
            let released = rank.guard.finish();
            let is_clear = rank.release(&released);
            self.note(index, is_clear);
        }
    }

    fn note(&mut self, rank: usize, is_clear: bool) {
        self.is_masked |= !is_clear;
        self.own_is_masked |= !is_clear && rank < OWN_RANKS;
    }

    /// The entries that may leave, in their order, where so many bytes of the answer's text did.
    pub(super) fn ready(&mut self, text_released: usize) -> Vec<Box<RawValue>> {
        let mut ready = Vec::new();
        if self.own_is_masked {
            self.waiting.clear();
            self.bytes = 0;
        }
        while let Some(entry) = self.waiting.pop_front() {
            let bytes = entry.bytes();
            let ends = entry.ends.iter().zip(&self.ranks);
            let clear = ends.take_while(|(end, rank)| **end <= rank.released_bytes);
            let clear = clear.count();
            let is_clear = clear == entry.ends.len();
            if entry.text_end > text_released || (!is_clear && clear < OWN_RANKS) {
                self.waiting.push_front(entry);
                break;
            }
            if self.is_masked {
                ready.extend(alone(&entry.raw));
            } else if is_clear {
                ready.push(entry.raw);
            } else {
                self.waiting.push_front(entry);
                break;
            }
            self.bytes -= bytes;
        }
        ready
    }
}

impl<G> Rank<G> {
    /// False where something else was released than was read.
    fn release(&mut self, released: &Released) -> bool {
        let Some(rest) = self.held.strip_prefix(&released.text) else {
            return false;
        };
        self.held = rest.to_owned();
        self.released_bytes += released.text.len();
        released.refusal.is_none()
    }
}

/// The texts of an entry by rank: the token, and each alternative.
fn texts(entry: &RawValue) -> Vec<String> {
    let entry: Value = serde_json::from_str(entry.get()).unwrap_or_default();
    let mut texts = Vec::new();
    let alternatives = entry["top_logprobs"].as_array();
    for token in std::iter::once(&entry).chain(alternatives.into_iter().flatten()) {
        let text = token["token"].as_str().unwrap_or_default();
        let bytes: Option<Vec<u8>> = token["bytes"].as_array().map(|bytes| {
            let byte = |byte: &Value| u8::try_from(byte.as_u64()?).ok();
            bytes.iter().filter_map(byte).collect()
        });
        let spelled = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        texts.push(text.to_owned());
        texts.push(spelled.unwrap_or_else(|| text.to_owned()));
    }
    texts
}

/// The entry without its alternatives; none of one that is no token.
fn alone(entry: &RawValue) -> Option<Box<RawValue>> {
    if entry.get().len() > ENTRY_BYTES_MAX {
        return None;
    }
    let mut entry: Value = serde_json::from_str(entry.get()).ok()?;
    if let Some(alternatives) = entry.get_mut("top_logprobs") {
        *alternatives = Value::Array(Vec::new());
    }
    to_raw_value(&entry).ok()
}
