//! Which blocks of the paged cache are taken, by how many, and what the others still
//! hold. Integers only: the tensors of the cache live in `model.rs`.
//!
//! A block is *free* (it holds nothing of use), *used* (sequences own it, several where
//! they share a prefix) or *cached* (nobody owns it, but its content may be met again).
//! Cached blocks are taken when no free one is left, the longest unused first.
//!
//! Invariant: free + used + cached = total, after every operation; an owner gives its
//! blocks back by `Drop`.
//! Invariant: a shared block is full and is never written again.
//! Knows nothing of tensors, or of what a hash stands for.

pub mod prefix;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::kernels::BLOCK_TOKENS;
use prefix::BlockHash;

/// A block of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// All blocks of one cache.
#[derive(Clone, Debug)]
pub struct BlockPool {
    inner: Rc<RefCell<Blocks>>,
}

#[derive(Debug)]
struct Blocks {
    states: Vec<State>,
    /// The last one is taken next.
    free: Vec<BlockId>,
    /// By when they were given back.
    cached: BTreeMap<u64, BlockId>,
    by_hash: HashMap<BlockHash, BlockId>,
    clock: u64,
}

#[derive(Clone, Debug, Default)]
struct State {
    owners: u32,
    /// Set while the block can be found by its content.
    hash: Option<BlockHash>,
    /// Its key among the cached, while it is one of them.
    given_back: u64,
}

/// The blocks of one sequence, in the order of its tokens.
#[derive(Debug)]
pub struct BlockTable {
    blocks: Vec<BlockId>,
    pool: BlockPool,
}

impl BlockPool {
    pub fn new(total: u32) -> Self {
        let inner = Blocks {
            states: vec![State::default(); total as usize],
            free: (0..total).rev().map(BlockId).collect(),
            cached: BTreeMap::new(),
            by_hash: HashMap::new(),
            clock: 0,
        };
        Self {
            inner: Rc::new(RefCell::new(inner)),
        }
    }

    pub fn total(&self) -> usize {
        self.inner.borrow().states.len()
    }

    /// Blocks that hold nothing of use.
    pub fn free(&self) -> usize {
        self.inner.borrow().free.len()
    }

    /// Blocks that nobody owns and that can be found by their content.
    pub fn cached(&self) -> usize {
        self.inner.borrow().cached.len()
    }

    pub fn used(&self) -> usize {
        self.total() - self.free() - self.cached()
    }

    /// An empty table on this pool.
    pub fn table(&self) -> BlockTable {
        BlockTable {
            blocks: Vec::new(),
            pool: self.clone(),
        }
    }

    /// How many of `hashes`, from the first on, are found.
    pub fn find(&self, hashes: &[BlockHash]) -> usize {
        let inner = self.inner.borrow();
        let found = |hash: &&BlockHash| inner.by_hash.contains_key(*hash);
        hashes.iter().take_while(found).count()
    }

    /// Whether an empty table could share what is found of `hashes` and take the rest
    /// of the blocks for `tokens`.
    pub fn fits(&self, hashes: &[BlockHash], tokens: usize) -> bool {
        let inner = self.inner.borrow();
        let found = hashes.iter().map_while(|hash| inner.by_hash.get(hash));
        // A found block that is merely cached is then no longer there to be taken.
        let (mut shared, mut revived) = (0, 0);
        for id in found {
            shared += 1;
            revived += usize::from(inner.states[id.0 as usize].owners == 0);
        }
        let new = tokens.div_ceil(BLOCK_TOKENS).saturating_sub(shared);
        new + revived <= inner.available()
    }

    /// Forgets what blocks hold; those that are owned stay owned.
    pub fn forget_contents(&self) {
        let mut inner = self.inner.borrow_mut();
        let cached: Vec<BlockId> = std::mem::take(&mut inner.cached).into_values().collect();
        inner.free.extend(cached);
        inner.by_hash.clear();
        for state in &mut inner.states {
            state.hash = None;
        }
    }

