//! Words of the view, and how far to go on where nothing is found. Part of `mask`; knows no kind of
//! secret.

use super::Place;
use crate::view::fold;

/// Stands in `before` where something was left out, or where a word was cut: another may begin.
pub(super) const BREAK: u8 = b'*';
/// Stands in `before` for the last letter of a word that has digits too.
const MIXED: u8 = 0x84;
/// A longer word is passed piece by piece: at each, an address may begin.
const PIECE_BYTES_MAX: usize = 128;

/// A letter or digit, but of a script that puts no spaces between words: a number right after Han
/// characters is still seen.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, fold::LETTER | MIXED)
}

pub(super) fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == fold::LETTER
}

/// Before it stands a word that is not of letters alone.
fn has_digits(before: u8) -> bool {
    is_word(before) && !is_letter(before)
}

/// What stands before the place after `passed` (not empty), which stood after `before`.
pub(super) fn before(before: u8, passed: &[u8]) -> u8 {
    let Some(last) = passed.last() else {
        return before;
    };
    let is_of_letters = !has_digits(before) && passed.iter().all(|byte| is_letter(*byte));
    let is_mixed = !is_of_letters && is_letter(*last) && passed.iter().all(|byte| is_word(*byte));
    if is_mixed { MIXED } else { *last }
}

/// A space or a mark, such as may stand within a value.
pub(super) fn is_gap(byte: u8) -> bool {
    !is_word(byte) && byte != fold::WIDE
}

/// From a place with nothing to find to the next at which something could begin: past a word, the
/// letters before a number, or one character. At least 1.
pub(super) fn step(place: &Place<'_>) -> usize {
    let rest = &place.bytes[place.at..];
    let run = match rest[0] {
        fold::WIDE => run(rest, |byte| byte == fold::WIDE),
        first if is_letter(first) && !has_digits(place.before[1]) => run(rest, is_letter),
        _ => run(rest, is_word),
    };
    if place.breaks.is_empty() {
        return run.max(1);
    }
    let next = place.breaks.partition_point(|at| *at <= place.at);
    let until_break = place.breaks.get(next).map_or(run, |at| at - place.at);
    run.min(until_break).max(1)
}

fn run(bytes: &[u8], is_part: impl Fn(u8) -> bool) -> usize {
    let bytes = &bytes[..bytes.len().min(PIECE_BYTES_MAX)];
    let end = bytes.iter().position(|byte| !is_part(*byte));
    end.unwrap_or(bytes.len())
}

/// A word that goes on was cut at `next`.
pub(super) fn is_cut(place: &Place<'_>, next: usize) -> bool {
    next - place.at == PIECE_BYTES_MAX && place.bytes.get(next).is_none_or(|byte| is_word(*byte))
}
