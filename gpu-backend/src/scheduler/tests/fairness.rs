//! Shares between tenants: what one asks for does not make another wait.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::*;
use super::{limits, terms};

/// Tenants that always have something waiting, some of them very much.
struct Load {
    rng: ChaCha8Rng,
    scheduler: Scheduler,
    /// Of each sequence: its tenant, prompt, and tokens still to come.
    lives: BTreeMap<SequenceId, (usize, usize, usize)>,
    served: Vec<u64>,
    next: u64,
}

const PROMPT_MAX: usize = 60;
const ANSWER_MAX: usize = 20;

impl Load {
    fn new(seed: u64, tenants: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let limits = limits(
            rng.random_range(1..9),
            rng.random_range(8..100),
            rng.random_range(6..30),
        );
        Self {
            rng,
            scheduler: Scheduler::new(limits),
            lives: BTreeMap::new(),
            served: vec![0; tenants],
            next: 0,
        }
    }

    /// Fills the queues up: tenant `i` has `10 · 4^i` sequences here, more than can run.
    fn arrive(&mut self) {
        for tenant in 0..self.served.len() {
            let wanted = 10 * 4usize.pow(tenant as u32);
            let here = self.lives.values().filter(|life| life.0 == tenant).count();
            for _ in here..wanted {
                let prompt = self.rng.random_range(1..=PROMPT_MAX);
                let answer = self.rng.random_range(1..=ANSWER_MAX);
                let terms = Terms {
                    answer_tokens_max: answer,
                    ..terms(&tenant.to_string(), 0)
                };
                let id = SequenceId(self.next);
                self.next += 1;
                self.scheduler.admit_alone(id, prompt, terms).unwrap();
                self.lives.insert(id, (tenant, prompt, answer));
            }
        }
    }

    fn step(&mut self) {
        let plan = self.scheduler.schedule();
        for started in &plan.started {
            let (tenant, prompt, _) = self.lives.get_mut(&started.sequence).unwrap();
            // Only the first start is a service.
            self.served[*tenant] += std::mem::take(prompt) as u64;
        }
        for chunk in plan.chunks.iter().filter(|c| c.samples) {
            let (tenant, _, left) = self.lives.get_mut(&chunk.sequence).unwrap();
            *left -= 1;
            if *left == 0 {
                self.scheduler.remove(chunk.sequence);
                self.lives.remove(&chunk.sequence);
            } else {
                self.served[*tenant] += 2;
                self.scheduler.push_token(chunk.sequence);
            }
        }
        self.scheduler.check_integrity().unwrap();
    }
}

#[test]
fn tenants_that_always_wait_are_served_alike() {
    for seed in 0..200 {
        let mut load = Load::new(seed, 3);
        for _ in 0..2_000 {
            load.arrive();
            load.step();
            // The paper's bound (theorem 4.4): twice what one prompt, or all that run
            // together, can count for.
            let tokens = load.scheduler.pool().total() * BLOCK_TOKENS;
            let bound = 2 * (PROMPT_MAX as u64).max(2 * tokens as u64);
            let (least, most) = (load.served.iter().min(), load.served.iter().max());
            let apart = most.unwrap() - least.unwrap();
            assert!(apart <= bound, "seed {seed}: {:?}", load.served);
        }
        let least = *load.served.iter().min().unwrap();
        assert!(least > 2_000, "seed {seed}: {:?}", load.served);
    }
}

#[test]
fn a_newcomer_waits_for_one_start_of_a_tenant_with_a_long_queue() {
    for waiting in [10, 200] {
        let mut s = Scheduler::new(limits(2, 64, 16));
        for id in 0..waiting {
            s.admit_alone(SequenceId(id), 20, terms("many", 0)).unwrap();
        }
        for _ in 0..3 {
            for started in s.schedule().started {
                s.remove(started.sequence);
            }
        }
        let newcomer = SequenceId(1_000);
        s.admit_alone(newcomer, 20, terms("one", 0)).unwrap();
        let started = s.schedule().started;
        let ids: Vec<SequenceId> = started.iter().map(|s| s.sequence).collect();
        assert!(ids.contains(&newcomer), "{ids:?}");
    }
}

#[test]
fn idle_time_is_no_credit() {
    let mut s = Scheduler::new(limits(1, 64, 16));
    let mut order = Vec::new();
    // One tenant is served for long, beside a second that was here once.
    s.admit_alone(SequenceId(0), 20, terms("rare", 0)).unwrap();
    for id in 1..40 {
        s.admit_alone(SequenceId(id), 20, terms("often", 0))
            .unwrap();
    }
    for _ in 0..20 {
        for started in s.schedule().started {
            s.remove(started.sequence);
        }
    }
    // It comes back with many: they take turns.
    for id in 100..110 {
        s.admit_alone(SequenceId(id), 20, terms("rare", 0)).unwrap();
    }
    for _ in 0..12 {
        for started in s.schedule().started {
            order.push(started.sequence.0 >= 100);
            s.remove(started.sequence);
        }
    }
    let rare = order.iter().filter(|rare| **rare).count();
    assert!((5..=7).contains(&rare), "{order:?}");
}
