//! Phrases that neither a prompt nor an answer may contain.
//!
//! `screen` and `guard` feed it the raw text, character by character, before anything is masked.
//! It keeps a place in the phrases and never looks back, so it finds a phrase that is split over
//! chunks in any way, and takes the same time for each character.
//!
//! Text and phrases are compared in the same folded form: compatibility-decomposed (UAX #15), in
//! lower case, runs of white space as one space, characters without a width left out. A phrase
//! begins and ends at a word's border, except in scripts that put no spaces between words.
//!
//! It knows nothing of masking, and does not tell which phrase it found.

use unicode_normalization::char::decompose_compatible;

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
    children: Vec<(char, u32)>,
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
            let mut folded = Folded::default();
            let mut chars = Vec::new();
            for char in phrase.trim().chars() {
                folded.fold(char, |char| chars.push(char));
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

    fn add(&mut self, phrase: &[char]) {
        if let Some(start) = phrase
            .first()
            .and_then(|char| self.starts.get_mut(*char as usize))
        {
            *start = true;
        }
        let mut node = ROOT;
        for char in phrase {
            node = match self.child(node, *char) {
                Some(child) => child,
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

    fn child(&self, node: u32, char: char) -> Option<u32> {
        let children = &self.nodes[node as usize].children;
        children
            .iter()
            .find(|(with, _)| *with == char)
            .map(|(_, child)| *child)
    }
}

/// A place within a phrase.
#[derive(Clone, Copy, Debug)]
struct Walker {
    node: u32,
    /// The raw text from here on is held back for this phrase's sake.
    hold_from: usize,
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
    folded: Folded,
    last: Option<char>,
    offset: usize,
}

impl Detector {
    /// Reads on. After a `Found` the detector is spent.
    pub fn push(&mut self, list: &BlockList, text: &str) -> Option<Found> {
        if list.is_empty() {
            self.offset += text.len();
            return None;
        }
        for char in text.chars() {
            if self.passes(list, char) {
                continue;
            }
            let mut folded = std::mem::take(&mut self.folded);
            let mut found = None;
            folded.fold(char, |char| found = found.or_else(|| self.step(list, char)));
            self.folded = folded;
            self.offset += char.len_utf8();
            if found.is_some() {
                return found;
            }
            for walker in &mut self.walkers {
                if self.offset - walker.hold_from > HOLD_BYTES_MAX {
                    walker.hold_from = self.offset;
                }
            }
        }
        None
    }

    /// The text is over: a word's border.
    pub fn finish(&mut self, list: &BlockList) -> Option<Found> {
        self.ended(list, None)
    }

    /// The raw text before this offset is part of no phrase.
    pub fn clear_until(&self) -> usize {
        self.walkers
            .iter()
            .map(|walker| walker.hold_from)
            .min()
            .unwrap_or(self.offset)
    }

    /// The same as a step, for the most frequent case: no phrase is unfolding, and none begins.
    fn passes(&mut self, list: &BlockList, char: char) -> bool {
        let lower = char.to_ascii_lowercase();
        let may_begin = list.starts.get(lower as usize).copied().unwrap_or(true);
        if may_begin || !self.walkers.is_empty() {
            return false;
        }
        self.folded.after_space = lower.is_whitespace();
        self.last = Some(if self.folded.after_space { ' ' } else { lower });
        self.offset += 1;
        true
    }

    fn step(&mut self, list: &BlockList, char: char) -> Option<Found> {
        let found = self.ended(list, Some(char));
        if found.is_some() {
            return found;
        }
        self.walkers
            .retain_mut(|walker| match list.child(walker.node, char) {
                Some(child) => {
                    walker.node = child;
                    true
                }
                None => false,
            });
        if is_border(self.last, Some(char)) {
            let node = list.child(ROOT, char);
            self.walkers.extend(node.map(|node| Walker {
                node,
                hold_from: self.offset,
            }));
        }
        self.last = Some(char);
        None
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
    let spaceless = matches!(char,
        '\u{0e00}'..='\u{0eff}'      // Thai, Lao
        | '\u{1000}'..='\u{11ff}'    // Myanmar, Hangul letters (decomposed)
        | '\u{1780}'..='\u{17ff}'    // Khmer
        | '\u{2e80}'..='\u{a4cf}'    // Han, kana
        | '\u{ac00}'..='\u{d7af}'    // Hangul
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}');
    !spaceless && (char.is_alphanumeric() || matches!(char, '\u{300}'..='\u{36f}'))
}

/// Folds characters one by one.
#[derive(Debug, Default)]
struct Folded {
    after_space: bool,
}

impl Folded {
    fn fold(&mut self, char: char, mut emit: impl FnMut(char)) {
        if char.is_ascii() {
            self.emit(char.to_ascii_lowercase(), &mut emit);
        } else if !is_without_width(char) {
            decompose_compatible(char, |part| {
                for lower in part.to_lowercase() {
                    self.emit(lower, &mut emit);
                }
            });
        }
    }

    fn emit(&mut self, char: char, emit: &mut impl FnMut(char)) {
        let space = char.is_whitespace();
        if !(space && self.after_space) {
            emit(if space { ' ' } else { char });
        }
        self.after_space = space;
    }
}

/// Soft hyphens, joiners, direction marks, variation selectors and tags: not to be seen.
fn is_without_width(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}
