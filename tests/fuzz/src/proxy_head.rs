//! What a load balancer says first: a head of the PROXY protocol, or not.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    edge::fuzzing::proxy_head(data);
});
