//! A stream of HTTP/1 requests, cut where the first two bytes say: both ways are read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first_chunk() else {
        return;
    };
    edge::fuzzing::framing(stream, usize::from(u16::from_le_bytes(*cut)));
});
