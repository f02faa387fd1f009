//! Thousands of random schedules: arrivals, cancellations, shared prefixes, tenants,
//! priorities and drafts, with a cache of which every slot's true content is known.

use std::collections::{BTreeMap, HashMap};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::*;
use super::limits;
use crate::kv_cache::prefix::Salt;

/// A sequence's tokens up to some place, as one number: equal numbers are equal tokens.
type Path = u32;

/// What a slot of the simulated cache holds.
#[derive(Clone, Copy, PartialEq)]
struct Slot {
    path: Path,
    tenant: u8,
    /// The whole block was the platform's when it was written.
    platform: bool,
}

struct Life {
    tokens: Vec<u32>,
    paths: Vec<Path>,
    drafts: Vec<u32>,
    /// Tokens at its end.
    end: usize,
    /// Zero gives no salt.
    tenant: u8,
    platform_tokens: usize,
    computed: usize,
}

#[derive(Default)]
struct Counts {
    preempted: usize,
    cached_tokens: usize,
    drafts_held: usize,
    cancelled: usize,
}

struct World {
    seed: u64,
    rng: ChaCha8Rng,
    limits: Limits,
    scheduler: Scheduler,
    slots: Vec<Option<Slot>>,
    paths: HashMap<(Path, u32), Path>,
    lives: BTreeMap<SequenceId, Life>,
    /// How often each sequence ended.
    ends: Vec<usize>,
    counts: Counts,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let limits = limits(
            rng.random_range(1..9),
            rng.random_range(1..80),
            rng.random_range(2..20),
        );
        assert!(limits.hold_one_sequence());
        Self {
            seed,
            rng,
            limits,
            scheduler: Scheduler::new(limits),
            slots: vec![None; limits.blocks as usize * BLOCK_TOKENS],
            paths: HashMap::new(),
            lives: BTreeMap::new(),
            ends: Vec::new(),
            counts: Counts::default(),
        }
    }

    fn path(&mut self, before: Option<Path>, token: u32) -> Path {
        let next = self.paths.len() as Path + 1;
        *self
            .paths
            .entry((before.unwrap_or(0), token))
            .or_insert(next)
    }

    fn paths_of(&mut self, tokens: &[u32]) -> Vec<Path> {
        let mut paths: Vec<Path> = Vec::with_capacity(tokens.len());
        for token in tokens {
            let path = self.path(paths.last().copied(), *token);
            paths.push(path);
        }
        paths
    }

    fn arrive(&mut self) {
        let id = SequenceId(self.ends.len() as u64);
        let prompt = self.rng.random_range(1..self.limits.sequence_tokens_max);
        let end = self
            .rng
            .random_range(prompt..=self.limits.sequence_tokens_max);
        // Few beginnings, so that prefixes are met again.
        let kind = self.rng.random_range(0..3);
        let turn = self.rng.random_range(0..prompt + 30);
        let tokens: Vec<u32> = (0..prompt)
            .map(|i| {
                if i < turn {
                    kind
                } else {
                    self.rng.random_range(3..5)
                }
            })
            .collect();
        let tenant = self.rng.random_range(0..4u8);
        let platform_tokens = self.rng.random_range(0..40);
        let terms = Terms {
            answer_tokens_max: end + 1 - prompt,
            identity: Identity {
                salt: (tenant > 0).then(|| Salt::of(&tenant.to_string())),
                platform_tokens,
            },
            priority: self.rng.random_range(0..3),
        };
        if self.rng.random_bool(0.9) {
            self.scheduler.admit_shared(id, &tokens, terms).unwrap();
        } else {
            self.scheduler.admit_alone(id, prompt, terms).unwrap();
        }
        let life = Life {
            paths: self.paths_of(&tokens),
            tokens,
            drafts: Vec::new(),
            end,
            tenant,
            platform_tokens,
            computed: 0,
        };
        self.lives.insert(id, life);
        self.ends.push(0);
    }

    fn end(&mut self, id: SequenceId) {
        self.scheduler.remove(id);
        self.lives.remove(&id).unwrap();
        self.ends[id.0 as usize] += 1;
    }

    fn cancel_one(&mut self) {
        let nth = self.rng.random_range(0..8);
        if let Some(id) = self.lives.keys().nth(nth).copied() {
            self.end(id);
            self.counts.cancelled += 1;
        }
    }

    /// Supposes how some sequences go on.
    fn suppose(&mut self) {
        for (id, life) in &mut self.lives {
            life.drafts.clear();
            let room = life.end - life.tokens.len();
            if room > 0 && self.scheduler.awaits_one(*id) && self.rng.random_bool(0.5) {
                let drafts = self.rng.random_range(1..=room.min(5));
                life.drafts = (0..drafts).map(|_| self.rng.random_range(3..5)).collect();
                self.scheduler.suppose(*id, drafts);
            }
        }
    }

    fn step(&mut self) {
        self.suppose();
        let plan = self.scheduler.schedule();
        self.scheduler.check_integrity().unwrap();
        self.counts.preempted += plan.preempted;
        for started in &plan.started {
            self.counts.cached_tokens += started.cached_tokens;
            let life = self.lives.get_mut(&started.sequence).unwrap();
            assert!(started.cached_tokens < life.tokens.len(), "one is computed");
            life.computed = started.cached_tokens;
        }
        let total: usize = plan.chunks.iter().map(|c| c.tokens).sum();
        assert!(total <= self.limits.step_tokens_max);
        assert!(self.lives.is_empty() || total > 0, "seed {}", self.seed);
        for chunk in &plan.chunks {
            self.read(chunk);
        }
        for chunk in &plan.chunks {
            self.write(chunk);
        }
        for chunk in plan.chunks {
            self.sample(&chunk);
        }
        self.scheduler.check_integrity().unwrap();
    }

    /// What the chunk builds on is what its sequence would have computed itself, and
    /// nobody else's but the platform's.
    fn read(&self, chunk: &Chunk) {
        let life = &self.lives[&chunk.sequence];
        assert_eq!(chunk.start, life.computed, "seed {}", self.seed);
        for position in 0..chunk.start {
            let slot = self.slots[place(chunk, position)].unwrap();
            assert_eq!(slot.path, life.paths[position], "seed {}", self.seed);
            let both = slot.platform && life.tenant > 0 && is_platform(life, position);
            assert!(slot.tenant == life.tenant || both, "another tenant's");
        }
    }

    fn write(&mut self, chunk: &Chunk) {
        let life = &self.lives[&chunk.sequence];
        let mut path = chunk.start.checked_sub(1).map(|i| life.paths[i]);
        let all = life.tokens.iter().chain(&life.drafts);
        let rows: Vec<u32> = all.copied().skip(chunk.start).take(chunk.tokens).collect();
        assert_eq!(rows.len(), chunk.tokens);
        for (position, token) in (chunk.start..).zip(rows) {
            path = Some(self.path(path, token));
            let life = &self.lives[&chunk.sequence];
            self.slots[place(chunk, position)] = path.map(|path| Slot {
                path,
                tenant: life.tenant,
                platform: is_platform(life, position),
            });
        }
    }

    fn sample(&mut self, chunk: &Chunk) {
        let life = self.lives.get_mut(&chunk.sequence).unwrap();
        life.computed = chunk.start + chunk.tokens;
        assert_eq!(chunk.samples, life.computed >= life.tokens.len());
        if !chunk.samples {
            return;
        }
        let held = self.rng.random_range(0..=chunk.drafts);
        self.counts.drafts_held += held;
        let mut new = life.drafts[..held].to_vec();
        new.push(self.rng.random_range(3..5));
        life.tokens.extend(&new);
        life.computed = life.tokens.len() - 1;
        let (tokens, ended) = (life.tokens.clone(), life.tokens.len() > life.end);
        if ended {
            return self.end(chunk.sequence);
        }
        self.scheduler.push_tokens(chunk.sequence, &new);
        let paths = self.paths_of(&tokens);
        if let Some(life) = self.lives.get_mut(&chunk.sequence) {
            life.paths = paths;
        }
    }
}

