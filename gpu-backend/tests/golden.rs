//! Our logits against those of `transformers`, for a small random model of every family
//! (`golden/make.py`): whole prefill, chunked prefill with paged decoding, and in a
//! batch with others; largest error 1e-3 and the same best token at every position. And
//! greedy continuations, equal token by token.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use gpu_backend::backend::{self, DeviceKind, Precision};
use gpu_backend::loader;
use gpu_backend::runner::Runner;
use gpu_backend::scheduler::{Limits, Scheduler, SequenceId};
use safetensors::SafeTensors;
use serde_json::json;

const MODELS: [&str; 8] = [
    "llama2", "llama3", "smollm2", "mistral", "qwen2", "qwen3", "gemma2", "gemma3",
];
const ERROR_MAX: f32 = 1e-3;

/// A sequence and the logits after each of its tokens.
struct Golden {
    tokens: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder(name).join("golden.safetensors")).unwrap()
}

fn tokens(file: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let tensor = file.tensor(name).unwrap();
    let chunks = tensor.data().as_chunks::<4>().0;
    chunks.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

fn golden(name: &str) -> Vec<Golden> {
    let bytes = file(name);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let count = file.len() / 2;
    (0..count)
        .map(|i| {
            let logits = file.tensor(&format!("logits.{i}")).unwrap();
            let vocab = logits.shape()[1];
            let values: Vec<f32> = logits
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect();
            Golden {
                tokens: tokens(&file, &format!("tokens.{i}")),
                logits: values.chunks(vocab).map(<[f32]>::to_vec).collect(),
            }
        })
        .collect()
}

/// The CPU, or the device that `SKERRY_TEST_DEVICE` names.
fn device() -> Device {
    let name = std::env::var("SKERRY_TEST_DEVICE");
    let kind = name.map_or(DeviceKind::Cpu, |name| name.parse().unwrap());
    backend::open(kind).unwrap()
}

fn runner(name: &str) -> Runner {
    let device = device();
    let model = loader::load(&folder(name), Precision::F32, &device).unwrap();
    Runner::new(model, 64)
}

fn best(row: &[f32]) -> usize {
    (0..row.len())
        .max_by(|a, b| row[*a].total_cmp(&row[*b]))
        .unwrap()
}

#[track_caller]
fn compare(got: &[f32], want: &[f32], place: &str) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= ERROR_MAX, "{place}: {g} against {w}");
    }
    assert_eq!(best(got), best(want), "{place}");
}

/// Feeds all sequences together: `prompt` tokens of each at once (cut to `budget` a
/// step), then the rest one by one, and compares every row that samples.
fn drive(name: &str, sequences: &[&Golden], prompt: impl Fn(&Golden) -> usize, budget: usize) {
    let mut runner = runner(name);
    let mut scheduler = Scheduler::new(Limits {
        sequences_max: 8,
        step_tokens_max: budget,
        sequence_tokens_max: 128,
        blocks: 64,
    });
    let mut known: Vec<usize> = Vec::new();
    for (id, golden) in sequences.iter().enumerate() {
        let first = prompt(golden);
        scheduler
            .admit(
                SequenceId(id as u64),
                first,
                golden.tokens.len() - first + 1,
            )
            .unwrap();
        known.push(first);
    }
    let mut compared = 0;
    while !scheduler.is_idle() {
        let plan = scheduler.schedule();
        let logits = runner
            .forward(&plan, |id| &sequences[id.0 as usize].tokens)
            .unwrap();
        let rows = plan
            .chunks
            .iter()
            .filter(|c| c.samples)
            .zip(logits.values.chunks(logits.vocab));
        for (chunk, row) in rows {
            let index = chunk.sequence.0 as usize;
            let golden = sequences[index];
            let position = known[index] - 1;
            compare(
                row,
                &golden.logits[position],
                &format!("{name} {index} at {position}"),
            );
            compared += 1;
            if known[index] == golden.tokens.len() {
                scheduler.remove(chunk.sequence);
            } else {
                known[index] += 1;
                scheduler.push_token(chunk.sequence);
            }
        }
    }
    let want: usize = sequences
        .iter()
        .map(|g| g.tokens.len() - prompt(g) + 1)
        .sum();
    assert_eq!(compared, want);
}

/// Tokens of the prompt of each greedy continuation, as in `make.py`.
const GREEDY_PROMPT: usize = 24;

