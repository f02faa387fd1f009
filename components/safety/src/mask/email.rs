//! E-mail addresses: `local@domain.tld`, at word borders. Part of `mask`.
//!
//! RFC 5321 (4.5.3.1) allows 64 bytes before the `@`; more are read, and of a longer word the last.
//! The signs may be spelled `[at]` and `[dot]`, or stand apart. Quoted local parts and addresses without a
//! dot in the domain are not looked for. The domain ends at its last part of two letters or more.
//!
//! Files (`icon@2x.png`), units (`getty@tty1.service`), versions (`pkg@1.2.3-rc.one`) and places
//! to copy from (`git@github.com:org/repo.git`) are written like addresses and are none. A list
//! of the domains that exist would be out of date each month, so what can be none is listed.

use super::text::is_word;
use super::{Look, Place};
use crate::view::fold;

const LOCAL_BYTES_MAX: usize = 256;
const SPACES_MAX: usize = 2;
const DOMAIN_BYTES_MAX: usize = 128;
/// How far a path is looked for after the colon behind a host.
const PATH_BYTES_MAX: usize = 64;

/// Ends of files, of systemd's units and of names in a local network, which are no domains that
/// take mail; sorted. Those that are (`ai`, `app`, `pl`, `py`, `rs`, `sh`, `zip`, …) are not here.
#[rustfmt::skip]
const NO_DOMAINS: [&str; 110] = [
    "apk", "automount", "avi", "avif", "bak", "bat", "bib", "bin", "bmp", "cfg", "cjs", "cmd",
    "conf", "cpp", "crt", "css", "csv", "deb", "device", "diff", "dll", "dmg", "doc", "docx",
    "eot", "exe", "flac", "gif", "git", "gradle", "gz", "heic", "hpp", "htm", "html", "ico",
    "ini", "ipynb", "iso", "jar", "java", "jpeg", "jpg", "js", "json", "jsonl", "jsx", "key",
    "kt", "local", "localdomain", "lock", "log", "lua", "mjs", "mkv", "mount", "msi", "ogg",
    "orig", "otf", "patch", "path", "pdf", "pem", "php", "plist", "png", "ppt", "pptx", "psd",
    "rar", "rb", "rpm", "rst", "sass", "scope", "scss", "service", "slice", "socket", "sql",
    "sqlite", "svelte", "svg", "swap", "swp", "tar", "target", "tex", "tgz", "tif", "tiff",
    "timer", "tmp", "toml", "ts", "tsv", "tsx", "ttf", "txt", "vue", "wasm", "wav", "webm",
    "webp", "woff", "xls", "xlsx", "xml",
];
const NO_DOMAIN_BYTES_MAX: usize = 11;
/// A file may be named for an address: before its end, these end the address.
const COMMON_DOMAINS: [&str; 5] = ["com", "edu", "gov", "net", "org"];
/// Behind a sign with spaces beside it; sorted.
#[rustfmt::skip]
const APART_DOMAINS: [&str; 56] = [
    "ai", "app", "ar", "at", "au", "be", "biz", "br", "ca", "ch", "cl", "cn", "co", "com", "cz",
    "de", "dev", "dk", "edu", "es", "eu", "fi", "fr", "gov", "gr", "hu", "ie", "il", "in", "info",
    "io", "it", "jp", "kr", "me", "mx", "net", "nl", "no", "nz", "org", "pl", "pt", "ro", "ru",
    "se", "sg", "sk", "su", "tr", "tw", "ua", "uk", "us", "xyz", "za",
];

/// How far a word is known to have no `@`, so that it is read once and not from each of its parts
/// again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    until: usize,
    /// What stands at `until` is no character of an address.
    is_end: bool,
}

pub(super) fn look(place: &Place<'_>, seen: &mut Seen) -> Result<Look, Look> {
    let is_wide = place.bytes[place.at] == fold::WIDE;
    // A word of a script without spaces is looked at from its beginning alone.
    let mut own = Seen::default();
    let seen = if is_wide { &mut own } else { seen };
    let mut next = place.at.max(seen.until);
    if seen.until <= place.at {
        seen.is_end = false;
    }
    while !seen.is_end {
        if next - place.at > LOCAL_BYTES_MAX {
            seen.until = next;
            return Ok(Look::No);
        }
        match local_char(place, next - place.at, is_wide)? {
            0 => seen.is_end = true,
            length => next += length,
        }
    }
    seen.until = next;
    let local = next - place.at;
    if is_between_words(place, local)? {
        return Ok(Look::No);
    }
    match at_sign(place, local)? {
        Some((length, at)) if local <= LOCAL_BYTES_MAX => {
            let found = domain(place, next + length, at)?;
            let is_long = at != At::Apart || local > 1;
            Ok(if is_long { found } else { Look::No })
        }
        _ => Ok(Look::No),
    }
}

/// The sign between the two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Plain,
    /// With spaces beside it.
    Apart,
    /// `[at]`, `(at)`, `[@]`: the dots may be spelled so too.
    Bracketed,
}

