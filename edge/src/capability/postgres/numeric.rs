//! `numeric`: between decimal text and PostgreSQL's binary form, which has digits of base
//! 10,000 (`src/backend/utils/adt/numeric.c`, `numeric_send`).
//!
//! No digit is lost: a binary fraction or a fixed size could not hold every number.

use bytes::{Buf as _, BufMut as _, BytesMut};

/// Decimal digits of one digit of base 10,000.
const GROUP: usize = 4;
/// The longest text that is read: PostgreSQL takes 131,072 digits before the point and
/// 16,383 behind it.
const TEXT_MAX: usize = 131_072 + 16_383 + 2;

const NEGATIVE: u16 = 0x4000;
/// The signs that are no numbers, and their names.
const SPECIAL: [(u16, &str); 3] = [(0xC000, "NaN"), (0xD000, "Infinity"), (0xF000, "-Infinity")];

/// Writes the decimal number `text`.
pub(super) fn write(text: &str, out: &mut BytesMut) -> Result<(), String> {
    let wrong = || format!("invalid decimal {text}");
    if let Some((sign, _)) = SPECIAL.iter().find(|(_, name)| *name == text) {
        put_head(out, 0, 0, *sign, 0);
        return Ok(());
    }
    if text.len() > TEXT_MAX {
        return Err("a decimal has too many digits".to_owned());
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (0, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || digits == "." || !numeric(whole) || !numeric(fraction) {
        return Err(wrong());
    }
    let whole = whole.trim_start_matches('0');
    let before = whole.len().div_ceil(GROUP);
    let mut padded = "0".repeat(before * GROUP - whole.len());
    padded.push_str(whole);
    padded.push_str(fraction);
    padded.push_str(&"0".repeat(fraction.len().next_multiple_of(GROUP) - fraction.len()));
    let groups: Vec<i16> = padded
        .as_bytes()
        .chunks(GROUP)
        .map(|group| {
            group
                .iter()
                .fold(0, |sum, byte| sum * 10 + i16::from(byte - b'0'))
        })
        .collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let significant = &groups[leading..];
    let trailing = significant
        .iter()
        .rev()
        .take_while(|group| **group == 0)
        .count();
    let significant = &significant[..significant.len() - trailing];
    let number = |of: usize| i16::try_from(of).map_err(|_| wrong());
    let weight = match significant.is_empty() {
        true => 0,
        false => number(before)?
            .wrapping_sub(1)
            .wrapping_sub(number(leading)?),
    };
    let sign = if significant.is_empty() { 0 } else { sign };
    put_head(
        out,
        number(significant.len())?,
        weight,
        sign,
        number(fraction.len())?,
    );
    for group in significant {
        out.put_i16(*group);
    }
    Ok(())
}

fn put_head(out: &mut BytesMut, groups: i16, weight: i16, sign: u16, scale: i16) {
    out.put_i16(groups);
    out.put_i16(weight);
    out.put_u16(sign);
    out.put_i16(scale);
}

/// Reads a number as text, with as many digits behind its point as it was given.
pub(super) fn read(mut raw: &[u8]) -> Result<String, String> {
    let wrong = || "unexpected binary format for Postgres NUMERIC".to_owned();
    if raw.len() < 8 {
        return Err(wrong());
    }
    let count = usize::try_from(raw.get_i16()).map_err(|_| wrong())?;
    let weight = i64::from(raw.get_i16());
    let sign = raw.get_u16();
    let scale = usize::try_from(raw.get_i16()).map_err(|_| wrong())?;
    if let Some((_, name)) = SPECIAL.iter().find(|(special, _)| *special == sign) {
        return Ok((*name).to_owned());
    }
    if raw.len() != count * 2 {
        return Err(wrong());
    }
    let groups: Vec<i16> = (0..count).map(|_| raw.get_i16()).collect();
    if groups.iter().any(|group| !(0..10_000).contains(group)) {
        return Err(wrong());
    }
    let group = |position: i64| {
        let index = usize::try_from(weight - position).ok();
        index
            .and_then(|index| groups.get(index))
            .copied()
            .unwrap_or(0)
    };
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    let whole: String = (0..=weight)
        .rev()
        .map(|at| format!("{:04}", group(at)))
        .collect();
    let whole = whole.trim_start_matches('0');
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        text.push('.');
        let groups = i64::try_from(scale.div_ceil(GROUP)).map_err(|_| wrong())?;
        let fraction: String = (1..=groups)
            .map(|at| format!("{:04}", group(-at)))
            .collect();
        text.push_str(fraction.get(..scale).unwrap_or(&fraction));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_as_it_was_written() {
        let check = |text: &str, expect: &str| {
            let mut raw = BytesMut::new();
            write(text, &mut raw).unwrap();
            assert_eq!(read(&raw).unwrap(), expect, "{text}");
        };
        check("0", "0");
        check("-0.00", "0.00");
        check("+1", "1");
        check("10000", "10000");
        check("100000000", "100000000");
        check("1234567890.0987654321", "1234567890.0987654321");
        check("-0.0001", "-0.0001");
        check("0.00000001", "0.00000001");
        check("0001.50", "1.50");
        check(".5", "0.5");
        check("5.", "5");
        check("NaN", "NaN");
        check("-Infinity", "-Infinity");
        let long = format!("{}.{}", "9".repeat(200), "1".repeat(101));
        check(&long, &long);
    }

    #[test]
    fn the_binary_form_is_the_servers() {
        let mut raw = BytesMut::new();
        write("-12345.678", &mut raw).unwrap();
        // Three groups, the first worth 10,000; negative; three digits behind the point.
        let expect = [0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1A, 0x7C];
        assert_eq!(raw[..], expect);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for wrong in ["", ".", "-", "1e5", "1.2.3", "abc", "１"] {
            assert!(write(wrong, &mut BytesMut::new()).is_err(), "{wrong}");
        }
        for wrong in [
            &[][..],
            &[0, 1, 0, 0, 0, 0, 0, 0],
            &[0, 1, 0, 0, 0, 0, 0, 0, 0x7F, 0],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
