//! E-mail addresses: `local@domain.tld`, at word borders. Part of `mask`.
//!
//! RFC 5321 (4.5.3.1) allows 64 bytes before the `@`. Quoted local parts and addresses without a
//! dot in the domain are not looked for. The domain ends at its last part of two letters or more.
//!
//! Files (`icon@2x.png`), units (`getty@tty1.service`), versions (`pkg@1.2.3-rc.one`) and places
//! to copy from (`git@github.com:org/repo.git`) are written like addresses and are none. A list
//! of the domains that exist would be out of date each month, so what can be none is listed.

use super::text::{is_word, word_char};
use super::{Look, Place};

const LOCAL_BYTES_MAX: usize = 64;
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
    // An end before the end of a file.
    let mut common_end = None;
    let mut version = Version::default();
    loop {
        let part = next;
        let letters = label(place, start, &mut next)?;
        version.read(parts, &place.bytes[part..next]);
        let name = &place.bytes[part..part + letters];
        let after = place.bytes.get(part + letters).copied();
        if parts > 0 && letters >= 2 && !after.is_some_and(is_word) {
            end = Some(part + letters);
            if is_in(&NO_DOMAINS, name) {
                end = common_end;
            } else if is_in(&COMMON_DOMAINS, name) {
                common_end = end;
            }
        }
        let full = next - start >= DOMAIN_BYTES_MAX;
        if next == part || full || place.byte(next - place.at)? != Some(b'.') {
            // A domain that goes on past the limit is cut there.
            let end = if full && parts > 0 { Some(next) } else { end };
            let Some(end) = end.filter(|_| !version.is_version()) else {
                return Ok(Look::No);
            };
            let is_place = end == next && is_path(place, end - place.at)?;
            return Ok(if is_place {
                Look::No
            } else {
                Look::Hit(end - place.at)
            });
        }
        parts += 1;
        next += 1;
    }
}

/// Reads one part of the domain from `next` on; returns the bytes of letters at its beginning.
fn label(place: &Place<'_>, start: usize, next: &mut usize) -> Result<usize, Look> {
    let (part, mut letters) = (*next, 0);
    while *next - start < DOMAIN_BYTES_MAX {
        match place.byte(*next - place.at)? {
            Some(b'-') if *next > part => *next += 1,
            Some(byte) => match word_char(place.bytes, *next) {
                0 => break,
                length => {
                    let is_letter = !byte.is_ascii_digit() && *next == part + letters;
                    *next += length;
                    letters += if is_letter { length } else { 0 };
                }
            },
            None => break,
        }
    }
    Ok(letters)
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
fn is_path(place: &Place<'_>, colon: usize) -> Result<bool, Look> {
    if place.byte(colon)? != Some(b':') {
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
        for list in [&NO_DOMAINS[..], &COMMON_DOMAINS] {
            assert!(list.is_sorted());
            assert!(list.iter().all(|end| end.len() <= NO_DOMAIN_BYTES_MAX));
        }
    }
}
