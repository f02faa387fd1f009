//! Which tokens of which sequences run in the next step: continuous batching with
//! chunked prefill, prefixes taken from the cache, priorities, a fair share for each
//! tenant, and preemption by recomputation when the cache is full.
//!
//! Invariant: integers only; neither tensors nor text nor channels are known here.
//! Invariant: a sequence is either waiting or running; only running ones own blocks.
//! Invariant: the first running sequence, by priority and then by start, never gives way
//! to a later one, so some sequence always advances.
//! Invariant: the last token of a sequence is never taken from the cache, for it must be
//! computed to give the next.

mod integrity;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::kernels::BLOCK_TOKENS;
use crate::kv_cache::prefix::{Chain, Identity};
use crate::kv_cache::{BlockId, BlockPool, BlockTable};
use queue::{ANSWER_WEIGHT, PROMPT_WEIGHT, Place, Queue, Tenant, Turn};

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

/// What a sequence brings beside its prompt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Bounds the tokens that will be pushed; the last of them is never computed.
    pub answer_tokens_max: usize,
    /// Whose it is; its salt is also whose fair share it counts for.
    pub identity: Identity,
    /// Smaller is earlier.
    pub priority: i32,
}

/// Some tokens of one sequence in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub sequence: SequenceId,
    /// Tokens already in the cache; the chunk's first token has this position.
    pub start: usize,
    pub tokens: usize,
    /// The chunk reaches the sequence's end: its last row gives the next token, and so
    /// does the row before each draft.
    pub samples: bool,
    /// Of `tokens` the last ones, which are only supposed.
    pub drafts: usize,
    pub blocks: Vec<BlockId>,
}

/// A sequence that waited runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    pub sequence: SequenceId,
    /// Tokens that were looked for in the cache, and those found.
    pub queried_tokens: usize,
    pub cached_tokens: usize,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub chunks: Vec<Chunk>,
    pub started: Vec<Started>,
    /// Sequences that lost their blocks in this step and wait again.
    pub preempted: usize,
}

#[derive(Debug)]
struct Entry {
    tenant: Tenant,
    priority: i32,
    turn: Turn,
    /// Tokens known: the prompt and what was sampled.
    known: usize,
    /// Tokens in the cache.
    computed: usize,
    /// Tokens supposed to follow, to be tried in the next step.
    drafts: usize,
    table: BlockTable,
    /// What its full blocks hold; absent where they are not to be shared.
    chain: Option<Chain>,
    /// Blocks of which others may know.
    registered: usize,
}

/// All admitted sequences.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    pool: BlockPool,
    entries: BTreeMap<SequenceId, Entry>,
    queue: Queue,
    /// By priority, and among equals by their start.
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

    /// Whether a sequence could ever run to its end.
    ///
    /// # Errors
    /// It is empty or too long.
    pub fn check(&self, prompt_tokens: usize, answer_tokens_max: usize) -> Result<(), Refused> {
        if prompt_tokens == 0 {
            return Err(Refused::Empty);
        }
        let longest = prompt_tokens.saturating_add(answer_tokens_max.saturating_sub(1));
        if longest > self.sequence_tokens_max {
            return Err(Refused::TooLong);
        }
        Ok(())
    }
}

