//! What a full block holds, as one hash: its own tokens, whose they are, and all that
//! stands before them. Two blocks with the same hash hold the same keys and values.
//!
//! Invariant: the identity of a block is the tenant's, or the platform's where the whole
//! block is inside the platform's own prefix; without a salt it is nobody's. It is part
//! of the hash, and so of every later block's: no tenant meets another's block.
//! Knows nothing of text: who the tenant is comes from the server's trusted caller.

use sha2::{Digest, Sha256};

use crate::kernels::BLOCK_TOKENS;

/// A tenant's salt, as a hash: integers only below the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Salt([u8; 32]);

impl Salt {
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

/// Whose prompt it is, and how much of it the platform wrote itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Absent: shared with those who have none either, and with no others.
    pub salt: Option<Salt>,
    /// Leading tokens that are the platform's own, the same for all tenants. Counts
    /// only beside a salt.
    pub platform_tokens: usize,
}

/// The hash of a block and of all before it. SHA-256, so that a collision cannot be
/// made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockHash([u8; 32]);

/// The hashes of a sequence's full blocks, which grow with its tokens.
#[derive(Clone, Debug)]
pub struct Chain {
    identity: Identity,
    hashes: Vec<BlockHash>,
    /// Tokens after the last full block.
    rest: Vec<u32>,
}

impl Chain {
    pub fn new(identity: Identity, tokens: &[u32]) -> Self {
        let mut chain = Self {
            identity,
            hashes: Vec::with_capacity(tokens.len() / BLOCK_TOKENS),
            rest: Vec::with_capacity(BLOCK_TOKENS),
        };
        chain.push(tokens);
        chain
    }

    /// Appends tokens.
    pub fn push(&mut self, tokens: &[u32]) {
        for token in tokens {
            self.rest.push(*token);
            if self.rest.len() == BLOCK_TOKENS {
                let hash = self.hash();
                self.hashes.push(hash);
                self.rest.clear();
            }
        }
    }

    /// One hash for each full block.
    pub fn hashes(&self) -> &[BlockHash] {
        &self.hashes
    }

    fn hash(&self) -> BlockHash {
        let mut hash = Sha256::new();
        if let Some(before) = self.hashes.last() {
            hash.update(before.0);
        }
        let end = (self.hashes.len() + 1) * BLOCK_TOKENS;
        match self.identity.salt {
            None => hash.update([0]),
            Some(_) if end <= self.identity.platform_tokens => hash.update([1]),
            Some(salt) => {
                hash.update([2]);
                hash.update(salt.0);
            }
        }
        for token in &self.rest {
            hash.update(token.to_le_bytes());
        }
        BlockHash(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(salt: &str, platform_tokens: usize) -> Identity {
        let salt = (!salt.is_empty()).then(|| Salt::of(salt));
        Identity {
            salt,
            platform_tokens,
        }
    }

    /// How many leading blocks two prompts share.
    #[track_caller]
    fn check(a: (Identity, &[u32]), b: (Identity, &[u32]), shared: usize) {
        let (a, b) = (Chain::new(a.0, a.1), Chain::new(b.0, b.1));
        let same = a
            .hashes()
            .iter()
            .zip(b.hashes())
            .take_while(|(a, b)| a == b);
        assert_eq!(same.count(), shared);
    }

    #[test]
    fn only_the_same_tokens_after_the_same_tokens_of_the_same_tenant_are_shared() {
        let tokens: Vec<u32> = (0..70).collect();
        let mut other = tokens.clone();
        other[20] = 999;
        let a = identity("a", 0);
        check((a, &tokens), (a, &tokens), 4);
        check((a, &tokens), (a, &tokens[..63]), 3);
        // A difference in the second block parts all that follows.
        check((a, &tokens), (a, &other), 1);
        check((a, &tokens), (identity("b", 0), &tokens), 0);
        check((a, &tokens), (identity("", 0), &tokens), 0);
        check((identity("", 0), &tokens), (identity("", 0), &tokens), 4);
    }

    #[test]
    fn the_platforms_prefix_is_shared_by_whole_blocks_and_never_without_a_salt() {
        let tokens: Vec<u32> = (0..70).collect();
        let a = identity("a", 40);
        check((a, &tokens), (identity("b", 40), &tokens), 2);
        check((a, &tokens), (identity("b", 31), &tokens), 1);
        check((a, &tokens), (identity("b", 15), &tokens), 0);
        check((a, &tokens), (identity("", 40), &tokens), 0);
        check((identity("", 40), &tokens), (identity("", 0), &tokens), 4);
    }

    #[test]
    fn a_chain_that_grew_is_the_chain_of_all_tokens() {
        let tokens: Vec<u32> = (0..100).map(|i| i * 7 % 13).collect();
        let whole = Chain::new(identity("a", 20), &tokens);
        let mut grown = Chain::new(identity("a", 20), &tokens[..33]);
        for part in tokens[33..].chunks(5) {
            grown.push(part);
        }
        assert_eq!(grown.hashes(), whole.hashes());
        assert_eq!(whole.hashes().len(), 6);
    }
}
