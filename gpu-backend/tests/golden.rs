//! Our logits against those of `transformers`, for two small random Llamas
//! (`golden/make.py`): whole prefill, chunked prefill with paged decoding, and in a
//! batch with others; largest error 1e-3 and the same best token at every position.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::path::{Path, PathBuf};

use gpu_backend::backend::{self, DeviceKind, Precision};
use gpu_backend::loader;
use gpu_backend::runner::Runner;
use gpu_backend::scheduler::{Limits, Scheduler, SequenceId};
use safetensors::SafeTensors;

const MODELS: [&str; 2] = ["llama3", "tied"];
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

fn golden(name: &str) -> Vec<Golden> {
    let bytes = std::fs::read(folder(name).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let count = file.len() / 2;
    (0..count)
        .map(|i| {
            let tokens = file.tensor(&format!("tokens.{i}")).unwrap();
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
                tokens: tokens
                    .data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| u32::from_le_bytes(*b))
                    .collect(),
                logits: values.chunks(vocab).map(<[f32]>::to_vec).collect(),
            }
        })
        .collect()
}

fn runner(name: &str) -> Runner {
    let device = backend::open(DeviceKind::Cpu).unwrap();
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
