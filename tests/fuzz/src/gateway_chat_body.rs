//! A chat request's body, as the gateway reads it: it is taken, or a message says what is
//! wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    gateway::fuzzing::chat_body(data);
});
