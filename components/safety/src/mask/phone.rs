//! Telephone numbers. Part of `mask`.
//!
//! Four forms are looked for, each chosen so that dates, prices, fractions and plain numbers are
//! left alone: international with `+`, international with `00`, national with a trunk `0`, and
//! North American (`555-123-4567`). A number is digits in groups, with at most three of the
//! characters ` -./()` between two groups, of which the view has all kinds as one.

use crate::view::fold;

use super::{Look, Place};

/// E.164 has 15 digits at most; `00` adds two.
const DIGITS_MAX: usize = 17;
const GROUPS_MAX: usize = 8;
const SEPARATOR_BYTES_MAX: usize = 3;

/// Digits in a row, and the byte before them.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    digits: usize,
    before: u8,
}

#[derive(Clone, Copy, Debug)]
struct Number {
    has_plus: bool,
    groups: [Group; GROUPS_MAX],
    digits: [u8; DIGITS_MAX],
}

pub(super) fn look(place: &Place<'_>) -> Result<Look, Look> {
    if place.is_within_number() {
        return Ok(Look::No);
    }
    let mut number = Number {
        has_plus: place.byte(0)? == Some(b'+'),
        groups: Default::default(),
        digits: [0; DIGITS_MAX],
    };
    let mut next = usize::from(number.has_plus);
    let is_open = place.byte(next)? == Some(b'(');
    next += usize::from(is_open);
    number.groups[0].before = if is_open { b'(' } else { b'\n' };
    let (mut count, mut group, mut end) = (0, 0, None);
    loop {
        while let Some(digit) = place.byte(next)?.filter(u8::is_ascii_digit) {
            if count == DIGITS_MAX {
                return Ok(end.map_or(Look::No, Look::Hit));
            }
            number.digits[count] = digit;
            number.groups[group].digits += 1;
            count += 1;
            next += 1;
        }
        let is_number = match group {
            // Parentheses around the area, not around the whole.
            0 if is_open && place.byte(next)? != Some(b')') => false,
            0 => number.may_begin_so(),
            _ => true,
        };
        if number.groups[group].digits == 0 || !is_number {
            return Ok(end.map_or(Look::No, Look::Hit));
        }
        let separator = separator(place, next, number.has_plus)?;
        // Within a row such as 1.2-3 nothing ends.
        let may_end = place.ends_word(next)?
            && (separator.is_none() || matches!(place.byte(next)?, Some(b' ' | b'\t' | b'/')));
        if may_end && number.is_phone(&number.groups[..=group], &number.digits[..count]) {
            end = Some(next);
        }
        let Some(length) = separator.filter(|_| group + 1 < GROUPS_MAX) else {
            return Ok(end.map_or(Look::No, Look::Hit));
        };
        next += length;
        group += 1;
        number.groups[group].before = place.bytes[place.at + next - 1];
    }
}

/// The bytes between this group and the next; none if no group follows.
/// After a plus, more marks stand in no other number.
fn separator(place: &Place<'_>, start: usize, has_plus: bool) -> Result<Option<usize>, Look> {
    for length in 0..=SEPARATOR_BYTES_MAX {
        match place.byte(start + length)? {
            Some(b' ' | b'-' | b'.' | b'/' | b'(' | b')') => {}
            Some(b'\t' | b'_' | b'~' | b'|' | b'[' | b']' | fold::OTHER) if has_plus => {}
            Some(b'0'..=b'9') if length > 0 => return Ok(Some(length)),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

impl Number {
    /// Told from the first group, so that plain numbers flow on at once.
    fn may_begin_so(&self) -> bool {
        let first = self.groups[0];
        match self.digits[0] {
            _ if self.has_plus => self.digits[0] != b'0',
            b'0' => first.digits > 1 || first.before == b'(',
            b'1' if first.digits == 1 => first.before != b'(',
            b'2'..=b'9' => first.digits == 3,
            _ => false,
        }
    }

    fn is_phone(&self, groups: &[Group], digits: &[u8]) -> bool {
        let is_row = groups.len() == 1;
        // A lone digit may stand after a country, or be the (0) of a trunk; elsewhere it is
        // another number.
        let country = usize::from(groups[0].digits <= 3 && self.has_plus);
        let are_wide = groups
            .iter()
            .skip(1 + country)
            .all(|group| group.digits > 1 || group.before == b'(');
        match digits {
            _ if !are_wide => false,
            _ if self.has_plus => (if is_row { 9 } else { 8 }..=16).contains(&digits.len()),
            [b'0', b'0', b'1'..=b'9', ..] => {
                (if is_row { 12 } else { 10 }..=17).contains(&digits.len())
            }
            [b'0', b'1'..=b'9', ..] if is_row => (10..=11).contains(&digits.len()),
            [b'0', b'1'..=b'9', ..] => {
                (9..=12).contains(&digits.len()) && groups[0].digits <= 6 && !is_date(groups)
            }
            _ => is_north_american(groups, digits),
        }
    }
}

/// `01.02.2026`, or `01.02.26` with something else behind it.
fn is_date(groups: &[Group]) -> bool {
    let [day, month, year, rest @ ..] = groups else {
        return false;
    };
    let same = |group: &Group| group.before == month.before;
    day.digits <= 2
        && month.digits <= 2
        && same(year)
        && (year.digits == 4 || (year.digits == 2 && !rest.first().is_some_and(same)))
}

/// Area and exchange begin with 2 to 9 (NANP). With spaces only, it could be any row of numbers:
/// then the area stands in parentheses, or the country's 1 before it.
fn is_north_american(groups: &[Group], digits: &[u8]) -> bool {
    let (groups, digits, has_country) = match groups {
        [one, rest @ ..] if one.digits == 1 && digits[0] == b'1' => (rest, &digits[1..], true),
        _ => (groups, digits, false),
    };
    let [area, exchange, line] = groups else {
        return false;
    };
    let certain = area.before == b'(' || has_country || exchange.before != b' ';
    (area.digits, exchange.digits, line.digits) == (3, 3, 4)
        && digits[0] > b'1'
        && digits[3] > b'1'
        && matches!(exchange.before, b' ' | b'-' | b'.' | b')')
        && matches!(line.before, b' ' | b'-' | b'.')
        && certain
}
