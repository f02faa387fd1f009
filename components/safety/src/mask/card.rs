//! Payment cards: 13 to 19 digits, a prefix that is issued, and a right check digit (ISO/IEC
//! 7812-1, Luhn). Part of `mask`.
//!
//! A model reads a number however its digits are grouped. Of the groups that are printed on cards
//! any marks may stand between them; digits grouped otherwise (in pairs, one by one, in halves)
//! must be as many as the large schemes issue, with one mark throughout, and stand alone.

use super::text::is_gap;
use super::{Look, Place};

const DIGITS_MAX: usize = 19;
/// Characters between two groups, at most; columns of a table stand further apart.
const GAP_BYTES_MAX: usize = 3;
/// Groups of different sizes are rather a row of numbers where they are more.
const UNEVEN_GROUPS_MAX: usize = 4;
/// More digits in each group than this are a half of a card.
const EVEN_DIGITS_MAX: usize = 8;

/// The mark between two groups; a space where there is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    One(u8),
    /// A comma or the like with a space: numbers of a list stand so.
    List,
    Mixed,
}

/// A row of digits in groups.
#[derive(Debug, Default)]
struct Row {
    digits: [u8; DIGITS_MAX],
    count: usize,
    /// Of each group: how many digits were read with it, and where it ends.
    ends: [(usize, usize); DIGITS_MAX],
    groups: usize,
    /// After each group but the last.
    gaps: [Option<Gap>; DIGITS_MAX],
    /// The row goes on behind the last group, with more digits than any card has.
    goes_on: bool,
}

pub(super) fn look(place: &Place<'_>) -> Result<Look, Look> {
    let is_fraction = matches!(place.before, [b'0'..=b'9', b'.' | b',' | b':']);
    if is_fraction || !matches!(place.byte(0)?, Some(b'2'..=b'6')) {
        return Ok(Look::No);
    }
    let row = Row::read(place)?;
    for groups in (1..=row.groups).rev() {
        let (_, end) = row.ends[groups - 1];
        if row.is_card(place, groups) && place.ends_word(end)? {
            return Ok(Look::Hit(end));
        }
    }
    Ok(Look::No)
}

impl Row {
    fn read(place: &Place<'_>) -> Result<Self, Look> {
        let mut row = Self::default();
        let mut next = 0;
        loop {
            while let Some(digit) = place.byte(next)?.filter(u8::is_ascii_digit) {
                if row.count == DIGITS_MAX {
                    row.goes_on = true;
                    return Ok(row);
                }
                row.digits[row.count] = digit - b'0';
                row.count += 1;
                next += 1;
            }
            row.ends[row.groups] = (row.count, next);
            row.groups += 1;
            let length = place.gap(next, GAP_BYTES_MAX, is_gap)?;
            let gap = &place.bytes[place.at + next..place.at + next + length];
            next += length;
            if length == 0 || !place.byte(next)?.is_some_and(|byte| byte.is_ascii_digit()) {
                return Ok(row);
            }
            row.gaps[row.groups - 1] = Some(mark(gap));
            if row.count == DIGITS_MAX {
                row.goes_on = true;
                return Ok(row);
            }
        }
    }

    fn size(&self, group: usize) -> usize {
        let before = group.checked_sub(1).map_or(0, |before| self.ends[before].0);
        self.ends[group].0 - before
    }

    /// The first so many groups are a card's number.
    fn is_card(&self, place: &Place<'_>, groups: usize) -> bool {
        let digits = &self.digits[..self.ends[groups - 1].0];
        let (is_row, is_last) = (groups == 1, groups == self.groups && !self.goes_on);
        if !is_issued(digits) || !luhn(digits) {
            return false;
        }
        if is_row {
            return is_last || self.gaps[0].is_some();
        }
        self.is_printed(groups) || (is_common(digits) && self.stands_alone(place, groups))
    }

    fn is_printed(&self, groups: usize) -> bool {
        let mut sizes = [0; 5];
        let Some(sizes) = sizes.get_mut(..groups) else {
            return false;
        };
        for (group, size) in sizes.iter_mut().enumerate() {
            *size = self.size(group);
        }
        matches!(
            sizes,
            [4, 4, 4, 4] | [4, 4, 4, 4, 1..=3] | [4, 6, 5] | [4, 6, 4]
        )
    }

    /// Groups of one size, or few, with one mark between them and none of it before or behind.
    fn stands_alone(&self, place: &Place<'_>, groups: usize) -> bool {
        let mark = self.gaps[0];
        let behind = self.gaps[groups - 1];
        let is_behind_number = match place.before {
            [b'0'..=b'9', before] => mark == Some(self::mark(&[before])),
            _ => false,
        };
        let first = self.size(0);
        let is_list = matches!(mark, Some(Gap::List | Gap::One(b',' | b';' | b':')));
        let is_even = first <= EVEN_DIGITS_MAX
            && !(mark == Some(Gap::List) && matches!(first, 2 | 3))
            && (1..groups - 1).all(|group| self.size(group) == first)
            && self.size(groups - 1) <= first;
        let is_few = groups <= UNEVEN_GROUPS_MAX
            && !is_list
            && (0..groups).all(|group| self.size(group) > 1);
        mark != Some(Gap::Mixed)
            && self.gaps[..groups - 1].iter().all(|gap| *gap == mark)
            && (behind.is_none() || behind != mark)
            && !(groups == self.groups && self.goes_on)
            && !is_behind_number
            && (is_even || is_few)
    }
}

/// Spaces beside another mark count for nothing.
fn mark(gap: &[u8]) -> Gap {
    let mut marks = gap.iter().filter(|byte| !byte.is_ascii_whitespace());
    match marks.next() {
        None => Gap::One(b' '),
        Some(b',' | b';') if gap.len() > 1 && marks.next().is_none() => Gap::List,
        Some(mark) if marks.all(|other| other == mark) => Gap::One(*mark),
        Some(_) => Gap::Mixed,
    }
}

/// Prefixes and lengths of the large schemes.
fn is_issued(digits: &[u8]) -> bool {
    matches!(
        (prefix(digits), digits.len()),
        (4000..=4999, 13 | 16 | 19)
            | (5100..=5599 | 2221..=2720, 16)
            | (3400..=3499 | 3700..=3799, 15)
            | (3000..=3099 | 3600..=3699 | 3800..=3999, 14..=19)
            | (3528..=3589, 16..=19)
            | (6000..=6999, 16..=19)
            | (5000..=5099 | 5600..=5999, 13..=19)
    )
}

/// The same of the cards that nearly all have.
fn is_common(digits: &[u8]) -> bool {
    matches!(
        (prefix(digits), digits.len()),
        (4000..=4999 | 5100..=5599 | 2221..=2720 | 3528..=3589, 16)
            | (6011 | 6200..=6299 | 6440..=6599, 16)
            | (3400..=3499 | 3700..=3799, 15)
            | (3000..=3059 | 3600..=3699 | 3800..=3899, 14)
    )
}

fn prefix(digits: &[u8]) -> u32 {
    let first = digits.iter().take(4);
    first.fold(0, |prefix, digit| prefix * 10 + u32::from(*digit))
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
