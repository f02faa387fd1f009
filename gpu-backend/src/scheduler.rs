//! Which tokens of which sequences run in the next step: continuous batching with
//! chunked prefill, preemption by recomputation when the cache is full, first come
//! first served.
//!
//! Invariant: integers only; neither tensors nor text nor channels are known here.
//! Invariant: a sequence is either waiting or running; only running ones own blocks.
//! Invariant: the oldest running sequence is never preempted for a younger one, so
//! some sequence always advances.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use crate::kernels::BLOCK_TOKENS;
use crate::kv_cache::{BlockId, BlockPool, BlockTable};

/// A sequence, in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// The scheduler's limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sequences that run at the same time.
    pub sequences_max: usize,
    /// Tokens of one step over all sequences.
    pub step_tokens_max: usize,
    /// Tokens of one sequence, prompt and answer together.
    pub sequence_tokens_max: usize,
    /// Blocks of the cache.
    pub blocks: u32,
}

/// Why a sequence is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("an empty prompt")]
    Empty,
    #[error("more tokens than a sequence may have")]
    TooLong,
}

/// Some tokens of one sequence in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub sequence: SequenceId,
    /// Tokens already in the cache; the chunk's first token has this position.
    pub start: usize,
    pub tokens: usize,
    /// The chunk reaches the sequence's end: its last row gives the next token.
    pub samples: bool,
    pub blocks: Vec<BlockId>,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub chunks: Vec<Chunk>,
    /// Sequences that lost their blocks in this step and wait again.
    pub preempted: usize,
}

#[derive(Debug)]
struct Entry {
    /// Tokens known: the prompt and what was sampled.
    known: usize,
    /// Tokens in the cache.
    computed: usize,
    table: BlockTable,
}

/// All admitted sequences.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    pool: BlockPool,
    entries: BTreeMap<SequenceId, Entry>,
    waiting: VecDeque<SequenceId>,
    /// In order of arrival.
    running: Vec<SequenceId>,
}

impl Limits {
    /// Whether a lone sequence of the greatest length fits, without which the
    /// scheduler could not promise progress.
    pub fn hold_one_sequence(&self) -> bool {
        self.sequence_tokens_max.div_ceil(BLOCK_TOKENS) <= self.blocks as usize
            && self.sequences_max > 0
            && self.step_tokens_max > 0
    }
}

