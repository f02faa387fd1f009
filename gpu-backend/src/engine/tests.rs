//! The engine on a small random model: batching, cancelling, limits, repeatability.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::backend::{self, DeviceKind, Precision};
use crate::constraint::{Constraint, ConstraintError, TokenConstraint};
use crate::handle::{Ended, Generate, Generation, Rejected};
use crate::kernels::BLOCK_TOKENS;
use crate::kv_cache::prefix::{Identity, Salt};
use crate::loader;
use crate::model::ModelConfig;
use crate::sampler::{Logprobs, SamplingParams};
use crate::scheduler::Refused;

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
        prefix_caching: true,
    }
}

fn request(seed: u64, prompt: usize, tokens_max: usize) -> Generate {
    Generate {
        prompt: (0..prompt)
            .map(|i| ((i as u64 * 31 + seed * 17) % 97) as u32)
            .collect(),
        tokens_max,
        sampling: SamplingParams {
            temperature: 1.0,
            seed,
            ..SamplingParams::greedy()
        },
        ..Generate::default()
    }
}

/// All tokens, and the end.
fn collect(mut generation: Generation) -> (Vec<u32>, Event) {
    let mut tokens = Vec::new();
    loop {
        match generation.next_blocking().unwrap() {
            Event::Started { .. } => assert!(tokens.is_empty(), "the start comes first"),
            Event::Token(sampled) => tokens.push(sampled.token),
            Event::Prompt(_) => panic!("nobody asked for it"),
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
            reason: Ended::Stop(stop),
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
    let Rejected::QueueFull { retry_after } = handle.submit(request(3, 10, 1)).unwrap_err() else {
        panic!("the queue holds one");
    };
    assert!((1..=60).contains(&retry_after.as_secs()));
    handle.drain();
    assert_eq!(
        handle.submit(request(3, 10, 1)).unwrap_err(),
        Rejected::Draining
    );
    assert_eq!(collect(first).0.len(), 100);
    assert_eq!(collect(second).0.len(), 100);
}

#[test]
fn what_can_never_run_is_refused_at_once_and_a_too_small_cache_does_not_start() {
    let (handle, _thread) = start(model(), config(4, 64, 8)).unwrap();
    assert_eq!(
        handle.submit(request(1, 129, 1)).unwrap_err(),
        Rejected::Refused(Refused::TooLong)
    );
    assert_eq!(
        handle.submit(request(1, 0, 1)).unwrap_err(),
        Rejected::Refused(Refused::Empty)
    );
    let blocks = (128 / BLOCK_TOKENS - 1) as u32;
    assert!(matches!(
        start(model(), config(4, 64, blocks)),
        Err(StartError::CacheTooSmall)
    ));
}

/// Allows the even tokens, so many times.
#[derive(Clone, Debug)]
struct Even {
    left: usize,
}

impl TokenConstraint for Even {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        for logit in logits.iter_mut().skip(1).step_by(2) {
            *logit = f32::NEG_INFINITY;
        }
        Ok(())
    }

    fn advance(&mut self, _: u32) -> Result<(), ConstraintError> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(ConstraintError("spent".into()))?;
        Ok(())
    }

    fn fork(&self) -> Box<dyn TokenConstraint> {
        Box::new(self.clone())
    }
}

#[test]
fn a_constraint_holds_its_own_sequence_alone_and_its_failure_ends_that_one_once() {
    let constrained = |left| Generate {
        constraint: Some(Constraint::new(Even { left })),
        ..request(1, 10, 20)
    };
    let (handle, _thread) = start(model(), config(8, 64, 32)).unwrap();
    let (free, _) = collect(handle.submit(request(1, 10, 20)).unwrap());
    let running = [
        handle.submit(request(1, 10, 20)).unwrap(),
        handle.submit(constrained(20)).unwrap(),
        handle.submit(constrained(7)).unwrap(),
    ]
    .map(collect);
    let [(same, _), (held, end), (cut, failed)] = running;
    assert_eq!(same, free, "a neighbour is not touched");
    assert!(held.len() == 20 && held.iter().all(|token| token % 2 == 0));
    let length = Event::Ended {
        reason: Ended::Length,
        completion_tokens: 20,
    };
    assert_eq!(end, length);
    assert_eq!(cut, held[..7]);
    assert!(matches!(failed, Event::FormFailed { message } if message.contains("spent")));
}

/// The prompt's log-probabilities as the engine sends them, before anything else.
fn scores(handle: &Handle, prompt: &[u32], top: usize) -> Vec<Option<Logprobs>> {
    let mut generation = handle
        .submit(Generate {
            prompt: prompt.to_vec(),
            prompt_logprobs: Some(top),
            ..request(0, 1, 1)
        })
        .unwrap();
    let started = generation.next_blocking();
    assert_eq!(started, Some(Event::Started { cached_tokens: 0 }));
    let Some(Event::Prompt(scores)) = generation.next_blocking() else {
        panic!("the prompt's log-probabilities come first");
    };
    assert!(matches!(generation.next_blocking(), Some(Event::Token(_))));
    scores
}

