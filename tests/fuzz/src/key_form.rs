//! A key's written form. The text is a key only if it is written as keys are; and from bytes
//! that are taken for random a key is made that reads back, and that no single other
//! character leaves one.
#![no_main]
#![expect(clippy::unwrap_used, reason = "a source that cannot fail")]

use std::convert::Infallible;

use api_key::Key;
use api_key::key::PREFIX;
use libfuzzer_sys::fuzz_target;

const KEY_BYTES: usize = PREFIX.len() + 46;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(key) = Key::parse(text)
    {
        is_whole(&key, text);
    }
    let [place, letter, source @ ..] = data else {
        return;
    };
    let key = made(source);
    let text = key.reveal().to_owned();
    is_whole(&key, &text);
    assert!(Key::parse(&text).is_some_and(|read| read == key));

    let place = usize::from(*place) % text.len();
    let mut other = text.clone().into_bytes();
    if letter.is_ascii() && other[place] != *letter {
        other[place] = *letter;
        let other = String::from_utf8(other).unwrap();
        assert!(Key::parse(&other).is_none(), "{place}: {letter}");
    }
});

fn is_whole(key: &Key, text: &str) {
    assert_eq!(key.reveal(), text);
    assert_eq!(text.len(), KEY_BYTES);
    assert_eq!(key.sha256().len(), 64);
    assert!(!key.redacted().contains(&text[PREFIX.len()..text.len() - 4]));
}

/// A key from these bytes over and over. What is counted beside them keeps a source of one
/// byte that is thrown away from being asked for ever.
fn made(source: &[u8]) -> Key {
    let mut next = 0_usize;
    let fill = |bytes: &mut [u8]| {
        for byte in bytes {
            let given = source.get(next % source.len().max(1)).copied();
            *byte = given.unwrap_or(0).wrapping_add((next / 64) as u8);
            next += 1;
        }
        Ok::<_, Infallible>(())
    };
    Key::make(fill).unwrap()
}
