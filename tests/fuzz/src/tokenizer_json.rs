//! A model's `tokenizer.json`. Either it is refused, or it encodes and decodes.
#![no_main]
#![expect(
    clippy::unwrap_used,
    reason = "a fuzz target may not go on without its folder"
)]

use std::sync::LazyLock;
use std::{fs, panic};

use gpu_backend::tokenizer::Tokenizer;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const TEXT: &str = "Hello, wörld <s>\u{1F600}</s> 42\n";

static DIR: LazyLock<TempDir> = LazyLock::new(|| {
    // The fuzzer's own hook ends the run at any panic, and so at those of the library that
    // loading catches. One that nobody catches ends the run all the same.
    panic::set_hook(Box::new(|_| {}));
    tempfile::tempdir().unwrap()
});

fuzz_target!(|data: &[u8]| {
    fs::write(DIR.path().join("tokenizer.json"), data).unwrap();
    let Ok(tokenizer) = Tokenizer::load(DIR.path()) else {
        return;
    };
    let Ok(ids) = tokenizer.encode(TEXT, true) else {
        return;
    };
    let whole = tokenizer.decode(&ids, false);
    let mut stream = tokenizer.stream(false);
    let mut text: String = ids.iter().map(|id| stream.push(*id)).collect();
    text.push_str(&stream.finish());
    drop((whole, text, tokenizer.defuse(TEXT).len()));
});
