//! A checkpoint's file: its header, offsets and shapes may say anything. Either the model
//! is loaded, or an error says what is wrong.
#![no_main]
#![expect(
    clippy::unwrap_used,
    reason = "a fuzz target may not go on without its folder"
)]

use std::fs;
use std::sync::LazyLock;

use gpu_backend::backend::{self, DeviceKind, Precision};
use gpu_backend::loader;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// As small as an architecture can be, so that a whole checkpoint is found by mutation.
const CONFIG: &str = r#"{"architectures":["LlamaForCausalLM"],"vocab_size":2,"hidden_size":2,
"intermediate_size":1,"num_hidden_layers":1,"num_attention_heads":1,"num_key_value_heads":1,
"max_position_embeddings":4,"tie_word_embeddings":true}"#;

static DIR: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    dir
});

fuzz_target!(|data: &[u8]| {
    fs::write(DIR.path().join("model.safetensors"), data).unwrap();
    let device = backend::open(DeviceKind::Cpu).unwrap();
    drop(loader::load(DIR.path(), Precision::F32, &device));
});