#[test]
fn greedy_continuations_of_64_tokens_are_equal() {
    for name in MODELS {
        let bytes = file(name);
        let want = tokens(&SafeTensors::deserialize(&bytes).unwrap(), "greedy");
        assert_eq!(want.len(), GREEDY_PROMPT + 64);
        let mut runner = runner(name);
        let mut scheduler = Scheduler::new(Limits {
            sequences_max: 1,
            step_tokens_max: 10,
            sequence_tokens_max: 128,
            blocks: 64,
        });
        scheduler.admit(SequenceId(0), GREEDY_PROMPT, 64).unwrap();
        let mut known = want[..GREEDY_PROMPT].to_vec();
        while known.len() < want.len() {
            let plan = scheduler.schedule();
            let logits = runner.forward(&plan, |_| &known).unwrap();
            if plan.chunks.iter().any(|chunk| chunk.samples) {
                known.push(best(&logits.values) as u32);
                scheduler.push_token(SequenceId(0));
            }
        }
        assert_eq!(known, want, "{name}");
    }
}

#[test]
fn every_position_of_a_prefill_agrees() {
    for name in MODELS {
        for golden in golden(name) {
            for end in 1..=golden.tokens.len() {
                let cut = Golden {
                    tokens: golden.tokens[..end].to_vec(),
                    logits: golden.logits[..end].to_vec(),
                };
                drive(name, &[&cut], |g| g.tokens.len(), 512);
            }
        }
    }
}

#[test]
fn token_by_token_through_the_paged_cache_agrees() {
    for name in MODELS {
        for golden in golden(name) {
            drive(name, &[&golden], |_| 1, 512);
        }
    }
}

#[test]
fn chunked_prefill_and_then_decoding_agrees() {
    for name in MODELS {
        for budget in [1, 7, 16, 33] {
            for golden in golden(name) {
                drive(name, &[&golden], |g| g.tokens.len().div_ceil(2), budget);
            }
        }
    }
}

#[test]
fn in_a_batch_with_others_each_sequence_agrees() {
    for name in MODELS {
        let all = golden(name);
        let all: Vec<&Golden> = all.iter().chain(&all).collect();
        drive(name, &all, |g| g.tokens.len().div_ceil(3), 512);
        drive(name, &all, |g| g.tokens.len().div_ceil(2), 20);
    }
}

/// The keys that a family adds are felt: without one, the logits are others.
#[test]
fn no_key_of_a_configuration_is_ignored() {
    let rope = |kind: &str| json!({"rope_type": kind, "rope_theta": 10000.0});
    for (name, key, value) in [
        ("llama2", "rope_parameters", rope("default")),
        ("llama3", "rope_parameters", rope("default")),
        ("smollm2", "rope_parameters", rope("default")),
        ("mistral", "sliding_window", json!(22)),
        ("mistral", "sliding_window", json!(null)),
        ("qwen2", "use_sliding_window", json!(false)),
        (
            "qwen2",
            "layer_types",
            json!(["sliding_attention", "full_attention"]),
        ),
        ("gemma2", "sliding_window", json!(13)),
        ("gemma2", "attn_logit_softcapping", json!(null)),
        ("gemma2", "final_logit_softcapping", json!(null)),
        ("gemma2", "query_pre_attn_scalar", json!(16)),
        ("gemma2", "hidden_activation", json!("silu")),
        ("gemma3", "sliding_window", json!(null)),
        (
            "gemma3",
            "rope_parameters",
            json!({"full_attention": rope("default")}),
        ),
    ] {
        let changed = changed(name, key, &value);
        let device = device();
        let model = loader::load(changed.path(), Precision::F32, &device).unwrap();
        let golden = &golden(name)[1];
        let got = last_logits(Runner::new(model, 64), &golden.tokens);
        let want = golden.logits.last().unwrap();
        let apart = got.iter().zip(want).map(|(g, w)| (g - w).abs());
        let apart = apart.fold(0f32, f32::max);
        assert!(apart > 5.0 * ERROR_MAX, "{name} {key} = {value}: {apart}");
    }
}

/// A copy of a model's directory with one key of `config.json` changed.
fn changed(name: &str, key: &str, value: &serde_json::Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder(name)).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, dir.path().join(from.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("config.json");
    let text = std::fs::read(&path).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_ne!(config.get(key), Some(value));
    config[key] = value.clone();
    std::fs::write(path, config.to_string()).unwrap();
    dir
}

fn last_logits(mut runner: Runner, tokens: &[u32]) -> Vec<f32> {
    let mut scheduler = Scheduler::new(Limits {
        sequences_max: 1,
        step_tokens_max: 512,
        sequence_tokens_max: 128,
        blocks: 64,
    });
    scheduler.admit(SequenceId(0), tokens.len(), 1).unwrap();
    let plan = scheduler.schedule();
    runner.forward(&plan, |_| tokens).unwrap().values
}
