//! One character as it is matched: letters that look alike are one, and so are the digits of all
//! scripts, the spaces, the dashes. Part of `view`; knows no text.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

use super::lookalikes;

/// A mark or a picture that is none of ASCII.
pub const OTHER: u8 = 0x80;
/// A letter of a script that puts spaces between words, and that looks like none of ASCII.
pub const LETTER: u8 = 0x81;
/// A letter of a script that puts no spaces between words, or joins other scripts' to its own.
pub const WIDE: u8 = 0x82;
/// The full stop of such a script, which is a domain's dot too (RFC 3490, 3.1).
pub const STOP: u8 = 0x83;

/// Soft hyphens, joiners, direction marks, variation selectors and tags: not to be seen.
pub fn is_unseen(char: char) -> bool {
    matches!(char,
        '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// A character that belongs to the one before it (UAX #29, Extend).
pub fn extends(char: char) -> bool {
    matches!(char, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0020}'..='\u{e0fff}')
        || (!char.is_ascii() && is_combining_mark(char))
}

/// Scripts without spaces between words, and Korean, whose particles stand at the word.
pub fn is_wide(char: char) -> bool {
    matches!(char,
        '\u{0e00}'..='\u{0eff}'      // Thai, Lao
        | '\u{1000}'..='\u{11ff}'    // Myanmar, Hangul letters
        | '\u{1780}'..='\u{17ff}'    // Khmer
        | '\u{2e80}'..='\u{2fff}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}'
        | '\u{3031}'..='\u{3035}' | '\u{3041}'..='\u{3096}' | '\u{3099}'..='\u{309f}'
        | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{318f}' | '\u{31a0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{a4cf}' | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ffdc}'
        | '\u{20000}'..='\u{3ffff}')
}

/// The bytes that stand for a character, which is neither unseen nor a combining mark.
pub fn bytes(char: char, mut emit: impl FnMut(u8)) {
    if let Some(byte) = one(char) {
        return emit(byte);
    }
    let mut is_whole = true;
    decompose_compatible(char, |part| {
        if part != char {
            is_whole = false;
            if !is_combining_mark(part) && !is_unseen(part) {
                emit(one(part).unwrap_or(class(part)));
            }
        }
    });
    if is_whole {
        emit(class(char));
    }
}

fn class(char: char) -> u8 {
    if char.is_alphabetic() { LETTER } else { OTHER }
}

fn one(char: char) -> Option<u8> {
    if let Ok(byte) = u8::try_from(u32::from(char))
        && byte.is_ascii()
    {
        return Some(byte);
    }
    Some(match char {
        '\u{85}' | '\u{2028}' | '\u{2029}' => b'\n',
        '\u{2800}' => b' ',
        _ if char.is_whitespace() => b' ',
        '\u{58a}' | '\u{5be}' | '\u{1806}' | '\u{2010}'..='\u{2015}' | '\u{2043}' => b'-',
        '\u{2212}' | '\u{2796}' | '\u{2d7}' | '\u{2e3a}' | '\u{2e3b}' | '\u{301c}' => b'-',
        '\u{3030}' | '\u{30a0}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' | '\u{2500}' => b'-',
        '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{2571}' => b'/',
        '\u{60c}' | '\u{66b}' | '\u{66c}' | '\u{3001}' | '\u{ff64}' | '\u{201a}' => b',',
        '\u{b7}' | '\u{2024}' | '\u{2027}' | '\u{2219}' | '\u{22c5}' | '\u{a4f8}' => b'.',
        '\u{6d4}' | '\u{701}' | '\u{702}' => b'.',
        '\u{3002}' | '\u{ff61}' => STOP,
        _ => {
            return lookalikes::digit(char)
                .or_else(|| lookalikes::letter(char))
                .or(is_wide(char).then_some(WIDE));
        }
    })
}

/// The letter or digit of ASCII that a character is read as, in small letters. It decomposes into
/// no others (UAX #15).
pub fn ascii(char: char) -> Option<char> {
    let byte = match u8::try_from(u32::from(char)) {
        Ok(byte) if byte.is_ascii() => byte,
        _ => lookalikes::digit(char).or_else(|| lookalikes::letter(char))?,
    };
    Some(char::from(byte.to_ascii_lowercase()))
}
