//! A `spin.toml`: it is taken, or a message says what is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        edge::fuzzing::manifest(text);
    }
});
