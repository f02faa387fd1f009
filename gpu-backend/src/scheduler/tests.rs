//! The scheduler by cases; simulated schedules stand in `simulation.rs`, shares between
//! tenants in `fairness.rs`.

mod fairness;
mod simulation;

use super::*;
use crate::kv_cache::prefix::Salt;

fn limits(sequences_max: usize, step_tokens_max: usize, blocks: u32) -> Limits {
    let sequence_tokens_max = blocks as usize * BLOCK_TOKENS;
    Limits {
        sequences_max,
        step_tokens_max,
        sequence_tokens_max,
        blocks,
    }
}

fn terms(tenant: &str, priority: i32) -> Terms {
    Terms {
        answer_tokens_max: 2,
        identity: Identity {
            salt: Some(Salt::of(tenant)),
            platform_tokens: 0,
        },
        priority,
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
fn the_last_gives_way_and_is_computed_again() {
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

#[test]
fn a_prefix_is_computed_once_for_a_tenant_and_the_last_token_always() {
    let mut s = Scheduler::new(limits(4, 100, 20));
    let prompt: Vec<u32> = (0..48).collect();
    s.admit_shared(SequenceId(1), &prompt, terms("a", 0))
        .unwrap();
    assert_eq!(shape(&s.schedule()), [(1, 0, 48, true)]);
    s.remove(SequenceId(1));
    assert_eq!((s.pool().cached(), s.pool().used()), (3, 0));
    s.admit_shared(SequenceId(2), &prompt, terms("a", 0))
        .unwrap();
    s.admit_shared(SequenceId(3), &prompt, terms("b", 0))
        .unwrap();
    let plan = s.schedule();
    // Three blocks are there, but the last token must be computed.
    assert_eq!(shape(&plan), [(2, 32, 16, true), (3, 0, 48, true)]);
    let started: Vec<_> = plan
        .started
        .iter()
        .map(|s| (s.sequence.0, s.queried_tokens, s.cached_tokens))
        .collect();
    assert_eq!(started, [(2, 32, 32), (3, 32, 0)]);
}

#[test]
fn a_preempted_sequence_finds_its_own_blocks_again() {
    let mut s = Scheduler::new(limits(4, 64, 4));
    let first: Vec<u32> = (0..16).collect();
    let second: Vec<u32> = (100..140).collect();
    s.admit_shared(SequenceId(1), &first, terms("a", 0))
        .unwrap();
    s.admit_shared(SequenceId(2), &second, terms("a", 0))
        .unwrap();
    assert_eq!(s.schedule().chunks.len(), 2);
    s.push_tokens(SequenceId(1), &[1]);
    s.push_tokens(SequenceId(2), &[2]);
    assert_eq!(s.schedule().preempted, 1);
    s.push_tokens(SequenceId(1), &[1]);
    s.remove(SequenceId(1));
    // One of its three blocks was needed; the last one went first.
    assert_eq!(shape(&s.schedule()), [(2, 32, 9, true)]);
}

#[test]
fn the_more_urgent_starts_first_and_others_give_way_to_it() {
    let mut s = Scheduler::new(limits(1, 64, 8));
    s.admit_alone(SequenceId(1), 10, terms("a", 5)).unwrap();
    s.admit_alone(SequenceId(2), 10, terms("a", 5)).unwrap();
    s.admit_alone(SequenceId(3), 10, terms("a", 1)).unwrap();
    assert_eq!(shape(&s.schedule()), [(3, 0, 10, true)]);
    s.remove(SequenceId(3));
    assert_eq!(shape(&s.schedule()), [(1, 0, 10, true)]);
    s.push_token(SequenceId(1));
    s.admit_alone(SequenceId(4), 10, terms("a", 0)).unwrap();
    let plan = s.schedule();
    assert_eq!((shape(&plan), plan.preempted), (vec![(4, 0, 10, true)], 1));
    s.remove(SequenceId(4));
    assert_eq!(
        shape(&s.schedule()),
        [(1, 0, 11, true)],
        "before what is new"
    );
}

#[test]
fn drafts_are_tried_and_the_blocks_of_the_wrong_ones_given_back() {
    let mut s = Scheduler::new(limits(2, 64, 8));
    s.admit(SequenceId(1), 15, 30).unwrap();
    s.schedule();
    s.push_token(SequenceId(1));
    assert!(s.awaits_one(SequenceId(1)));
    s.suppose(SequenceId(1), 4);
    let plan = s.schedule();
    assert_eq!(shape(&plan), [(1, 15, 5, true)]);
    assert_eq!((plan.chunks[0].drafts, s.pool().used()), (4, 2));
    // None held.
    s.push_tokens(SequenceId(1), &[7]);
    assert_eq!(s.pool().used(), 1);
    s.suppose(SequenceId(1), 4);
    s.schedule();
    // Two held, and gave a third.
    s.push_tokens(SequenceId(1), &[7, 8, 9]);
    assert_eq!(shape(&s.schedule()), [(1, 19, 1, true)]);
}

#[test]
fn nobody_gives_way_to_a_draft() {
    let mut s = Scheduler::new(limits(2, 64, 2));
    s.admit(SequenceId(1), 15, 2).unwrap();
    s.admit(SequenceId(2), 15, 2).unwrap();
    s.schedule();
    s.push_token(SequenceId(1));
    s.push_token(SequenceId(2));
    s.suppose(SequenceId(1), 3);
    let plan = s.schedule();
    assert_eq!(shape(&plan), [(1, 15, 1, true), (2, 15, 1, true)]);
    assert_eq!((plan.chunks[0].drafts, plan.preempted), (0, 0));
}
