//! Payment cards: 13 to 19 digits in one row or in the groups printed on cards, a prefix that is
//! issued, and a right check digit (ISO/IEC 7812-1, Luhn). Part of `mask`.
//!
//! A model reads a number however it is spelled, so the digits of other scripts count, characters
//! that are not seen are passed over, and groups stand apart by any space, dash, point, slash or
//! comma, though by the same throughout.

use super::text::is_word;
use super::{Look, Place};

const DIGITS_MAX: usize = 19;
const GROUPS_MAX: usize = 5;
/// Characters between two groups that are seen, at most.
const GAP_CHARS_MAX: usize = 3;
/// With all that is not seen. A number that is longer is none.
const BYTES_MAX: usize = 512;

/// One character of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelled {
    Digit(u8),
    Gap(Gap),
    Unseen,
    Other,
}

/// The separator of groups. Spaces beside another mark count for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    Space,
    Dash,
    Point,
    Slash,
    Comma,
}

/// The value of a decimal digit: ASCII's, full-width, Arabic and Persian.
pub(super) fn digit(character: char) -> Option<u8> {
    let zeros = ['0', '\u{660}', '\u{6f0}', '\u{ff10}'];
    zeros.iter().find_map(|zero| {
        let value = u32::from(character).checked_sub(u32::from(*zero))?;
        u8::try_from(value).ok().filter(|value| *value < 10)
    })
}

fn spelled(character: char) -> Spelled {
    if let Some(value) = digit(character) {
        return Spelled::Digit(value);
    }
    Spelled::Gap(match character {
        // Soft hyphen, zero width spaces and joiners, directions, variations.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' => {
            return Spelled::Unseen;
        }
        '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => return Spelled::Unseen,
        '\u{fe00}'..='\u{fe0f}' | '\u{feff}' => return Spelled::Unseen,
        _ if character.is_whitespace() => Gap::Space,
        '-'
        | '\u{2010}'..='\u{2015}'
        | '\u{2043}'
        | '\u{2212}'
        | '\u{fe58}'
        | '\u{fe63}'
        | '\u{ff0d}' => Gap::Dash,
        '.' | '\u{b7}' | '\u{2022}' | '\u{2024}' | '\u{ff0e}' => Gap::Point,
        '/' | '\u{2044}' | '\u{2215}' | '\u{ff0f}' => Gap::Slash,
        ',' | '\u{66b}' | '\u{66c}' | '\u{60c}' | '\u{ff0c}' => Gap::Comma,
        _ => return Spelled::Other,
    })
}

/// The character so many bytes ahead, and its bytes. `Other` of none at the end.
fn read(place: &Place<'_>, ahead: usize) -> Result<(Spelled, usize), Look> {
    let Some(lead) = place.byte(ahead)? else {
        return Ok((Spelled::Other, 0));
    };
    let length = match lead {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    };
    let at = place.at + ahead;
    let bytes = place.bytes.get(at..at + length).unwrap_or_default();
    let character = str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.chars().next());
    Ok((character.map_or(Spelled::Other, spelled), length))
}

pub(super) fn look(place: &Place<'_>) -> Result<Look, Look> {
    if place.is_within_number() || !matches!(read(place, 0)?, (Spelled::Digit(2..=6), _)) {
        return Ok(Look::No);
    }
    let mut digits = [0_u8; DIGITS_MAX];
    let mut groups = [0_usize; GROUPS_MAX];
    let (mut count, mut group, mut next) = (0, 0, 0);
    let mut gap = None;
    let mut end = None;
    let ended = |end: Option<usize>| Ok(end.map_or(Look::No, Look::Hit));
    loop {
        while let (Spelled::Digit(digit), length) = read(place, next)? {
            if count == DIGITS_MAX {
                return ended(end);
            }
            digits[count] = digit;
            count += 1;
            groups[group] += 1;
            next += length;
        }
        let groups_read = &groups[..=group];
        if !place.byte(next)?.is_some_and(is_word)
            && is_printed_so(groups_read)
            && is_card(&digits[..count])
        {
            end = Some(next);
        }
        let (between, length) = read_gap(place, next)?;
        next += length;
        if next > BYTES_MAX {
            return ended(end);
        }
        match between {
            // What was not seen stood within a group.
            Between::Nothing if length > 0 => {}
            // Only the groups of a card go on.
            Between::Gap(kind)
                if groups[0] == 4 && group + 1 < GROUPS_MAX && gap.is_none_or(|g| g == kind) =>
            {
                gap = Some(kind);
                group += 1;
            }
            _ => return ended(end),
        }
    }
}

/// The separator of two digits.
enum Between {
    Nothing,
    Gap(Gap),
    /// No digit follows, or not soon.
    End,
}

/// Reads up to the next digit; returns the bytes too.
fn read_gap(place: &Place<'_>, start: usize) -> Result<(Between, usize), Look> {
    let (mut next, mut chars, mut kind) = (start, 0, None);
    while next <= BYTES_MAX {
        let (character, length) = read(place, next)?;
        match (character, kind) {
            (Spelled::Digit(_), None) => return Ok((Between::Nothing, next - start)),
            (Spelled::Digit(_), Some(kind)) => return Ok((Between::Gap(kind), next - start)),
            (Spelled::Unseen, _) => {}
            (Spelled::Gap(Gap::Space), _) => kind = kind.or(Some(Gap::Space)),
            (Spelled::Gap(mark), None | Some(Gap::Space)) => kind = Some(mark),
            (Spelled::Gap(mark), Some(other)) if mark == other => {}
            (Spelled::Gap(_) | Spelled::Other, _) => break,
        }
        chars += usize::from(character != Spelled::Unseen);
        if chars > GAP_CHARS_MAX {
            break;
        }
        next += length;
    }
    Ok((Between::End, next - start))
}

fn is_printed_so(groups: &[usize]) -> bool {
    matches!(
        groups,
        [13..=19] | [4, 4, 4, 4] | [4, 4, 4, 4, 1..=3] | [4, 6, 5] | [4, 6, 4]
    )
}

fn is_card(digits: &[u8]) -> bool {
    is_issued(digits) && luhn(digits)
}

/// Prefixes and lengths of the large schemes.
fn is_issued(digits: &[u8]) -> bool {
    let prefix = digits
        .iter()
        .take(4)
        .fold(0_u32, |prefix, digit| prefix * 10 + u32::from(*digit));
    matches!(
        (prefix, digits.len()),
        (4000..=4999, 13 | 16 | 19)
            | (5100..=5599 | 2221..=2720, 16)
            | (3400..=3499 | 3700..=3799, 15)
            | (3000..=3099 | 3600..=3699 | 3800..=3999, 14..=19)
            | (3528..=3589, 16..=19)
            | (6000..=6999, 16..=19)
            | (5000..=5099 | 5600..=5999, 13..=19)
    )
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}
