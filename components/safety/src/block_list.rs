//! Phrases that neither a prompt nor an answer may contain.
//!
//! `screen` and `guard` feed it the raw text, character by character, before anything is masked.
//! It keeps a place in the phrases and never looks back, so it finds a phrase that is split over
//! chunks in any way, and takes the same time for each character.
//!
//! Text and phrases are compared in the same folded form: decoded and without markup (`view`),
//! compatibility-decomposed (UAX #15), in lower case, letters that look alike as one, runs of white
//! space as one space. What is not seen counts for nothing or for a space, and so do marks between
//! words and within them, and strokes and accents that follow a letter; an accent that is part of
//! a letter makes it another. A phrase begins and ends at a word's border, except in scripts that
//! put no spaces between words.
//!
//! It knows nothing of masking, and does not tell which phrase it found.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

use crate::view::decode::{self, Spelled};
use crate::view::fold;

#[cfg(test)]
mod tests;

/// Phrases, at most.
pub const PHRASES_MAX: usize = 1000;
/// Characters of one folded phrase, at most.
pub const PHRASE_CHARS_MAX: usize = 200;
/// A phrase that goes on for longer than this (with white space between its words, for instance)
/// is still found, but its beginning is held back no longer.
pub const HOLD_BYTES_MAX: usize = 1024;

/// The root of the trie.
const ROOT: u32 = 0;

/// A trie of folded phrases.
#[derive(Debug)]
pub struct BlockList {
    nodes: Vec<Node>,
    /// ASCII characters with which a phrase begins.
    starts: [bool; 128],
}

#[derive(Debug, Default)]
struct Node {
    children: Vec<(Folded, u32)>,
    /// A phrase ends here.
    is_end: bool,
}

impl BlockList {
    /// Phrases with commas between them. None if there are too many, or one is too long.
    pub fn parse(text: &str) -> Option<Self> {
        let mut list = Self {
            nodes: vec![Node::default()],
            starts: [false; 128],
        };
        let mut phrases = 0;
        for phrase in text.split(',') {
            let mut chars: Vec<Folded> = Vec::new();
            for char in phrase.trim().chars().filter(|char| !fold::is_unseen(*char)) {
                folded(char, |char| {
                    let is_doubled = char.is_space() && chars.last().is_some_and(Folded::is_space);
                    if !is_doubled {
                        chars.push(char);
                    }
                });
            }
            if chars.len() > PHRASE_CHARS_MAX {
                return None;
            }
            if !chars.is_empty() {
                phrases += 1;
                list.add(&chars);
            }
        }
        (phrases <= PHRASES_MAX).then_some(list)
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    fn add(&mut self, phrase: &[Folded]) {
        for first in phrase
            .first()
            .into_iter()
            .flat_map(|first| [Some(first.char), first.ascii])
        {
            let start = first.and_then(|char| self.starts.get_mut(char as usize));
            *start.unwrap_or(&mut false) = true;
        }
        let mut node = ROOT;
        for char in phrase {
            let children = &self.nodes[node as usize].children;
            let same = children.iter().find(|(with, _)| with.char == char.char);
            node = match same {
                Some((_, child)) => *child,
                None => {
                    let child = self.nodes.len() as u32;
                    self.nodes.push(Node::default());
                    self.nodes[node as usize].children.push((*char, child));
                    child
                }
            };
        }
        self.nodes[node as usize].is_end = true;
    }

    /// The nodes to which a character leads: also those of characters that look alike.
    fn children(&self, node: u32, char: Folded) -> impl Iterator<Item = u32> {
        let children = self.nodes[node as usize].children.iter();
        children
            .filter(move |(with, _)| with.is_like(char))
            .map(|(_, child)| *child)
    }
}

/// A character as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Folded {
    char: char,
    /// What it looks like.
    ascii: Option<char>,
}

impl Folded {
    const SPACE: Self = Self {
        char: ' ',
        ascii: Some(' '),
    };

    fn is_space(&self) -> bool {
        *self == Self::SPACE
    }

    fn is_like(self, other: Self) -> bool {
        self.char == other.char || (self.ascii.is_some() && self.ascii == other.ascii)
    }
}

fn folded(char: char, mut emit: impl FnMut(Folded)) {
    decompose_compatible(char, |part| {
        if part.is_whitespace() || part == '\u{2800}' {
            return emit(Folded::SPACE);
        }
        let ascii = fold::ascii(part).filter(|ascii| !ascii.is_whitespace());
        for char in part.to_lowercase() {
            emit(Folded { char, ascii });
        }
    });
}

