//! Tokens of a text, bounded from both sides where no tokenizer is at hand.
//!
//! It does NOT know prompts; `session` estimates messages by the same rule.

/// Marks and JSON that stand around a tool call.
const CALL_TOKENS: u64 = 24;
/// No vocabulary has words whose pieces are longer than this on average.
const LETTERS_PER_TOKEN_MAX: u64 = 16;

/// How much text there is, and of which kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    letters: u64,
    spaces: u64,
    /// All other bytes: digits, signs, other scripts.
    others: u64,
    /// Parts in which the text came.
    pieces: u64,
}

impl Extent {
    /// Adds a piece of text; an empty one is none.
    pub(crate) fn add(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let (mut letters, mut spaces) = (0, 0);
        for byte in text.bytes() {
            letters += u64::from(byte.is_ascii_alphabetic());
            spaces += u64::from(byte == b' ');
        }
        self.letters += letters;
        self.spaces += spaces;
        self.others += text.len() as u64 - letters - spaces;
        self.pieces += 1;
    }

    /// Adds the marks of a tool call that begins.
    pub(crate) fn add_call(&mut self, name: &str) {
        self.add(name);
        self.others += CALL_TOKENS;
    }

    /// An estimate that ordinary text does not exceed: two letters or spaces are a token, and so
    /// is each other byte, and each piece.
    pub(crate) fn tokens_max(self) -> u32 {
        let tokens = self.others + (self.letters + self.spaces).div_ceil(2);
        u32::try_from(tokens.max(self.pieces)).unwrap_or(u32::MAX)
    }

    /// Fewer tokens than this the text cannot have.
    pub(crate) fn tokens_min(self) -> u32 {
        let tokens = self.letters / LETTERS_PER_TOKEN_MAX;
        u32::try_from(tokens.max(self.pieces.min(1))).unwrap_or(u32::MAX)
    }

    /// What has come since there was `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            letters: self.letters - before.letters,
            spaces: self.spaces - before.spaces,
            others: self.others - before.others,
            pieces: self.pieces - before.pieces,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_from_both_sides() {
        for (text, min, max) in [
            ("", 0, 0),
            ("a", 1, 1),
            ("hello you", 1, 5),
            ("2026", 1, 4),
            ("漢字", 1, 6),
            (&"word ".repeat(100), 25, 250),
            (&"-".repeat(64), 1, 64),
        ] {
            let mut extent = Extent::default();
            extent.add(text);
            assert_eq!((extent.tokens_min(), extent.tokens_max()), (min, max));
        }
    }

    #[test]
    fn pieces_add_up() {
        let mut extent = Extent::default();
        for text in ["a", "", "b", "c"] {
            extent.add(text);
        }
        assert_eq!(extent.tokens_max(), 3, "each piece was a token");
        let before = extent;
        extent.add_call("f");
        assert_eq!(extent.since(before).tokens_max(), 24 + 1);
        assert_eq!(extent.since(extent), Extent::default());
    }
}