#[test]
fn a_prompt_is_scored_as_its_tokens_were_when_they_were_generated() {
    let (handle, _thread) = start(model(), config(4, 64, 16)).unwrap();
    let mut asked = request(4, 9, 40);
    asked.sampling.logprobs = Some(3);
    let mut generation = handle.submit(asked.clone()).unwrap();
    let (mut tokens, mut generated) = (asked.prompt, Vec::new());
    generation.next_blocking();
    while let Some(Event::Token(sampled)) = generation.next_blocking() {
        tokens.push(sampled.token);
        generated.push(sampled.logprobs);
    }
    let whole = scores(&handle, &tokens, 3);
    assert_eq!((whole.len(), &whole[0]), (tokens.len(), &None));
    assert_eq!(whole[9..], generated[..], "the same rows, the same bits");
    // In chunks of 7, beside others that take its blocks away.
    let (busy, _thread) = start(model(), config(8, 7, 9)).unwrap();
    let _others: Vec<_> = (0..8)
        .map(|i| busy.submit(request(i, 20, 60)).unwrap())
        .collect();
    assert_eq!(scores(&busy, &tokens, 3), whole);
}

#[test]
fn a_stop_token_is_not_chosen_before_the_least_number_of_tokens() {
    let (handle, _thread) = start(model(), config(4, 64, 16)).unwrap();
    let mut asked = request(3, 9, 20);
    asked.stop_tokens = (0..90).collect();
    asked.sampling.ends = asked.stop_tokens.clone();
    assert_eq!(collect(handle.submit(asked.clone()).unwrap()).0.len(), 0);
    asked.sampling.min_tokens = 12;
    let (tokens, _) = collect(handle.submit(asked).unwrap());
    assert!(tokens.len() >= 12 && tokens.iter().all(|t| *t >= 90));
}

/// A request of a tenant.
fn of_tenant(tenant: &str, request: Generate) -> Generate {
    let salt = Some(Salt::of(tenant));
    Generate {
        identity: Identity {
            salt,
            platform_tokens: 0,
        },
        ..request
    }
}

/// Tokens, and how many of the prompt's were cached.
fn cached(mut generation: Generation) -> (Vec<u32>, usize) {
    let Some(Event::Started { cached_tokens }) = generation.next_blocking() else {
        panic!("the start comes first");
    };
    (collect(generation).0, cached_tokens)
}

#[test]
fn a_cached_prefix_changes_no_token_and_no_tenant_meets_anothers() {
    let plain = EngineConfig {
        prefix_caching: false,
        ..config(4, 64, 32)
    };
    let (without, _thread) = start(model(), plain).unwrap();
    let (handle, _thread) = start(model(), config(4, 64, 32)).unwrap();
    let submit = |tenant: &str| {
        let request = of_tenant(tenant, request(5, 70, 20));
        cached(handle.submit(request).unwrap())
    };
    let (want, none) = cached(without.submit(request(5, 70, 20)).unwrap());
    assert_eq!(none, 0);
    assert_eq!(submit("a"), (want.clone(), 0));
    assert_eq!(submit("a"), (want.clone(), 64));
    assert_eq!(
        submit("b"),
        (want.clone(), 0),
        "another tenant's is not met"
    );
    assert_eq!(
        cached(handle.submit(request(5, 70, 20)).unwrap()),
        (want, 0)
    );
    let metrics = handle.metrics();
    assert_eq!(metrics.prefix_queries.get(), 4 * 64);
    assert_eq!(metrics.prefix_hits.get(), 64);
    assert_eq!(without.metrics().prefix_queries.get(), 0);
}

#[test]
fn a_deadline_ends_what_runs_and_what_waits() {
    let (handle, _thread) = start(model(), config(1, 64, 8)).unwrap();
    let by = |seed, tokens_max, us| Generate {
        deadline: Some(Instant::now() + Duration::from_micros(us)),
        ..request(seed, 10, tokens_max)
    };
    let running = handle.submit(by(1, 118, 200)).unwrap();
    let waiting = handle.submit(by(2, 10, 100)).unwrap();
    let patient = handle.submit(by(3, 10, 60_000_000)).unwrap();
    assert_eq!(collect(running).1, Event::DeadlineExceeded);
    assert_eq!(collect(waiting), (Vec::new(), Event::DeadlineExceeded));
    assert_eq!(collect(patient).0.len(), 10);
}

#[test]
fn a_thousand_random_disconnects_leak_no_block() {
    let (handle, thread) = start(model(), config(8, 48, 40)).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut open: Vec<Generation> = Vec::new();
    while handle.metrics().cancelled.get() < 1_000 {
        while open.len() < 20 {
            let seed = rng.random_range(0..6);
            let request = request(seed, rng.random_range(1..60), rng.random_range(1..60));
            let tenant = rng.random_range(0..3).to_string();
            open.push(handle.submit(of_tenant(&tenant, request)).unwrap());
        }
        // Some are read a while before they are left: at any point of a request's life.
        let mut generation = open.swap_remove(rng.random_range(0..open.len()));
        for _ in 0..rng.random_range(0..30) {
            generation.next_blocking();
        }
    }
    drop(open);
    // The cache is whole: all of it can be had by one, and then there is nothing left.
    let whole = config(8, 48, 40).scheduler.sequence_tokens_max;
    assert_eq!(
        collect(handle.submit(request(9, 1, whole)).unwrap())
            .0
            .len(),
        whole
    );
    let metrics = handle.metrics.clone();
    drop(handle);
    thread.join().unwrap();
    assert_eq!((metrics.running.get(), metrics.waiting.get()), (0, 0));
    assert_eq!(metrics.kv_cache_usage.get(), 0.0, "no block is owned");
}