impl Scheduler {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            pool: BlockPool::new(limits.blocks),
            entries: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
        }
    }

    /// Puts a sequence into the queue. `answer_tokens_max` bounds the tokens that will
    /// be pushed; the last of them is never computed.
    ///
    /// # Errors
    /// It could never run to its end: it is empty or too long.
    pub fn admit(
        &mut self,
        id: SequenceId,
        prompt_tokens: usize,
        answer_tokens_max: usize,
    ) -> Result<(), Refused> {
        if prompt_tokens == 0 {
            return Err(Refused::Empty);
        }
        let longest = prompt_tokens.saturating_add(answer_tokens_max.saturating_sub(1));
        if longest > self.limits.sequence_tokens_max {
            return Err(Refused::TooLong);
        }
        let entry = Entry {
            known: prompt_tokens,
            computed: 0,
            table: self.pool.table(),
        };
        self.entries.insert(id, entry);
        self.waiting.push_back(id);
        Ok(())
    }

    /// Forgets a sequence and frees its blocks.
    pub fn remove(&mut self, id: SequenceId) {
        if self.entries.remove(&id).is_some() {
            self.waiting.retain(|other| *other != id);
            self.running.retain(|other| *other != id);
        }
    }

    /// Plans the next step and counts its tokens as computed. Empty when nothing waits
    /// or runs.
    pub fn schedule(&mut self) -> Plan {
        let mut plan = Plan::default();
        let mut budget = self.limits.step_tokens_max;
        self.continue_running(&mut plan, &mut budget);
        // A preempted sequence needs the blocks that others of this step took.
        if plan.preempted == 0 {
            self.start_waiting(&mut plan, &mut budget);
        }
        plan
    }

    /// The sequence's next token was sampled.
    pub fn push_token(&mut self, id: SequenceId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.known += 1;
        }
    }

    pub fn running(&self) -> usize {
        self.running.len()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn blocks_total(&self) -> usize {
        self.pool.total()
    }

    pub fn blocks_free(&self) -> usize {
        self.pool.free()
    }

    /// Running sequences first, oldest first; the youngest gives way when blocks run out.
    fn continue_running(&mut self, plan: &mut Plan, budget: &mut usize) {
        let mut next = 0;
        while next < self.running.len() && *budget > 0 {
            let id = self.running[next];
            if !self.has_pending(id) {
                next += 1;
                continue;
            }
            if let Some(chunk) = self.advance(id, *budget) {
                *budget -= chunk.tokens;
                plan.chunks.push(chunk);
                next += 1;
                continue;
            }
            // No block was free. The youngest may be this sequence itself.
            let youngest = self.running.len() - 1;
            self.preempt(youngest);
            plan.preempted += 1;
        }
    }

    fn has_pending(&self, id: SequenceId) -> bool {
        self.entries.get(&id).is_some_and(|e| e.known > e.computed)
    }

    fn preempt(&mut self, index: usize) {
        let id = self.running.remove(index);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.table.clear();
            entry.computed = 0;
        }
        self.waiting.push_front(id);
    }

    fn start_waiting(&mut self, plan: &mut Plan, budget: &mut usize) {
        while *budget > 0 && self.running.len() < self.limits.sequences_max {
            let Some(id) = self.waiting.front().copied() else {
                return;
            };
            // Start only what fits as a whole, or a long prompt would take the last
            // blocks bit by bit and be preempted before its first token.
            let fits = self
                .entries
                .get(&id)
                .is_some_and(|e| e.table.missing(e.known) <= self.pool.free());
            if !fits {
                return;
            }
            let Some(chunk) = self.advance(id, *budget) else {
                return;
            };
            self.waiting.pop_front();
            self.running.push(id);
            *budget -= chunk.tokens;
            plan.chunks.push(chunk);
        }
    }

    /// Takes the blocks for up to `budget` further tokens, or none.
    fn advance(&mut self, id: SequenceId, budget: usize) -> Option<Chunk> {
        let entry = self.entries.get_mut(&id)?;
        let tokens = (entry.known - entry.computed).min(budget);
        let start = entry.computed;
        if tokens == 0 || !entry.table.grow(start + tokens) {
            return None;
        }
        entry.computed += tokens;
        Some(Chunk {
            sequence: id,
            start,
            tokens,
            samples: entry.computed == entry.known,
            blocks: entry.table.blocks().to_vec(),
        })
    }

    /// Checks every invariant; the simulation calls it after each step.
    ///
    /// # Errors
    /// Says which invariant is broken.
    pub fn check_integrity(&self) -> Result<(), String> {
        let mut owned: Vec<BlockId> = self
            .entries
            .values()
            .flat_map(|e| e.table.blocks().iter().copied())
            .collect();
        if owned.len() + self.pool.free() != self.pool.total() {
            return Err(format!("{} owned + {} free", owned.len(), self.pool.free()));
        }
        owned.sort_unstable();
        if owned.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a block has two owners".to_owned());
        }
        let mut listed: Vec<SequenceId> =
            self.waiting.iter().chain(&self.running).copied().collect();
        listed.sort_unstable();
        if !listed.iter().eq(self.entries.keys()) {
            return Err("a sequence is neither waiting nor running, or both".to_owned());
        }
        if self.running.len() > self.limits.sequences_max {
            return Err("too many sequences run".to_owned());
        }
        for (id, entry) in &self.entries {
            let capacity = entry.table.blocks().len() * BLOCK_TOKENS;
            if entry.computed > entry.known || entry.computed > capacity {
                return Err(format!("{id:?}: {entry:?}"));
            }
            if self.waiting.contains(id) && !entry.table.blocks().is_empty() {
                return Err(format!("{id:?} waits and owns blocks"));
            }
        }
        Ok(())
    }
}
