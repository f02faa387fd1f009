//! E-mail addresses: `local@domain.tld`, at word borders. Part of `mask`.
//!
//! RFC 5321 (4.5.3.1) allows 64 bytes before the `@`. Quoted local parts and addresses without a
//! dot in the domain are not looked for. The domain ends at its last part of two letters or more.

use super::text::{is_word, word_char};
use super::{Look, Place};

const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 128;

/// How far a word is known to have no `@`, so that it is read once and not from each of its parts
/// again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    until: usize,
    /// What stands at `until` is no character of an address.
    is_end: bool,
}

pub(super) fn look(place: &Place<'_>, seen: &mut Seen) -> Result<Look, Look> {
    let mut next = place.at.max(seen.until);
    if seen.until <= place.at {
        seen.is_end = false;
    }
    while !seen.is_end {
        if next - place.at > LOCAL_BYTES_MAX {
            seen.until = next;
            return Ok(Look::No);
        }
        match local_char(place, next)? {
            0 => seen.is_end = true,
            length => next += length,
        }
    }
    seen.until = next;
    if next - place.at > LOCAL_BYTES_MAX || place.byte(next - place.at)? != Some(b'@') {
        return Ok(Look::No);
    }
    domain(place, next + 1)
}

fn local_char(place: &Place<'_>, at: usize) -> Result<usize, Look> {
    Ok(match place.byte(at - place.at)? {
        Some(b'.' | b'_' | b'%' | b'+' | b'-' | b'\'' | b'&') => 1,
        Some(_) => word_char(place.bytes, at),
        None => 0,
    })
}

fn domain(place: &Place<'_>, start: usize) -> Result<Look, Look> {
    let (mut next, mut end, mut parts) = (start, None, 0);
    loop {
        let part = next;
        let mut letters = 0;
        while next - start < DOMAIN_BYTES_MAX {
            match place.byte(next - place.at)? {
                Some(b'-') if next > part => next += 1,
                Some(byte) => match word_char(place.bytes, next) {
                    0 => break,
                    length => {
                        let is_letter = !byte.is_ascii_digit() && next == part + letters;
                        next += length;
                        letters += if is_letter { length } else { 0 };
                    }
                },
                None => break,
            }
        }
        let after = place.bytes.get(part + letters).copied();
        if parts > 0 && letters >= 2 && !after.is_some_and(is_word) {
            end = Some(part + letters);
        }
        let full = next - start >= DOMAIN_BYTES_MAX;
        if next == part || full || place.byte(next - place.at)? != Some(b'.') {
            // A domain that goes on past the limit is cut there.
            let end = if full && parts > 0 { Some(next) } else { end };
            return Ok(end.map_or(Look::No, |end| Look::Hit(end - place.at)));
        }
        parts += 1;
        next += 1;
    }
}