/// A place within a phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Walker {
    node: u32,
    /// Letters since the last gap.
    letters: Letters,
    /// The word is spelled letter by letter.
    is_spelled: bool,
    /// After a gap: more of it counts for nothing.
    after: After,
    /// The raw text from here on is held back for this phrase's sake.
    hold_from: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Letters {
    None,
    One,
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum After {
    Letter,
    Gap,
    /// A full stop or the like: with a space behind it, a sentence is over.
    Stop,
}

impl Walker {
    /// One character further in its phrase.
    fn stepped(self, node: u32, char: Folded) -> Option<Self> {
        let is_gap = char.is_space();
        let letters = match (is_gap, self.letters) {
            (true, _) => Letters::None,
            (false, Letters::None) => Letters::One,
            (false, _) => Letters::More,
        };
        let stepped = Self {
            node,
            letters,
            is_spelled: self.is_spelled && !is_gap,
            after: if is_gap { After::Gap } else { After::Letter },
            ..self
        };
        (!stepped.is_spelled || letters != Letters::More).then_some(stepped)
    }
}

/// Where the raw text was cut, because a phrase begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub cut_at: usize,
}

/// Watches one text. Offsets are bytes of the raw text since the beginning.
#[derive(Debug, Default)]
pub struct Detector {
    walkers: Vec<Walker>,
    last: Option<char>,
    offset: usize,
    /// The beginning of an escape, which is not read yet.
    tail: String,
}

impl Detector {
    /// Reads on. After a `Found` the detector is spent.
    pub fn push(&mut self, list: &BlockList, text: &str) -> Option<Found> {
        if list.is_empty() {
            self.offset += text.len();
            return None;
        }
        if self.tail.is_empty() {
            return self.read(list, text, false);
        }
        let mut tail = std::mem::take(&mut self.tail);
        tail.push_str(text);
        self.read(list, &tail, false)
    }

    /// The text is over: a word's border.
    pub fn finish(&mut self, list: &BlockList) -> Option<Found> {
        let tail = std::mem::take(&mut self.tail);
        let found = self.read(list, &tail, true);
        found.or_else(|| self.ended(list, None))
    }

    /// Another text follows, which a reader takes for the same one's next line.
    pub fn boundary(&mut self, list: &BlockList) -> Option<Found> {
        let tail = std::mem::take(&mut self.tail);
        let found = self.read(list, &tail, true);
        found.or_else(|| self.read(list, "\n", true))
    }

    /// The raw text before this offset is part of no phrase.
    pub fn clear_until(&self) -> usize {
        self.walkers
            .iter()
            .map(|walker| walker.hold_from)
            .min()
            .unwrap_or(self.offset)
    }

    fn read(&mut self, list: &BlockList, text: &str, last: bool) -> Option<Found> {
        let mut at = 0;
        while at < text.len() {
            if self.passes(list, text.as_bytes()[at]) {
                at += 1;
                continue;
            }
            let (found, length) = match decode::next(text, at, last) {
                Spelled::More => break,
                Spelled::Markup(length) => (self.markup(list), length),
                Spelled::Char(char, length) => (self.char(list, char), length),
            };
            at += length;
            self.offset += length;
            if found.is_some() {
                return found;
            }
            for walker in &mut self.walkers {
                if self.offset - walker.hold_from > HOLD_BYTES_MAX {
                    walker.hold_from = self.offset;
                }
            }
        }
        self.tail.push_str(&text[at..]);
        None
    }

    /// The most frequent case: no phrase is unfolding, and none begins.
    fn passes(&mut self, list: &BlockList, byte: u8) -> bool {
        let lower = byte.to_ascii_lowercase();
        let may_begin = list.starts.get(lower as usize).copied().unwrap_or(true);
        if may_begin || !self.walkers.is_empty() || decode::may_begin(byte) {
            return false;
        }
        self.last = Some(char::from(lower));
        self.offset += 1;
        true
    }

    fn char(&mut self, list: &BlockList, char: char) -> Option<Found> {
        if fold::is_unseen(char) {
            self.may_be_space(list);
            return None;
        }
        if is_combining_mark(char) {
            // An accent of its own may be meant, or be laid over a letter.
            let mut over = self.walkers.clone();
            let mut found = None;
            let last = self.last;
            folded(char, |char| found = found.or_else(|| self.step(list, char)));
            self.last = last;
            self.walkers.append(&mut over);
            self.unite();
            return found;
        }
        let mut found = None;
        folded(char, |char| found = found.or_else(|| self.step(list, char)));
        found
    }

