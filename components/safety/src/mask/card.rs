//! Payment cards: 13 to 19 digits in one row or in the groups printed on cards, a prefix that is
//! issued, and a right check digit (ISO/IEC 7812-1, Luhn). Part of `mask`.

use super::text::is_word;
use super::{Look, Place};

const DIGITS_MAX: usize = 19;
const GROUPS_MAX: usize = 5;

pub(super) fn look(place: &Place<'_>) -> Result<Look, Look> {
    if place.is_within_number() || !matches!(place.bytes[place.at], b'2'..=b'6') {
        return Ok(Look::No);
    }
    let mut digits = [0_u8; DIGITS_MAX];
    let mut groups = [0_usize; GROUPS_MAX];
    let (mut count, mut group, mut next) = (0, 0, 0);
    let mut separator = None;
    let mut end = None;
    loop {
        while let Some(digit @ b'0'..=b'9') = place.byte(next)? {
            if count == DIGITS_MAX {
                return Ok(end.map_or(Look::No, Look::Hit));
            }
            digits[count] = digit - b'0';
            count += 1;
            groups[group] += 1;
            next += 1;
        }
        let after = place.byte(next)?;
        let groups = &groups[..=group];
        if !after.is_some_and(is_word) && is_printed_so(groups) && is_card(&digits[..count]) {
            end = Some(next);
        }
        // Only the groups of a card go on.
        let may_go_on = groups[0] == 4 && group + 1 < GROUPS_MAX;
        let is_separator = match (after, separator) {
            (Some(b' ' | b'-'), None) => true,
            (Some(byte), Some(first)) => byte == first,
            _ => false,
        };
        if !may_go_on
            || !is_separator
            || !place
                .byte(next + 1)?
                .is_some_and(|byte| byte.is_ascii_digit())
        {
            return Ok(end.map_or(Look::No, Look::Hit));
        }
        separator = after;
        group += 1;
        next += 1;
    }
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