impl Scheduler {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            pool: BlockPool::new(limits.blocks),
            entries: BTreeMap::new(),
            queue: Queue::default(),
            running: Vec::new(),
        }
    }

    /// Puts a sequence into the queue; what it computes is shared within its identity.
    ///
    /// # Errors
    /// It could never run to its end: it is empty or too long.
    pub fn admit_shared(
        &mut self,
        id: SequenceId,
        prompt: &[u32],
        terms: Terms,
    ) -> Result<(), Refused> {
        let chain = Chain::new(terms.identity, prompt);
        self.enter(id, prompt.len(), terms, Some(chain))
    }

    /// As [`Self::admit_shared`] for a sequence that shares nothing: its tokens need not
    /// be known.
    ///
    /// # Errors
    /// As [`Self::admit_shared`].
    pub fn admit_alone(
        &mut self,
        id: SequenceId,
        prompt_tokens: usize,
        terms: Terms,
    ) -> Result<(), Refused> {
        self.enter(id, prompt_tokens, terms, None)
    }

    /// As [`Self::admit_alone`], on ordinary terms.
    ///
    /// # Errors
    /// As [`Self::admit_shared`].
    pub fn admit(
        &mut self,
        id: SequenceId,
        prompt_tokens: usize,
        answer_tokens_max: usize,
    ) -> Result<(), Refused> {
        let terms = Terms {
            answer_tokens_max,
            ..Terms::default()
        };
        self.admit_alone(id, prompt_tokens, terms)
    }

    fn enter(
        &mut self,
        id: SequenceId,
        prompt_tokens: usize,
        terms: Terms,
        chain: Option<Chain>,
    ) -> Result<(), Refused> {
        self.limits.check(prompt_tokens, terms.answer_tokens_max)?;
        let entry = Entry {
            tenant: terms.identity.salt,
            priority: terms.priority,
            turn: Turn::New,
            known: prompt_tokens,
            computed: 0,
            drafts: 0,
            table: self.pool.table(),
            chain,
            registered: 0,
        };
        self.queue.enter(entry.tenant, entry.place(id));
        self.entries.insert(id, entry);
        Ok(())
    }

    /// Forgets a sequence and gives its blocks back; what they hold can still be found.
    pub fn remove(&mut self, id: SequenceId) {
        if let Some(mut entry) = self.entries.remove(&id) {
            entry.register_computed();
            self.queue.take(entry.tenant, entry.place(id));
            self.queue.leave(entry.tenant);
            self.running.retain(|other| *other != id);
        }
    }

    /// A step failed: what the cache holds is not to be relied on.
    pub fn forget_contents(&mut self) {
        self.pool.forget_contents();
        for entry in self.entries.values_mut() {
            entry.chain = None;
        }
    }

    /// Plans the next step, and takes the blocks that it needs.
    pub fn schedule(&mut self) -> Plan {
        let mut plan = Plan::default();
        let mut budget = self.limits.step_tokens_max;
        for id in &self.running {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.register_computed();
            }
        }
        self.make_way(&mut plan);
        let gave_way = plan.preempted;
        self.continue_running(&mut plan, &mut budget);
        // A preempted sequence needs the blocks that others of this step took.
        if plan.preempted == gave_way {
            self.start_waiting(&mut plan, &mut budget);
        }
        for id in &self.running {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.drafts = 0;
            }
        }
        plan
    }

    /// The next token of a sequence that shares nothing was sampled.
    pub fn push_token(&mut self, id: SequenceId) {
        self.push(id, 1, None);
    }

    /// The next tokens of a sequence were sampled: one, and one more for each of its
    /// drafts that held. The blocks of those that did not are given back.
    pub fn push_tokens(&mut self, id: SequenceId, tokens: &[u32]) {
        self.push(id, tokens.len(), Some(tokens));
    }

    fn push(&mut self, id: SequenceId, count: usize, tokens: Option<&[u32]>) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.known += count;
        entry.computed = entry.computed.min(entry.known - 1);
        entry.table.truncate(entry.computed);
        match (&mut entry.chain, tokens) {
            (Some(chain), Some(tokens)) => chain.push(tokens),
            (chain, _) => *chain = None,
        }
        self.queue
            .charge(entry.tenant, ANSWER_WEIGHT * count as u64);
    }

    /// Whether a sequence has nothing left to compute but its last known token: then it
    /// may be given drafts.
    pub fn awaits_one(&self, id: SequenceId) -> bool {
        let running = |entry: &&Entry| !entry.table.blocks().is_empty();
        let entry = self.entries.get(&id).filter(running);
        entry.is_some_and(|e| e.known == e.computed + 1)
    }

    /// Has `drafts` supposed tokens tried in the next step, or fewer if there is no room.
    pub fn suppose(&mut self, id: SequenceId, drafts: usize) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.drafts = drafts;
        }
    }

    pub fn running(&self) -> usize {
        self.running.len()
    }

    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    /// The blocks: how many are free, used and cached.
    pub fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// Lets the most urgent of those that wait in, if those that are less urgent stand in
    /// its way.
    fn make_way(&mut self, plan: &mut Plan) {
        while let Some(first) = self.queue.first()
            && let Some(last) = self.running.last()
            && self.priority(*last) > first.priority
            && (self.running.len() >= self.limits.sequences_max || !self.fits(first.id))
        {
            self.preempt_last(plan);
        }
    }

    /// Running sequences first, in their order; the last gives way when blocks run out.
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
            // No block was left. The last may be this sequence itself.
            self.preempt_last(plan);
        }
    }

    fn has_pending(&self, id: SequenceId) -> bool {
        self.entries.get(&id).is_some_and(|e| e.known > e.computed)
    }

    fn priority(&self, id: SequenceId) -> i32 {
        self.entries.get(&id).map_or(i32::MAX, |e| e.priority)
    }

    fn fits(&self, id: SequenceId) -> bool {
        let fits = |e: &Entry| self.pool.fits(e.findable(), e.known);
        self.entries.get(&id).is_some_and(fits)
    }

    fn preempt_last(&mut self, plan: &mut Plan) {
        let Some(id) = self.running.pop() else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.table.clear();
            (entry.computed, entry.registered, entry.drafts) = (0, 0, 0);
            entry.turn = Turn::Resumed;
            self.queue.wait(entry.tenant, entry.place(id));
        }
        plan.preempted += 1;
    }

    fn start_waiting(&mut self, plan: &mut Plan, budget: &mut usize) {
        while *budget > 0 && self.running.len() < self.limits.sequences_max {
            let Some(place) = self.queue.first() else {
                return;
            };
            // Start only what fits as a whole, or a long prompt would take the last
            // blocks bit by bit and be preempted before its first token.
            if !self.fits(place.id) {
                return;
            }
            let Some(started) = self.start(place) else {
                return;
            };
            plan.started.push(started);
            if let Some(chunk) = self.advance(place.id, *budget) {
                *budget -= chunk.tokens;
                plan.chunks.push(chunk);
            }
        }
    }

    /// Moves a sequence from the queue to the running ones, with what the cache holds of
    /// its prefix.
    fn start(&mut self, place: Place) -> Option<Started> {
        let entry = self.entries.get_mut(&place.id)?;
        self.queue.take(entry.tenant, place);
        let findable = match &entry.chain {
            Some(chain) => &chain.hashes()[..entry.findable().len()],
            None => &[],
        };
        let queried_tokens = findable.len() * BLOCK_TOKENS;
        let found = entry.table.share(findable);
        let cached_tokens = found * BLOCK_TOKENS;
        (entry.computed, entry.registered) = (cached_tokens, found);
        if entry.turn == Turn::New {
            // What is computed again after a preemption is nobody's wish.
            let service = PROMPT_WEIGHT * (entry.known - cached_tokens) as u64;
            self.queue.charge(entry.tenant, service);
        }
        let at = |other: &SequenceId| {
            let other = self.entries.get(other);
            other.is_some_and(|other| other.priority <= place.priority)
        };
        let index = self.running.partition_point(at);
        self.running.insert(index, place.id);
        Some(Started {
            sequence: place.id,
            queried_tokens,
            cached_tokens,
        })
    }

    /// Takes the blocks for up to `budget` further tokens, or none. Drafts are left out
    /// where there is no block for them.
    fn advance(&mut self, id: SequenceId, budget: usize) -> Option<Chunk> {
        let entry = self.entries.get_mut(&id)?;
        let pending = entry.known - entry.computed;
        let start = entry.computed;
        let mut tokens = (pending + entry.drafts).min(budget);
        if !entry.table.grow(start + tokens) {
            tokens = pending.min(budget);
            if !entry.table.grow(start + tokens) {
                return None;
            }
        }
        entry.computed += tokens;
        (tokens > 0).then(|| Chunk {
            sequence: id,
            start,
            tokens,
            samples: entry.computed >= entry.known,
            drafts: entry.computed.saturating_sub(entry.known),
            blocks: entry.table.blocks().to_vec(),
        })
    }
}

impl Entry {
    fn place(&self, id: SequenceId) -> Place {
        Place {
            priority: self.priority,
            turn: self.turn,
            id,
        }
    }

    /// What may be looked for in the cache: all full blocks, but for the last token.
    fn findable(&self) -> &[crate::kv_cache::prefix::BlockHash] {
        let usable = (self.known - 1) / BLOCK_TOKENS;
        let hashes = self.chain.as_ref().map_or(&[][..], Chain::hashes);
        &hashes[..usable.min(hashes.len())]
    }

    /// Makes the full blocks known that earlier steps computed.
    fn register_computed(&mut self) {
        let Some(chain) = &self.chain else {
            return;
        };
        let full = self.computed.min(self.known) / BLOCK_TOKENS;
        while self.registered < full.min(chain.hashes().len()) {
            let hash = chain.hashes()[self.registered];
            self.table.register(self.registered, hash);
            self.registered += 1;
        }
    }
}
