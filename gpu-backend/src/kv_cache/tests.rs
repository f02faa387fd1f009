//! The block pool by cases, and against a linear search through all that it holds.

use std::collections::VecDeque;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::prefix::{Chain, Identity, Salt};
use super::*;

fn chain(tokens: &[u32]) -> Chain {
    Chain::new(Identity::default(), tokens)
}

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
    a.truncate(17);
    assert_eq!(pool.free(), 6);
    drop(a);
    assert_eq!((pool.free(), pool.total()), (8, 8));
}

#[test]
fn a_given_back_block_is_found_until_it_is_needed_and_the_oldest_goes_first() {
    let pool = BlockPool::new(4);
    let tokens: Vec<u32> = (0..64).collect();
    let hashes = chain(&tokens);
    let mut a = pool.table();
    assert!(a.grow(48));
    for (i, hash) in hashes.hashes()[..3].iter().enumerate() {
        a.register(i, *hash);
    }
    let mut b = pool.table();
    assert_eq!(
        b.share(&hashes.hashes()[..2]),
        2,
        "shared while it is owned"
    );
    drop(a);
    assert_eq!((pool.free(), pool.used(), pool.cached()), (1, 2, 1));
    drop(b);
    assert_eq!((pool.free(), pool.used(), pool.cached()), (1, 0, 3));
    let mut c = pool.table();
    assert!(
        c.grow(32),
        "one free block, and the cached one unused the longest"
    );
    assert_eq!(pool.find(hashes.hashes()), 2, "a prefix goes from its end");
    assert!(c.grow(48));
    assert_eq!(pool.find(hashes.hashes()), 1);
    assert!(pool.fits(hashes.hashes(), 16));
    assert!(
        !pool.fits(hashes.hashes(), 17),
        "the found block is not free too"
    );
    pool.check([&c].into_iter()).unwrap();
    pool.forget_contents();
    assert_eq!((pool.find(hashes.hashes()), pool.free()), (0, 1));
    pool.check([&c].into_iter()).unwrap();
}

/// What the pool should hold: for each block given back or owned, its identity and all
/// tokens up to its end.
#[derive(Default)]
struct Naive {
    known: Vec<(BlockId, Vec<(u8, u32)>)>,
}

impl Naive {
    /// Looks through everything, block by block.
    fn find(&self, prompt: &[(u8, u32)]) -> usize {
        (1..=prompt.len() / BLOCK_TOKENS)
            .take_while(|blocks| {
                let wanted = &prompt[..blocks * BLOCK_TOKENS];
                self.known.iter().any(|(_, held)| held == wanted)
            })
            .count()
    }

    fn note(&mut self, id: BlockId, content: &[(u8, u32)]) {
        let there = |(_, held): &(BlockId, Vec<(u8, u32)>)| held == content;
        if !self.known.iter().any(there) {
            self.known.push((id, content.to_vec()));
        }
    }
}

/// Tokens with who wrote each: 0 nobody, 1 the platform, 2 and up a tenant. A block is
/// the platform's only as a whole.
fn written(identity: u8, platform_tokens: usize, tokens: &[u32]) -> Vec<(u8, u32)> {
    let whole = platform_tokens / BLOCK_TOKENS * BLOCK_TOKENS;
    let who = |i| match identity {
        0 => 0,
        _ if i < whole => 1,
        tenant => tenant + 2,
    };
    tokens
        .iter()
        .enumerate()
        .map(|(i, t)| (who(i), *t))
        .collect()
}

#[test]
fn what_is_found_by_hash_is_what_a_linear_search_finds() {
    let mut hits = 0;
    for seed in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pool = BlockPool::new(rng.random_range(5..24));
        let mut naive = Naive::default();
        let mut tables: VecDeque<BlockTable> = VecDeque::new();
        for _ in 0..120 {
            let identity: u8 = rng.random_range(0..3);
            let platform_tokens = rng.random_range(0..40);
            // Few different tokens and lengths, so that prefixes are met again.
            let length = rng.random_range(1..80);
            let kind = rng.random_range(0..3);
            let turn = rng.random_range(0..80);
            let tokens: Vec<u32> = (0..length)
                .map(|i| if i < turn { 7 } else { kind })
                .collect();
            let salt = (identity > 0).then(|| Salt::of(&identity.to_string()));
            let chain = Chain::new(
                Identity {
                    salt,
                    platform_tokens,
                },
                &tokens,
            );
            let content = written(identity, platform_tokens, &tokens);
            let found = pool.find(chain.hashes());
            assert_eq!(found, naive.find(&content), "seed {seed}");
            hits += found;
            if !pool.fits(chain.hashes(), length) {
                assert!(!tables.is_empty(), "an empty pool holds any of these");
                tables.remove(rng.random_range(0..tables.len()));
                pool.check(tables.iter()).unwrap();
                continue;
            }
            let mut table = pool.table();
            assert_eq!(table.share(chain.hashes()), found);
            assert!(table.grow(length), "it was said to fit");
            // What was taken anew no longer holds what it held.
            let fresh = &table.blocks()[found..];
            naive.known.retain(|(id, _)| !fresh.contains(id));
            for (i, hash) in chain.hashes().iter().enumerate() {
                table.register(i, *hash);
                naive.note(table.blocks()[i], &content[..(i + 1) * BLOCK_TOKENS]);
            }
            tables.push_back(table);
            pool.check(tables.iter()).unwrap();
        }
        drop(tables);
        assert_eq!(pool.free() + pool.cached(), pool.total());
    }
    assert!(hits > 1_000, "the test must meet shared prefixes: {hits}");
}
