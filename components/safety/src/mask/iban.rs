//! IBANs: a country's length, groups of one size or none, and a right check number (ISO 13616,
//! mod 97 of ISO/IEC 7064). Part of `mask`.

use super::text::is_gap;
use super::{Look, Place};

/// Between two characters.
const GAP_BYTES_MAX: usize = 3;

/// Length by country, from the SWIFT IBAN registry; sorted.
#[rustfmt::skip]
const LENGTHS: [(&[u8; 2], usize); 89] = [
    (b"AD", 24), (b"AE", 23), (b"AL", 28), (b"AT", 20), (b"AZ", 28), (b"BA", 20), (b"BE", 16),
    (b"BG", 22), (b"BH", 22), (b"BI", 27), (b"BR", 29), (b"BY", 28), (b"CH", 21), (b"CR", 22),
    (b"CY", 28), (b"CZ", 24), (b"DE", 22), (b"DJ", 27), (b"DK", 18), (b"DO", 28), (b"EE", 20),
    (b"EG", 29), (b"ES", 24), (b"FI", 18), (b"FK", 18), (b"FO", 18), (b"FR", 27), (b"GB", 22),
    (b"GE", 22), (b"GI", 23), (b"GL", 18), (b"GR", 27), (b"GT", 28), (b"HN", 28), (b"HR", 21),
    (b"HU", 28), (b"IE", 22), (b"IL", 23), (b"IQ", 23), (b"IS", 26), (b"IT", 27), (b"JO", 30),
    (b"KW", 30), (b"KZ", 20), (b"LB", 28), (b"LC", 32), (b"LI", 21), (b"LT", 20), (b"LU", 20),
    (b"LV", 21), (b"LY", 25), (b"MC", 27), (b"MD", 24), (b"ME", 22), (b"MK", 19), (b"MN", 20),
    (b"MR", 27), (b"MT", 31), (b"MU", 30), (b"NI", 28), (b"NL", 18), (b"NO", 15), (b"OM", 23),
    (b"PK", 24), (b"PL", 28), (b"PS", 29), (b"PT", 25), (b"QA", 29), (b"RO", 24), (b"RS", 22),
    (b"RU", 33), (b"SA", 24), (b"SC", 31), (b"SD", 18), (b"SE", 24), (b"SI", 19), (b"SK", 24),
    (b"SM", 27), (b"SO", 23), (b"ST", 25), (b"SV", 28), (b"TL", 23), (b"TN", 24), (b"TR", 26),
    (b"UA", 29), (b"VA", 22), (b"VG", 24), (b"XK", 20), (b"YE", 30),
];

pub(super) fn look(place: &Place<'_>) -> Result<Look, Look> {
    let mut country = [0; 2];
    for (ahead, letter) in country.iter_mut().enumerate() {
        match place.byte(ahead)? {
            Some(byte) if byte.is_ascii_alphabetic() => *letter = byte.to_ascii_uppercase(),
            _ => return Ok(Look::No),
        }
    }
    // Most words end here.
    let may_begin = match place.byte(2)? {
        Some(byte) if is_gap(byte) => place.bytes[place.at].is_ascii_uppercase(),
        byte => byte.is_some_and(|byte| byte.is_ascii_digit()),
    };
    if !may_begin {
        return Ok(Look::No);
    }
    let Ok(found) = LENGTHS.binary_search_by(|(code, _)| (*code).cmp(&country)) else {
        return Ok(Look::No);
    };
    let length = &LENGTHS[found].1;
    let (mut next, mut rest) = (2, [0_u8; 32]);
    // The first four characters count last.
    let head = [number(country[0]), number(country[1])];
    // Of each group but the last.
    let mut size = None;
    for index in 2..*length {
        // Right behind two small letters a gap ends a word.
        if index > 2 || place.bytes[place.at].is_ascii_uppercase() {
            let gap = place.gap(next, GAP_BYTES_MAX, is_gap)?;
            if gap > 0 {
                size = size.or(Some(index));
            }
            if size.is_some_and(|size| (gap > 0) != index.is_multiple_of(size)) {
                return Ok(Look::No);
            }
            next += gap;
        }
        match place.byte(next)? {
            Some(byte) if byte.is_ascii_digit() || (index > 3 && byte.is_ascii_alphabetic()) => {
                rest[index - 2] = number(byte);
            }
            _ => return Ok(Look::No),
        }
        next += 1;
    }
    if !place.ends_word(next)? {
        return Ok(Look::No);
    }
    let (check, account) = rest[..*length - 2].split_at(2);
    let order = account.iter().chain(&head).chain(check);
    let remainder = order.fold(0_u32, |remainder, value| {
        let shift = if *value > 9 { 100 } else { 10 };
        (remainder * shift + u32::from(*value)) % 97
    });
    Ok(if remainder == 1 {
        Look::Hit(next)
    } else {
        Look::No
    })
}

/// `0` is 0, `A` is 10, `Z` is 35.
fn number(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte.to_ascii_uppercase() - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::LENGTHS;

    #[test]
    fn countries_are_sorted_to_be_searched() {
        assert!(LENGTHS.is_sorted_by_key(|(country, _)| country));
    }
}
