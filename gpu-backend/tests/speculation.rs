//! The same text with and without speculation: a small golden model and the bundled one,
//! by prompt lookup and by draft models, at every temperature.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::path::{Path, PathBuf};

use gpu_backend::backend::{self, DeviceKind, Precision};
use gpu_backend::engine::{self, EngineConfig};
use gpu_backend::handle::{Event, Generate, Handle};
use gpu_backend::loader;
use gpu_backend::model::Model;
use gpu_backend::sampler::SamplingParams;
use gpu_backend::scheduler::Limits;
use gpu_backend::speculation::{DraftModel, PromptLookup, Proposer, Speculation};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const BLOCKS: u32 = 24;
const STEP_TOKENS: usize = 40;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn model(name: &str) -> Model {
    let device = backend::open(DeviceKind::Cpu).unwrap();
    loader::load(&folder(name), Precision::F32, &device).unwrap()
}

fn engine(model: Model, proposer: impl FnOnce() -> Option<Proposer> + Send + 'static) -> Handle {
    let config = EngineConfig {
        scheduler: Limits {
            sequences_max: 6,
            step_tokens_max: STEP_TOKENS,
            sequence_tokens_max: 128,
            blocks: BLOCKS,
        },
        queue_max: 100,
        threads: 2,
        prefix_caching: true,
    };
    let speculation = || {
        proposer().map(|proposer| Speculation {
            proposer,
            tokens_max: 5,
        })
    };
    engine::start_speculative(model, config, speculation)
        .unwrap()
        .0
}

/// Prompts that repeat themselves, as prompts do from which an answer copies.
fn requests(vocab: u32, seed: u64) -> Vec<Generate> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..24u64)
        .map(|i| {
            let phrase: Vec<u32> = (0..rng.random_range(1..12))
                .map(|_| rng.random_range(0..vocab))
                .collect();
            let prompt: Vec<u32> = phrase
                .iter()
                .cycle()
                .take(rng.random_range(1..60))
                .copied()
                .collect();
            let sampling = SamplingParams {
                temperature: [0.0, 0.3, 1.0][i as usize % 3],
                seed: i,
                repetition_penalty: [1.0, 1.2][i as usize % 2],
                top_p: [1.0, 0.9][i as usize / 2 % 2],
                logprobs: Some(2),
                ..SamplingParams::greedy()
            };
            Generate {
                prompt,
                tokens_max: rng.random_range(1..60),
                stop_tokens: vec![rng.random_range(0..vocab)],
                sampling,
                ..Generate::default()
            }
        })
        .collect()
}

/// Everything that clients are sent, but how much was cached.
fn answers(handle: &Handle, requests: &[Generate]) -> Vec<Vec<Event>> {
    let running: Vec<_> = requests
        .iter()
        .map(|request| handle.submit(request.clone()).unwrap())
        .collect();
    running
        .into_iter()
        .map(|mut generation| {
            let mut events = Vec::new();
            while let Some(event) = generation.next_blocking() {
                if !matches!(event, Event::Started { .. }) {
                    events.push(event);
                }
            }
            events
        })
        .collect()
}

/// Compares, and returns how many drafts there were and how many of them held.
fn check(name: &str, proposer: impl FnOnce() -> Proposer + Send + 'static) -> (u64, u64) {
    let plain = engine(model(name), || None);
    let speculative = engine(model(name), || Some(proposer()));
    let vocab = model(name).config().vocab as u32;
    for seed in 0..4 {
        let requests = requests(vocab, seed);
        let (want, got) = (answers(&plain, &requests), answers(&speculative, &requests));
        for ((want, got), request) in want.iter().zip(&got).zip(&requests) {
            assert_eq!(got, want, "{name}, seed {seed}: {request:?}");
        }
    }
    assert_eq!(plain.metrics().draft_tokens.get(), 0);
    let metrics = speculative.metrics();
    (metrics.draft_tokens.get(), metrics.drafts_accepted.get())
}

const GOLDEN: &str = "tests/golden/llama3";
const BUNDLED: &str = "models/skerry-demo";

#[test]
fn prompt_lookup_changes_no_event() {
    for name in [GOLDEN, BUNDLED] {
        let (drafts, held) = check(name, || Proposer::Lookup(PromptLookup::new(1, 4)));
        assert!(held > 50 && held < drafts, "{name}: {held} of {drafts}");
    }
}

#[test]
fn a_draft_model_changes_no_event_whether_it_is_right_or_wrong() {
    for name in [GOLDEN, BUNDLED] {
        let itself = move || {
            let draft = DraftModel::new(model(name), BLOCKS, STEP_TOKENS);
            Proposer::Model(Box::new(draft))
        };
        let (drafts, held) = check(name, itself);
        // It is greedy, and some of the answers are not.
        assert!(held > drafts / 5, "{name}: {held} of {drafts}");
        // Another model of the same vocabulary, with too little room for all.
        let other = || {
            let device = backend::open(DeviceKind::Cpu).unwrap();
            let config = model(name).config().clone();
            let other = loader::random(config, Precision::F32, &device, 9).unwrap();
            Proposer::Model(Box::new(DraftModel::new(other, 6, 20)))
        };
        let (drafts, held) = check(name, other);
        assert!(
            drafts > 100 && held < drafts / 2,
            "{name}: {held} of {drafts}"
        );
    }
}
