//! Which blocks of the paged cache are taken. Integers only: the tensors of the cache
//! live in `model.rs`.
//!
//! Invariant: free + taken = total, after every operation; a block has one owner at a
//! time, and an owner gives its blocks back by `Drop`.
//! Knows nothing of tensors or of what a block holds.

use std::cell::RefCell;
use std::rc::Rc;

use crate::kernels::BLOCK_TOKENS;

/// A block of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// All blocks of one cache.
#[derive(Clone, Debug)]
pub struct BlockPool {
    inner: Rc<RefCell<Free>>,
}

#[derive(Debug)]
struct Free {
    /// Free blocks, the last one is taken next.
    ids: Vec<BlockId>,
    total: usize,
}

/// The blocks of one sequence, in the order of its tokens.
#[derive(Debug)]
pub struct BlockTable {
    blocks: Vec<BlockId>,
    pool: BlockPool,
}

impl BlockPool {
    pub fn new(total: u32) -> Self {
        let ids: Vec<BlockId> = (0..total).rev().map(BlockId).collect();
        let total = ids.len();
        Self {
            inner: Rc::new(RefCell::new(Free { ids, total })),
        }
    }

    pub fn free(&self) -> usize {
        self.inner.borrow().ids.len()
    }

    pub fn total(&self) -> usize {
        self.inner.borrow().total
    }

    /// An empty table on this pool.
    pub fn table(&self) -> BlockTable {
        BlockTable {
            blocks: Vec::new(),
            pool: self.clone(),
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

    /// Takes blocks until `tokens` tokens fit; takes none where not all can be had.
    #[must_use]
    pub fn grow(&mut self, tokens: usize) -> bool {
        let missing = self.missing(tokens);
        let ids = &mut self.pool.inner.borrow_mut().ids;
        if missing > ids.len() {
            return false;
        }
        let rest = ids.len() - missing;
        self.blocks.extend(ids.drain(rest..).rev());
        true
    }

    /// Gives all blocks back.
    pub fn clear(&mut self) {
        let ids = &mut self.pool.inner.borrow_mut().ids;
        ids.extend(self.blocks.drain(..).rev());
    }
}

impl Drop for BlockTable {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_takes_whole_blocks_and_all_or_none() {
        let pool = BlockPool::new(4);
        let mut a = pool.table();
        assert!(a.grow(1) && a.blocks() == [BlockId(0)] && pool.free() == 3);
        assert!(
            a.grow(16) && pool.free() == 3,
            "the first block holds sixteen tokens"
        );
        assert!(a.grow(17) && a.blocks().len() == 2);
        let mut b = pool.table();
        assert!(!b.grow(33), "three blocks are not to be had");
        assert!(b.blocks().is_empty() && pool.free() == 2);
        assert!(b.grow(32) && pool.free() == 0);
        assert_eq!((a.missing(32), a.missing(33)), (0, 1));
    }

    #[test]
    fn a_dropped_or_cleared_table_gives_everything_back_once() {
        let pool = BlockPool::new(8);
        let mut a = pool.table();
        assert!(a.grow(100));
        a.clear();
        assert_eq!(pool.free(), 8);
        assert!(a.grow(40));
        drop(a);
        assert_eq!((pool.free(), pool.total()), (8, 8));
    }
}