/// The most frequent case: a space, and another word.
fn is_between_words(place: &Place<'_>, ahead: usize) -> Result<bool, Look> {
    Ok(place.byte(ahead)? == Some(b' ') && place.byte(ahead + 1)?.is_some_and(is_word))
}

/// The sign at `ahead`, and its bytes.
fn at_sign(place: &Place<'_>, ahead: usize) -> Result<Option<(usize, At)>, Look> {
    let before = place.gap(ahead, SPACES_MAX, is_space)?;
    let start = ahead + before;
    if place.byte(start)? == Some(b'@') {
        let after = place.gap(start + 1, SPACES_MAX, is_space)?;
        let at = if before + after > 0 {
            At::Apart
        } else {
            At::Plain
        };
        return Ok(Some((before + 1 + after, at)));
    }
    let signs: [&[u8]; 2] = [b"at", b"@"];
    for sign in signs {
        if let Some(length) = bracketed(place, start, sign)? {
            let after = place.gap(start + length, SPACES_MAX, is_space)?;
            return Ok(Some((before + length + after, At::Bracketed)));
        }
    }
    Ok(None)
}

/// The bytes of a word in brackets.
fn bracketed(place: &Place<'_>, ahead: usize, word: &[u8]) -> Result<Option<usize>, Look> {
    let close = match place.byte(ahead)? {
        Some(b'[') => b']',
        Some(b'(') => b')',
        Some(b'{') => b'}',
        Some(b'<') => b'>',
        _ => return Ok(None),
    };
    let mut next = ahead + 1;
    next += place.gap(next, 1, is_space)?;
    for letter in word {
        if !place
            .byte(next)?
            .is_some_and(|byte| byte.eq_ignore_ascii_case(letter))
        {
            return Ok(None);
        }
        next += 1;
    }
    next += place.gap(next, 1, is_space)?;
    Ok((place.byte(next)? == Some(close)).then_some(next + 1 - ahead))
}