fn place(chunk: &Chunk, position: usize) -> usize {
    chunk.blocks[position / BLOCK_TOKENS].0 as usize * BLOCK_TOKENS + position % BLOCK_TOKENS
}

fn is_platform(life: &Life, position: usize) -> bool {
    (position / BLOCK_TOKENS + 1) * BLOCK_TOKENS <= life.platform_tokens
}

/// Runs one random schedule to its end.
fn simulate(seed: u64) -> Counts {
    let mut world = World::new(seed);
    let arrivals = world.rng.random_range(1..24);
    let mut steps = 0;
    while world.ends.len() < arrivals || !world.lives.is_empty() {
        let more = world.ends.len() < arrivals;
        if more && (world.lives.is_empty() || world.rng.random_bool(0.4)) {
            world.arrive();
        }
        if world.rng.random_bool(0.04) {
            world.cancel_one();
        }
        world.step();
        steps += 1;
        assert!(steps < 100_000, "seed {seed} does not end");
    }
    assert!(world.ends.iter().all(|n| *n == 1), "each ends exactly once");
    let pool = world.scheduler.pool();
    assert_eq!(pool.free() + pool.cached(), pool.total(), "no block leaked");
    assert!(world.scheduler.is_idle());
    world.counts
}

#[test]
fn ten_thousand_random_schedules_keep_every_invariant() {
    let mut all = Counts::default();
    for seed in 0..10_000 {
        let counts = simulate(seed);
        all.preempted += counts.preempted;
        all.cached_tokens += counts.cached_tokens;
        all.drafts_held += counts.drafts_held;
        all.cancelled += counts.cancelled;
    }
    for (what, count) in [
        ("preemption", all.preempted),
        ("shared prefixes", all.cached_tokens),
        ("drafts that hold", all.drafts_held),
        ("cancellation", all.cancelled),
    ] {
        assert!(count > 5_000, "the simulation must meet {what}: {count}");
    }
}

#[test]
fn a_hundred_thousand_cycles_leak_no_block() {
    let mut world = World::new(77);
    while world.ends.len() < 100_000 {
        if world.lives.len() < 6 {
            world.arrive();
        }
        if world.rng.random_bool(0.3) {
            world.cancel_one();
        }
        world.step();
    }
    while let Some(id) = world.lives.keys().next().copied() {
        world.end(id);
    }
    let pool = world.scheduler.pool();
    assert_eq!(pool.free() + pool.cached(), pool.total());
    assert!(world.ends.iter().all(|n| *n == 1));
}