    /// Checks every invariant, given all tables; simulations call it after each step.
    ///
    /// # Errors
    /// Says which invariant is broken.
    pub fn check<'a>(&self, tables: impl Iterator<Item = &'a BlockTable>) -> Result<(), String> {
        let inner = self.inner.borrow();
        let mut owners = vec![0u32; inner.states.len()];
        for id in tables.flat_map(|table| &table.blocks) {
            owners[id.0 as usize] += 1;
        }
        let used = owners.iter().filter(|n| **n > 0).count();
        let (free, cached) = (inner.free.len(), inner.cached.len());
        if free + used + cached != inner.states.len() {
            return Err(format!("{free} free + {used} used + {cached} cached"));
        }
        let mut seen = vec![false; inner.states.len()];
        for id in inner.free.iter().chain(inner.cached.values()) {
            if std::mem::replace(&mut seen[id.0 as usize], true) || owners[id.0 as usize] > 0 {
                return Err(format!("{id:?} is free or cached twice, or owned"));
            }
        }
        for (state, (id, owners)) in inner.states.iter().zip((0..).map(BlockId).zip(owners)) {
            let listed = inner.cached.get(&state.given_back) == Some(&id);
            let found = state.hash.map(|hash| inner.by_hash.get(&hash) == Some(&id));
            let cached = owners == 0 && state.hash.is_some();
            if state.owners != owners || found == Some(false) || cached != listed {
                return Err(format!("{id:?} has {owners} owners: {state:?}"));
            }
        }
        let hashed = inner.states.iter().filter(|s| s.hash.is_some()).count();
        if hashed != inner.by_hash.len() {
            return Err("a hash leads to a block of another content".to_owned());
        }
        Ok(())
    }
}

impl Blocks {
    /// Blocks that can be taken.
    fn available(&self) -> usize {
        self.free.len() + self.cached.len()
    }

    /// A free block, or else the one that was unused the longest.
    fn take(&mut self) -> Option<BlockId> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => self.cached.pop_first()?.1,
        };
        let state = &mut self.states[id.0 as usize];
        state.owners = 1;
        if let Some(hash) = state.hash.take() {
            self.by_hash.remove(&hash);
        }
        Some(id)
    }

    /// One more owner for the block that holds this, if one does.
    fn share(&mut self, hash: &BlockHash) -> Option<BlockId> {
        let id = *self.by_hash.get(hash)?;
        let state = &mut self.states[id.0 as usize];
        if state.owners == 0 {
            self.cached.remove(&state.given_back);
        }
        state.owners += 1;
        Some(id)
    }

    fn give_back(&mut self, id: BlockId) {
        let state = &mut self.states[id.0 as usize];
        state.owners -= 1;
        if state.owners > 0 {
            return;
        }
        if state.hash.is_some() {
            self.clock += 1;
            state.given_back = self.clock;
            self.cached.insert(self.clock, id);
        } else {
            self.free.push(id);
        }
    }
}

impl BlockTable {
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Blocks still missing before `tokens` tokens fit.
    pub fn missing(&self, tokens: usize) -> usize {
        tokens
            .div_ceil(BLOCK_TOKENS)
            .saturating_sub(self.blocks.len())
    }

    /// Takes what is found of `hashes`, from the first on, into an empty table; returns
    /// how many blocks that were.
    pub fn share(&mut self, hashes: &[BlockHash]) -> usize {
        debug_assert!(self.blocks.is_empty(), "a prefix stands before all else");
        let mut inner = self.pool.inner.borrow_mut();
        self.blocks
            .extend(hashes.iter().map_while(|hash| inner.share(hash)));
        self.blocks.len()
    }

    /// Takes blocks until `tokens` tokens fit; takes none where not all can be had.
    #[must_use]
    pub fn grow(&mut self, tokens: usize) -> bool {
        let missing = self.missing(tokens);
        let mut inner = self.pool.inner.borrow_mut();
        if missing > inner.available() {
            return false;
        }
        self.blocks
            .extend(std::iter::from_fn(|| inner.take()).take(missing));
        true
    }

    /// Lets the table's block `index`, now full, be found by its content. Where another
    /// block holds the same already, that one stays the one to be found.
    pub fn register(&mut self, index: usize, hash: BlockHash) {
        let inner = &mut *self.pool.inner.borrow_mut();
        let Some(id) = self.blocks.get(index) else {
            return;
        };
        let state = &mut inner.states[id.0 as usize];
        if state.hash.is_none() && !inner.by_hash.contains_key(&hash) {
            state.hash = Some(hash);
            inner.by_hash.insert(hash, *id);
        }
    }

    /// Gives back the blocks that `tokens` tokens do not need.
    pub fn truncate(&mut self, tokens: usize) {
        let kept = tokens.div_ceil(BLOCK_TOKENS).min(self.blocks.len());
        let mut inner = self.pool.inner.borrow_mut();
        // From the end: a prefix is the last of a sequence's blocks to be forgotten.
        for id in self.blocks.drain(kept..).rev() {
            inner.give_back(id);
        }
    }

    /// Gives all blocks back.
    pub fn clear(&mut self) {
        self.truncate(0);
    }
}

impl Drop for BlockTable {
    fn drop(&mut self) {
        self.clear();
    }
}