    /// Emphasis: a word may end, begin, or go on.
    fn markup(&mut self, list: &BlockList) -> Option<Found> {
        let found = self.ended(list, None);
        self.may_be_space(list);
        self.last = Some('*');
        found
    }

    fn may_be_space(&mut self, list: &BlockList) {
        for index in 0..self.walkers.len() {
            let walker = self.walkers[index];
            let stepped = list.children(walker.node, Folded::SPACE);
            let stepped = stepped.filter_map(|node| walker.stepped(node, Folded::SPACE));
            self.walkers.extend(stepped);
        }
        self.unite();
    }

    /// The same place is walked to once.
    fn unite(&mut self) {
        self.walkers.sort_unstable();
        self.walkers.dedup_by(|right, left| {
            Walker {
                hold_from: left.hold_from,
                ..*right
            } == *left
        });
    }

    fn step(&mut self, list: &BlockList, char: Folded) -> Option<Found> {
        let found = self.ended(list, Some(char.char));
        if found.is_some() {
            return found;
        }
        let mark = Mark::of(char);
        let walkers = std::mem::take(&mut self.walkers);
        for walker in walkers {
            if mark == Some(Mark::Space) && walker.after == After::Stop {
                continue;
            }
            let nodes = list.children(walker.node, char);
            self.walkers
                .extend(nodes.filter_map(|node| walker.stepped(node, char)));
            if let Some(mark) = mark {
                self.gap(list, walker, mark);
            }
        }
        if is_border(self.last, Some(char.char)) {
            let from = Walker {
                node: ROOT,
                letters: Letters::None,
                is_spelled: false,
                after: After::Letter,
                hold_from: self.offset,
            };
            let nodes = list.children(ROOT, char);
            self.walkers
                .extend(nodes.filter_map(|node| from.stepped(node, char)));
        }
        if mark.is_some() {
            self.unite();
        }
        self.last = Some(char.char);
        None
    }

    /// What a space or a mark is to a phrase besides itself: the space between two words, more of
    /// the same, or nothing.
    fn gap(&mut self, list: &BlockList, walker: Walker, mark: Mark) {
        let (is_space, after) = match mark {
            Mark::Space => (true, After::Gap),
            Mark::Joint => (false, After::Gap),
            Mark::Stop => (false, After::Stop),
        };
        let is_apart = walker.after != After::Letter;
        let is_spelled = is_space && !is_apart && walker.letters == Letters::One;
        if is_apart || is_spelled || !is_space {
            let letters = if is_spelled {
                Letters::None
            } else {
                walker.letters
            };
            self.walkers.push(Walker {
                letters,
                is_spelled: is_spelled || walker.is_spelled,
                after,
                ..walker
            });
        }
        if !is_space {
            let stepped = list.children(walker.node, Folded::SPACE);
            let stepped = stepped.filter_map(|node| walker.stepped(node, Folded::SPACE));
            self.walkers
                .extend(stepped.map(|stepped| Walker { after, ..stepped }));
        }
    }

    /// A phrase that ended with the last character, if its end is a border before `next`.
    fn ended(&self, list: &BlockList, next: Option<char>) -> Option<Found> {
        if !is_border(self.last, next) {
            return None;
        }
        let ended = self
            .walkers
            .iter()
            .filter(|walker| list.nodes[walker.node as usize].is_end);
        ended
            .map(|walker| Found {
                cut_at: walker.hold_from,
            })
            .min_by_key(|found| found.cut_at)
    }
}

/// Whether a phrase may end before, or begin at, the place between two characters.
fn is_border(left: Option<char>, right: Option<char>) -> bool {
    !(left.is_some_and(joins_words) && right.is_some_and(joins_words))
}

/// Letters, digits and the accents on them, of scripts that put spaces between words.
fn joins_words(char: char) -> bool {
    let spaceless = fold::is_wide(char);
    !spaceless && (char.is_alphanumeric() || matches!(char, '\u{300}'..='\u{36f}'))
}

/// What stands between words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Space,
    /// Hyphens, underscores, quotes, pictures: what a word is cut with.
    Joint,
    /// What ends a sentence, or a part of it.
    Stop,
}

impl Mark {
    fn of(char: Folded) -> Option<Self> {
        match char.char {
            ' ' => Some(Self::Space),
            '.' | ',' | ';' | ':' | '!' | '?' | '\u{3002}' | '\u{3001}' | '\u{61f}' => {
                Some(Self::Stop)
            }
            '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' => None,
            char if char.is_alphanumeric() || is_combining_mark(char) => None,
            _ => Some(Self::Joint),
        }
    }
}
