//! The engine on a small random model: batching, cancelling, limits, repeatability.

use super::*;
use crate::backend::{self, DeviceKind, Precision};
use crate::handle::{Generate, Generation, Rejected};
use crate::kernels::BLOCK_TOKENS;
use crate::loader;
use crate::model::ModelConfig;
use crate::sampler::SamplingParams;

fn model() -> Model {
    let config = ModelConfig {
        vocab: 97,
        hidden: 48,
        inner: 64,
        layers: 2,
        heads: 6,
        kv_heads: 2,
        head_dim: 8,
        context: 256,
        ..ModelConfig::smollm2_135m()
    };
    let device = backend::open(DeviceKind::Cpu).unwrap();
    loader::random(config, Precision::F32, &device, 5).unwrap()
}

fn config(sequences_max: usize, step_tokens_max: usize, blocks: u32) -> EngineConfig {
    let scheduler = Limits {
        sequences_max,
        step_tokens_max,
        sequence_tokens_max: 128,
        blocks,
    };
    EngineConfig {
        scheduler,
        queue_max: 100,
        threads: 2,
    }
}

fn request(seed: u64, prompt: usize, tokens_max: usize) -> Generate {
    Generate {
        prompt: (0..prompt)
            .map(|i| ((i as u64 * 31 + seed * 17) % 97) as u32)
            .collect(),
        tokens_max,
        stop_tokens: Vec::new(),
        sampling: SamplingParams {
            temperature: 1.0,
            seed,
            ..SamplingParams::greedy()
        },
    }
}

/// All tokens, and the end.
fn collect(mut generation: Generation) -> (Vec<u32>, Event) {
    let mut tokens = Vec::new();
    loop {
        match generation.next_blocking().unwrap() {
            Event::Token(sampled) => tokens.push(sampled.token),
            end => {
                assert!(
                    generation.next_blocking().is_none(),
                    "nothing follows the end"
                );
                return (tokens, end);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_tokens_whatever_else_is_in_the_batch() {
    let (alone, _thread) = start(model(), config(1, 512, 8)).unwrap();
    let want: Vec<_> = (0..12)
        .map(|i| collect(alone.submit(request(i, 5 + 7 * i as usize, 30)).unwrap()))
        .collect();
    // Small chunks, few blocks: prefills are cut, and sequences are preempted.
    let (together, _thread) = start(model(), config(8, 19, 20)).unwrap();
    let running: Vec<_> = (0..12)
        .map(|i| together.submit(request(i, 5 + 7 * i as usize, 30)).unwrap())
        .collect();
    let got: Vec<_> = running.into_iter().map(collect).collect();
    assert_eq!(got, want);
    assert!(
        together.metrics().preemptions.get() > 0,
        "the test must meet preemption"
    );
    assert_eq!(
        want[0].1,
        Event::Ended {
            reason: Ended::Length,
            completion_tokens: 30
        }
    );
}

#[test]
fn a_stop_token_ends_the_answer_and_is_counted_but_not_sent() {
    let (handle, _thread) = start(model(), config(4, 64, 16)).unwrap();
    let (tokens, _) = collect(handle.submit(request(3, 9, 20)).unwrap());
    let stop = tokens[7];
    let first = tokens.iter().position(|t| *t == stop).unwrap();
    let stopped = Generate {
        stop_tokens: vec![stop],
        ..request(3, 9, 20)
    };
    let (short, end) = collect(handle.submit(stopped).unwrap());
    assert_eq!(short, tokens[..first]);
    assert_eq!(
        end,
        Event::Ended {
            reason: Ended::Stop,
            completion_tokens: first + 1
        }
    );
}

#[test]
fn a_dropped_generation_frees_its_sequence() {
    let (handle, thread) = start(model(), config(16, 64, 64)).unwrap();
    let mut kept = Vec::new();
    for i in 0..40 {
        let mut generation = handle.submit(request(i, 20, 100)).unwrap();
        if i % 4 == 0 {
            kept.push(generation);
        } else if i % 4 == 1 {
            generation.next_blocking().unwrap();
        }
    }
    for generation in kept {
        assert_eq!(collect(generation).0.len(), 100);
    }
    let metrics = handle.metrics.clone();
    drop(handle);
    thread.join().unwrap();
    // One that came to its end before its client was seen to go is not counted.
    let cancelled = metrics.cancelled.get();
    assert!((20..=30).contains(&cancelled), "{cancelled}");
    assert_eq!((metrics.running.get(), metrics.waiting.get()), (0, 0));
    assert_eq!(metrics.kv_cache_usage.get(), 0.0);
}

#[test]
fn a_full_queue_and_draining_refuse() {
    let limits = EngineConfig {
        queue_max: 1,
        ..config(1, 64, 8)
    };
    let (handle, _thread) = start(model(), limits).unwrap();
    let first = handle.submit(request(1, 10, 100)).unwrap();
    let second = handle.submit(request(2, 10, 100)).unwrap();
    assert_eq!(
        handle.submit(request(3, 10, 1)).unwrap_err(),
        Rejected::QueueFull
    );
    handle.drain();
    assert_eq!(
        handle.submit(request(3, 10, 1)).unwrap_err(),
        Rejected::Draining
    );
    assert_eq!(collect(first).0.len(), 100);
    assert_eq!(collect(second).0.len(), 100);
}

#[test]
fn an_overlong_prompt_is_answered_and_a_too_small_cache_does_not_start() {
    let (handle, _thread) = start(model(), config(4, 64, 8)).unwrap();
    let (_, end) = collect(handle.submit(request(1, 129, 1)).unwrap());
    assert!(matches!(end, Event::Failed { .. }));
    let blocks = (128 / BLOCK_TOKENS - 1) as u32;
    assert!(matches!(
        start(model(), config(4, 64, blocks)),
        Err(StartError::CacheTooSmall)
    ));
}
