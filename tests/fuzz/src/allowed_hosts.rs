//! A line of `allowed_outbound_hosts` and, on the next line, where a component wants to go.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some((grant, url)) = text.split_once('\n') {
        edge::fuzzing::allowed_hosts(grant, url);
    }
});
