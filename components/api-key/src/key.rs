//! The written form of an API key: prefix, secret, checksum.
//!
//! `auth` reads it from a header, `directory` makes new ones. It does not know which keys exist.
//! The form follows what GitHub published about its tokens: a prefix that secret scanners find,
//! and a CRC-32 in base 62 that tells a mistyped key without a look-up.

use sha2::{Digest, Sha256};

/// What every key begins with.
pub const PREFIX: &str = "sk-skerry-";
/// Random characters: 40 of base 62 are 238 bits.
const SECRET_CHARS: usize = 40;
/// 62^6 is more than 2^32.
const CHECKSUM_CHARS: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A well-formed key. It has no `Debug` and no `Display`, so it cannot slip into a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key in a text, if it has the written form and its checksum is right.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        if rest.len() != SECRET_CHARS + CHECKSUM_CHARS
            || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return None;
        }
        let (signed, checksum) = text.split_at(text.len() - CHECKSUM_CHARS);
        (written_checksum(signed) == checksum).then(|| Self(text.to_owned()))
    }

    /// A new key from random bytes.
    pub fn make<E>(fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let signed = format!("{PREFIX}{}", random_word(SECRET_CHARS, fill)?);
        let checksum = written_checksum(&signed);
        Ok(Self(signed + &checksum))
    }

    /// SHA-256 in hexadecimal: what is stored and asked for instead of the key. (A slow hash
    /// protects guessable passwords; 238 random bits cannot be guessed.)
    pub fn sha256(&self) -> String {
        format!("{:x}", Sha256::digest(self.0.as_bytes()))
    }

    /// What may be shown later: the last four characters.
    pub fn redacted(&self) -> String {
        format!("sk-...{}", &self.0[self.0.len() - 4..])
    }

    /// The key itself, to be shown to its owner once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A word of base 62, each character equally likely.
pub fn random_word<E>(
    chars: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<String, E> {
    /// The largest multiple of 62 in a byte: what is above it is thrown away.
    const FAIR: u8 = 248;
    let mut word = String::with_capacity(chars);
    let mut bytes = [0; 64];
    while word.len() < chars {
        fill(&mut bytes)?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR);
        let letters = fair.map(|byte| char::from(ALPHABET[usize::from(*byte % 62)]));
        word.extend(letters.take(chars - word.len()));
    }
    Ok(word)
}

fn written_checksum(signed: &str) -> String {
    let mut rest = crc32(signed.as_bytes());
    let mut written = [b'0'; CHECKSUM_CHARS];
    for place in written.iter_mut().rev() {
        *place = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    written.iter().map(|byte| char::from(*byte)).collect()
}

/// CRC-32 as in ISO-HDLC (reflected, polynomial 0x04C11DB7).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn made(seed: u8) -> Key {
        let mut next = seed;
        let fill = |bytes: &mut [u8]| {
            for byte in bytes {
                next = next.wrapping_mul(73).wrapping_add(41);
                *byte = next;
            }
            Ok::<_, Infallible>(())
        };
        Key::make(fill).unwrap()
    }

    #[test]
    fn the_checksum_is_the_published_crc() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_made_key_reads_back() {
        let key = made(7);
        assert_eq!(key.reveal().len(), PREFIX.len() + 46);
        assert!(Key::parse(key.reveal()).is_some_and(|read| read == key));
        assert_eq!(key.sha256().len(), 64);
        assert_eq!(key.redacted().len(), "sk-...".len() + 4);
        assert!(made(8).sha256() != key.sha256());
    }

    #[test]
    fn every_single_mistyped_character_is_noticed() {
        let text = made(3).reveal().to_owned();
        for place in 0..text.len() {
            for letter in ["0", "z", "A", "-", "é"] {
                let mut mistyped = text.clone();
                if &text[place..=place] != letter {
                    mistyped.replace_range(place..=place, letter);
                    assert!(Key::parse(&mistyped).is_none(), "{place} {letter}");
                }
            }
        }
        for other in [
            "",
            "sk-",
            "sk-proj-abc",
            &text[1..],
            &text[..text.len() - 1],
        ] {
            assert!(Key::parse(other).is_none(), "{other}");
        }
        assert!(Key::parse(&format!("{text} ")).is_none());
    }

    #[test]
    fn letters_are_about_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let fill = |bytes: &mut [u8]| {
            for byte in bytes {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = (state >> 32) as u8;
            }
            Ok::<_, Infallible>(())
        };
        for letter in random_word(62_000, fill).unwrap().chars() {
            *counts.entry(letter).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 62);
        assert!(
            counts.values().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }
}
