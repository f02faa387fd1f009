//! Letters that look like one of ASCII. Part of `view`.
//!
//! The table is ours, and short: the confusables of UTS #39 make `I`, `l` and `1` one, and `m`
//! two letters, which is right for comparing names and wrong for finding digits. What decomposes
//! into ASCII (full width, mathematical, circled letters) is not here.

/// The letter of ASCII that this one is taken for, in its case.
#[rustfmt::skip]
pub(super) fn letter(char: char) -> Option<u8> {
    Some(match char {
        'а' | 'ɑ' | 'α' | 'ａ' | 'ꭺ' => b'a',
        'Ь' | 'ƅ' => b'b',
        'с' | 'ϲ' | 'ᴄ' | 'ⅽ' | 'ꮯ' => b'c',
        'ԁ' | 'ɗ' | 'ⅾ' => b'd',
        'е' | 'є' | 'ҽ' | 'ε' | '℮' => b'e',
        'ſ' | 'ϝ' | 'ք' => b'f',
        'ɡ' | 'ց' | 'ᶃ' => b'g',
        'һ' | 'հ' | 'Ꮒ' => b'h',
        'і' | 'ι' | 'ı' | 'ɩ' | 'ɪ' | 'Ꭵ' => b'i',
        'ј' | 'ϳ' | 'յ' => b'j',
        'к' | 'κ' | 'ĸ' | 'ᴋ' => b'k',
        'ӏ' | 'ⅼ' | 'ǀ' | 'ℓ' => b'l',
        'м' | 'ᴍ' => b'm',
        'ո' | 'п' | 'η' | 'ɴ' => b'n',
        'о' | 'ο' | 'σ' | 'օ' | 'ᴏ' | 'ഠ' | 'ø' | 'ɵ' | 'ө' => b'o',
        'р' | 'ρ' | 'ϱ' | 'ᴘ' => b'p',
        'ԛ' | 'զ' | 'գ' => b'q',
        'г' | 'ᴦ' | 'ꮁ' => b'r',
        'ѕ' | 'ꜱ' | 'ʂ' => b's',
        'т' | 'τ' | 'ᴛ' | 'ŧ' => b't',
        'υ' | 'ս' | 'ᴜ' | 'ц' | 'ʋ' => b'u',
        'ν' | 'ѵ' | 'ᴠ' => b'v',
        'ԝ' | 'ѡ' | 'ω' | 'ա' | 'ᴡ' => b'w',
        'х' | 'χ' | 'ⅹ' => b'x',
        'у' | 'γ' | 'ү' | 'ყ' | 'ʏ' => b'y',
        'ᴢ' | 'ʐ' | 'ƶ' => b'z',
        'А' | 'Α' | 'Ꭺ' | 'ᴀ' => b'A',
        'В' | 'Β' | 'Ᏼ' | 'ʙ' | 'в' => b'B',
        'С' | 'Ϲ' | 'Ꮯ' => b'C',
        'Ꭰ' | 'Đ' | 'Ð' | 'ᴅ' => b'D',
        'Е' | 'Ε' | 'Ꭼ' | 'ᴇ' | 'Є' => b'E',
        'Ϝ' | 'ꜰ' => b'F',
        'Ԍ' | 'Ꮐ' | 'ɢ' => b'G',
        'Н' | 'Η' | 'Ꮋ' | 'ʜ' | 'н' => b'H',
        'І' | 'Ι' | 'Ӏ' => b'I',
        'Ј' | 'Ꭻ' | 'ᴊ' => b'J',
        'К' | 'Κ' | 'Ꮶ' => b'K',
        'Ꮮ' | 'ʟ' | 'Ł' => b'L',
        'М' | 'Μ' | 'Ꮇ' => b'M',
        'Ν' => b'N',
        'О' | 'Ο' | 'Օ' | 'Ø' => b'O',
        'Р' | 'Ρ' | 'Ꮲ' => b'P',
        'Ԛ' => b'Q',
        'Ꭱ' | 'Ꮢ' | 'ʀ' => b'R',
        'Ѕ' | 'Տ' | 'Ꮪ' => b'S',
        'Т' | 'Τ' | 'Ꭲ' => b'T',
        'Ս' => b'U',
        'Ѵ' | 'Ꮩ' => b'V',
        'Ԝ' | 'Ꮃ' => b'W',
        'Х' | 'Χ' => b'X',
        'У' | 'Υ' | 'Ү' => b'Y',
        'Ζ' | 'Ꮓ' => b'Z',
        'ł' => b'l',
        'đ' => b'd',
        _ => return emblem(char),
    })
}

/// Letters in a black disc or square, and those of flags.
fn emblem(char: char) -> Option<u8> {
    let code = u32::from(char);
    let first = [0x1f150, 0x1f170, 0x1f1e6]
        .into_iter()
        .find(|first| (*first..first + 26).contains(&code))?;
    Some(b'A' + u8::try_from(code - first).ok()?)
}

/// The decimal digits of all scripts begin here, each with its ten in a row (general category Nd,
/// Unicode 16.0).
#[rustfmt::skip]
const ZEROS: [u32; 75] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
    0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50,
    0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x10d40, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0,
    0x11650, 0x116c0, 0x116d0, 0x116da, 0x11730, 0x118e0, 0x11950, 0x11bf0, 0x11c50, 0x11d50,
    0x11da0, 0x11f50, 0x16130, 0x16a60, 0x16ac0, 0x16b50, 0x16d70, 0x1ccf0, 0x1d7ce, 0x1d7d8,
    0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e5f1, 0x1e950, 0x1fbf0,
];
/// Digits in discs, of which the first is 1.
const ONES: [u32; 5] = [0x2460, 0x24f5, 0x2776, 0x2780, 0x278a];

/// The value of a decimal digit of any script, as a digit of ASCII.
pub(super) fn digit(char: char) -> Option<u8> {
    let code = u32::from(char);
    let before = ZEROS.partition_point(|zero| *zero <= code);
    let of_script = before
        .checked_sub(1)
        .map(|index| code - ZEROS[index])
        .filter(|value| *value < 10);
    let in_disc = || {
        let one = ONES.iter().find(|one| (**one..**one + 9).contains(&code))?;
        Some(code - one + 1)
    };
    let value = match char {
        '\u{24ea}' | '\u{24ff}' | '\u{1f10b}' | '\u{1f10c}' => Some(0),
        _ => of_script.or_else(in_disc),
    };
    Some(b'0' + u8::try_from(value?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_sorted_to_be_searched() {
        assert!(ZEROS.is_sorted());
    }

    #[test]
    fn every_digit_of_every_script_has_its_value() {
        for zero in ZEROS {
            for value in 0..10 {
                let char = char::from_u32(zero + u32::from(value)).unwrap();
                assert_eq!(digit(char), Some(b'0' + value), "U+{:X}", u32::from(char));
            }
        }
        // What else has a number (fractions, Roman, ideographs) is no digit.
        for char in ['\u{bd}', '\u{2163}', '\u{56db}', '\u{bf4}', 'x'] {
            assert_eq!(digit(char), None, "{char}");
        }
    }

    #[test]
    fn letters_of_ascii_are_their_own() {
        assert!((0..128).all(|byte| letter(char::from(byte)).is_none()));
    }
}
