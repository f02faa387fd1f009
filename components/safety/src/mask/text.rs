//! Letters, and how far to go on where nothing is found. Part of `mask`; knows no kind of secret.

/// A letter or digit of ASCII, or a byte of a Latin letter with an accent.
///
/// U+00C0 to U+024F are two bytes in UTF-8, of which the first is 0xC3 to 0xC9. Other scripts end
/// a word, so that a number right after Han characters is still seen.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || is_accented_lead(byte) || byte == ACCENTED
}

/// Stands in `before` for the second byte of an accented Latin letter.
const ACCENTED: u8 = 0xff;

fn is_accented_lead(byte: u8) -> bool {
    matches!(byte, 0xc3..=0xc9)
}

/// Bytes of the word character at `at`; 0 if there is another character, or none.
pub(super) fn word_char(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(byte) if byte.is_ascii_alphanumeric() => 1,
        Some(byte) if is_accented_lead(*byte) => 2,
        _ => 0,
    }
}

/// From a place with nothing to find to the next at which something could begin: past a whole
/// word, or one character. At least 1; always at a character's border.
pub(super) fn step(bytes: &[u8], at: usize) -> usize {
    let mut next = at;
    loop {
        match word_char(bytes, next) {
            0 => break,
            length => next += length,
        }
    }
    if next > at {
        return next - at;
    }
    let lead = bytes[at];
    match lead {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

/// What stands before the place after `passed` (not empty).
pub(super) fn before(before: [u8; 2], passed: &[u8]) -> [u8; 2] {
    let last = |index: usize| {
        let byte = passed[index];
        let accented = index > 0 && is_accented_lead(passed[index - 1]) && byte >= 0x80;
        if accented { ACCENTED } else { byte }
    };
    match passed.len() {
        1 => [before[1], last(0)],
        length => [last(length - 2), last(length - 1)],
    }
}
