//! One sequence's constraint: llguidance's matcher behind [`TokenConstraint`].
//! Knows nothing of where its grammar came from.

use llguidance::Matcher;

use super::{ConstraintError, TokenConstraint};

/// Bits of one word of a mask.
const WORD_BITS: usize = 32;

pub(super) struct GrammarMatcher(Matcher);

impl GrammarMatcher {
    pub(super) fn new(matcher: Matcher) -> Self {
        Self(matcher)
    }
}

impl std::fmt::Debug for GrammarMatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrammarMatcher").finish_non_exhaustive()
    }
}

fn failed(error: &anyhow::Error) -> ConstraintError {
    // The first line alone: a backtrace may follow.
    let message = error.to_string();
    ConstraintError(message.lines().next().unwrap_or_default().to_owned())
}

impl TokenConstraint for GrammarMatcher {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        let allowed = self.0.compute_mask_or_eos().map_err(|e| failed(&e))?;
        let words = allowed.as_slice();
        for (i, row) in logits.chunks_mut(WORD_BITS).enumerate() {
            // What the mask does not reach is no token of the grammar's vocabulary.
            let word = words.get(i).copied().unwrap_or(0);
            if word == u32::MAX {
                continue;
            }
            for (bit, logit) in row.iter_mut().enumerate() {
                if word & (1 << bit) == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self, token: u32) -> Result<(), ConstraintError> {
        if self.0.is_stopped() && !self.0.is_error() {
            // The end token after the grammar's end; there is nothing to advance.
            return Ok(());
        }
        self.0.consume_token(token).map_err(|e| failed(&e))
    }

    /// A deep copy: shared lexer caches would make sequences wait for each other in the
    /// parallel sampling phase.
    fn fork(&self) -> Box<dyn TokenConstraint> {
        Box::new(Self(self.0.deep_clone()))
    }
}
