//! The scheduler by cases, and simulated over thousands of random schedules.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn limits(sequences_max: usize, step_tokens_max: usize, blocks: u32) -> Limits {
    let sequence_tokens_max = blocks as usize * BLOCK_TOKENS;
    Limits {
        sequences_max,
        step_tokens_max,
        sequence_tokens_max,
        blocks,
    }
}

/// (sequence, start, tokens, samples) of each chunk.
fn shape(plan: &Plan) -> Vec<(u64, usize, usize, bool)> {
    plan.chunks
        .iter()
        .map(|c| (c.sequence.0, c.start, c.tokens, c.samples))
        .collect()
}

#[test]
fn a_long_prompt_is_cut_to_the_budget_and_samples_at_its_end() {
    let mut s = Scheduler::new(limits(4, 10, 8));
    s.admit(SequenceId(1), 25, 2).unwrap();
    assert_eq!(shape(&s.schedule()), [(1, 0, 10, false)]);
    assert_eq!(shape(&s.schedule()), [(1, 10, 10, false)]);
    assert_eq!(shape(&s.schedule()), [(1, 20, 5, true)]);
    s.push_token(SequenceId(1));
    assert_eq!(shape(&s.schedule()), [(1, 25, 1, true)]);
}

#[test]
fn decoding_goes_on_beside_anothers_prefill() {
    let mut s = Scheduler::new(limits(4, 10, 8));
    s.admit(SequenceId(1), 3, 2).unwrap();
    s.schedule();
    s.push_token(SequenceId(1));
    s.admit(SequenceId(2), 30, 2).unwrap();
    assert_eq!(shape(&s.schedule()), [(1, 3, 1, true), (2, 0, 9, false)]);
}

#[test]
fn the_youngest_gives_way_and_is_computed_again() {
    let mut s = Scheduler::new(limits(4, 64, 3));
    s.admit(SequenceId(1), 16, 2).unwrap();
    s.admit(SequenceId(2), 30, 2).unwrap();
    assert_eq!(s.schedule().chunks.len(), 2);
    s.push_token(SequenceId(1));
    s.push_token(SequenceId(2));
    let plan = s.schedule();
    assert_eq!((shape(&plan), plan.preempted), (vec![(1, 16, 1, true)], 1));
    s.remove(SequenceId(1));
    assert_eq!(shape(&s.schedule()), [(2, 0, 31, true)]);
}

#[test]
fn what_can_never_run_is_refused() {
    let mut s = Scheduler::new(limits(1, 8, 2));
    assert_eq!(s.admit(SequenceId(1), 0, 2), Err(Refused::Empty));
    assert_eq!(s.admit(SequenceId(1), 33, 1), Err(Refused::TooLong));
    assert!(s.is_idle());
}

/// What the simulated engine knows of a sequence.
struct Life {
    known: usize,
    end: usize,
    computed: usize,
}

/// Runs one random schedule; returns how often a sequence was preempted.
fn simulate(seed: u64) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let limits = limits(
        rng.random_range(1..9),
        rng.random_range(1..80),
        rng.random_range(2..14),
    );
    assert!(limits.hold_one_sequence());
    let mut s = Scheduler::new(limits);
    let mut lives: BTreeMap<SequenceId, Life> = BTreeMap::new();
    let (mut next, mut ended, mut preempted) = (0u64, 0u64, 0);
    let arrivals = rng.random_range(1..30);
    let mut steps = 0;
    while next < arrivals || !lives.is_empty() {
        if next < arrivals && (lives.is_empty() || rng.random_bool(0.3)) {
            let known = rng.random_range(1..limits.sequence_tokens_max);
            let end = rng.random_range(known..=limits.sequence_tokens_max);
            s.admit(SequenceId(next), known, end + 1 - known).unwrap();
            lives.insert(
                SequenceId(next),
                Life {
                    known,
                    end,
                    computed: 0,
                },
            );
            next += 1;
        }
        if rng.random_bool(0.05)
            && let Some(id) = lives.keys().nth(rng.random_range(0..8)).copied()
        {
            s.remove(id);
            lives.remove(&id);
            ended += 1;
        }
        let plan = s.schedule();
        preempted += plan.preempted;
        s.check_integrity().unwrap();
        let total: usize = plan.chunks.iter().map(|c| c.tokens).sum();
        assert!(total <= limits.step_tokens_max);
        assert!(lives.is_empty() || total > 0, "seed {seed}: no progress");
        for chunk in plan.chunks {
            let life = lives.get_mut(&chunk.sequence).unwrap();
            // After a preemption a sequence starts again from nothing.
            assert!(chunk.start == life.computed || chunk.start == 0);
            assert!(chunk.blocks.len() * BLOCK_TOKENS >= chunk.start + chunk.tokens);
            life.computed = chunk.start + chunk.tokens;
            assert_eq!(chunk.samples, life.computed == life.known);
            if chunk.samples {
                life.known += 1;
                s.push_token(chunk.sequence);
                if life.known > life.end {
                    s.remove(chunk.sequence);
                    lives.remove(&chunk.sequence);
                    ended += 1;
                }
            }
        }
        steps += 1;
        assert!(steps < 100_000, "seed {seed} does not end");
    }
    assert_eq!(ended, next, "each sequence ends exactly once");
    assert_eq!(s.blocks_free(), s.blocks_total());
    assert!(s.is_idle());
    preempted
}

#[test]
fn thousands_of_random_schedules_keep_every_invariant() {
    let preempted: usize = (0..3_000).map(simulate).sum();
    assert!(
        preempted > 1_000,
        "the simulation must meet preemption: {preempted}"
    );
}
