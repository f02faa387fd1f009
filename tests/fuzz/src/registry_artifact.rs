//! What a registry sends: a line with an artifact's manifest, then a locked application.
//! They are refused, or reach nothing of this machine but what was pulled.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (manifest, locked) = data.split_at(end.unwrap_or(0));
    edge::fuzzing::registry_artifact(manifest, locked);
});
