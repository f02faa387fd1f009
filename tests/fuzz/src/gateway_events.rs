//! A backend's stream of events, cut where the first two bytes say: both ways the same events
//! come out.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first_chunk() else {
        return;
    };
    gateway::fuzzing::events(stream, usize::from(u16::from_le_bytes(*cut)));
});