/// The bytes of a dot in brackets, with spaces beside it.
fn bracketed_dot(place: &Place<'_>, ahead: usize) -> Result<Option<usize>, Look> {
    let before = place.gap(ahead, 1, is_space)?;
    let words: [&[u8]; 3] = [b"dot", b"point", b"."];
    for word in words {
        if let Some(length) = bracketed(place, ahead + before, word)? {
            let after = place.gap(ahead + before + length, 1, is_space)?;
            return Ok(Some(before + length + after));
        }
    }
    Ok(None)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn local_char(place: &Place<'_>, ahead: usize, is_wide: bool) -> Result<usize, Look> {
    Ok(match place.byte(ahead)? {
        Some(b'.' | b'_' | b'%' | b'+' | b'-' | b'\'' | b'&' | b'!' | b'#' | b'$' | b'=') => 1,
        Some(fold::WIDE) => usize::from(is_wide),
        Some(byte) if is_word(byte) => usize::from(!is_wide || byte.is_ascii_digit()),
        Some(b' ') if is_between_words(place, ahead)? => 0,
        Some(b' ' | b'[' | b'(' | b'{' | b'<') => match bracketed_dot(place, ahead)? {
            // The local part goes on behind it.
            Some(length) if place.byte(ahead + length)?.is_some_and(is_word) => length,
            _ => 0,
        },
        _ => 0,
    })
}

fn domain(place: &Place<'_>, start: usize, at: At) -> Result<Look, Look> {
    let (mut next, mut end, mut parts) = (start, None, 0);
    // An end before the end of a file.
    let mut common_end = None;
    let mut version = Version::default();
    loop {
        let part = next;
        let letters = label(place, start, &mut next)?;
        version.read(parts, &place.bytes[part..next]);
        let name = &place.bytes[part..part + letters];
        let after = place.bytes.get(part + letters).copied();
        if parts == 0 && at == At::Apart && is_prefix_of_page(name) {
            return Ok(Look::No);
        }
        if parts > 0 && letters >= 2 && !after.is_some_and(is_word) {
            end = Some(part + letters);
            if is_in(&NO_DOMAINS, name) || (at == At::Apart && !may_stand_apart(name)) {
                end = common_end;
            } else if is_in(&COMMON_DOMAINS, name) {
                common_end = end;
            }
        }
        let full = next - start >= DOMAIN_BYTES_MAX;
        let dot = if next == part || full {
            None
        } else {
            dot(place, part, next, at)?
        };
        let Some(dot) = dot else {
            // A domain that goes on past the limit is cut there.
            let end = if full && parts > 0 { Some(next) } else { end };
            let Some(end) = end.filter(|_| !version.is_version()) else {
                return Ok(Look::No);
            };
            let is_place = end == next && is_path(place, end - place.at, at)?;
            return Ok(if is_place {
                Look::No
            } else {
                Look::Hit(end - place.at)
            });
        };
        parts += 1;
        next += dot;
    }
}

/// The bytes of the dot behind the label from `part` to `end`.
fn dot(place: &Place<'_>, part: usize, end: usize, at: At) -> Result<Option<usize>, Look> {
    let ahead = end - place.at;
    Ok(match place.byte(ahead)? {
        Some(b'.') => Some(1),
        // In a text of such a script it is a sentence's end, unless it joins what is alike.
        Some(fold::STOP) => {
            let next = place.byte(ahead + 1)?;
            let is_wide = place.bytes[part] == fold::WIDE;
            let joins = next.is_some_and(|byte| is_word(byte) || byte == fold::WIDE);
            (joins && (next == Some(fold::WIDE)) == is_wide).then_some(1)
        }
        Some(b' ' | b'[' | b'(' | b'{' | b'<') => match bracketed_dot(place, ahead)? {
            None if at == At::Bracketed => spaced_dot(place, ahead)?,
            found => found,
        },
        _ => None,
    })
}

/// ` dot `, as it is only read behind an `[at]`.
fn spaced_dot(place: &Place<'_>, ahead: usize) -> Result<Option<usize>, Look> {
    let before = place.gap(ahead, SPACES_MAX, is_space)?;
    let mut next = ahead + before;
    if place.byte(next)? == Some(b'.') {
        next += 1;
    } else {
        for letter in b"dot" {
            if !place
                .byte(next)?
                .is_some_and(|byte| byte.eq_ignore_ascii_case(letter))
            {
                return Ok(None);
            }
            next += 1;
        }
    }
    let after = place.gap(next, SPACES_MAX, is_space)?;
    let goes_on = place.byte(next + after)?.is_some_and(is_word);
    Ok((after > 0 && goes_on).then_some(next + after - ahead))
}

/// Reads one part of the domain from `next` on; returns the bytes of letters at its beginning. A
/// part is of one kind of script.
fn label(place: &Place<'_>, start: usize, next: &mut usize) -> Result<usize, Look> {
    let (part, mut letters) = (*next, 0);
    let is_wide = place.byte(part - place.at)? == Some(fold::WIDE);
    while *next - start < DOMAIN_BYTES_MAX {
        match place.byte(*next - place.at)? {
            Some(b'-') if *next > part => *next += 1,
            Some(b'_') => *next += 1,
            Some(byte) if is_word(byte) || byte == fold::WIDE => {
                if is_wide != (byte == fold::WIDE) && !byte.is_ascii_digit() {
                    break;
                }
                let is_letter = !byte.is_ascii_digit() && *next == part + letters;
                *next += 1;
                letters += usize::from(is_letter);
            }
            _ => break,
        }
    }
    // An international name in ASCII (RFC 5890, 2.3.2.1).
    let name = &place.bytes[part..*next];
    let is_encoded = name.len() > 4 && name[..4].eq_ignore_ascii_case(b"xn--");
    Ok(if is_encoded { name.len() } else { letters })
}

/// An address of a page, at which somebody is met.
fn is_prefix_of_page(name: &[u8]) -> bool {
    name.len() < 2 || name.eq_ignore_ascii_case(b"www")
}

/// A sign with spaces beside it is an operator too: only domains that nearly all have are behind
/// it, and those of other scripts.
fn may_stand_apart(name: &[u8]) -> bool {
    !name.is_ascii() || is_in(&APART_DOMAINS, name)
}

fn is_in(sorted: &[&str], name: &[u8]) -> bool {
    let mut lower = [0; NO_DOMAIN_BYTES_MAX];
    let Some(lower) = lower.get_mut(..name.len()) else {
        return false;
    };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let found = sorted.binary_search_by(|known| known.as_bytes().cmp(lower));
    found.is_ok()
}

/// Returns true for the parts of a version: `1.2`, `v1.20`.
#[derive(Debug, Default)]
struct Version {
    numbers: usize,
}

impl Version {
    fn read(&mut self, index: usize, part: &[u8]) {
        let digits = match part {
            [b'v', digits @ ..] if index == 0 => digits,
            digits => digits,
        };
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        self.numbers += usize::from(is_number && index < 2);
    }

    fn is_version(&self) -> bool {
        self.numbers == 2
    }
}

/// A colon and a path, as `scp` and `git` have behind a host, or a shell in its prompt. A port
/// with a path behind it is none: before it stands a password's end, as in
/// `https://user:pass@example.com:443/path`.
fn is_path(place: &Place<'_>, colon: usize, at: At) -> Result<bool, Look> {
    if at != At::Plain || place.byte(colon)? != Some(b':') {
        return Ok(false);
    }
    let mut is_number = true;
    for length in 0..PATH_BYTES_MAX {
        match place.byte(colon + 1 + length)? {
            Some(b'~') if length == 0 => return Ok(true),
            Some(b'/') => return Ok(length == 0 || !is_number),
            Some(byte) if byte.is_ascii_alphanumeric() || b"._~+-".contains(&byte) => {
                is_number &= byte.is_ascii_digit();
            }
            _ => {
                let path = place.at + colon + 1;
                return Ok(place.bytes[path..path + length].ends_with(b".git"));
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_sorted_to_be_searched() {
        for list in [&NO_DOMAINS[..], &COMMON_DOMAINS, &APART_DOMAINS] {
            assert!(list.is_sorted());
            assert!(list.iter().all(|end| end.len() <= NO_DOMAIN_BYTES_MAX));
        }
    }
}
