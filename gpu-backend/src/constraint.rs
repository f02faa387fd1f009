//! What an answer must look like, and how that is enforced token by token: a request's
//! JSON schema, regular expression, choice, grammar or tool calls are compiled (off the
//! engine's thread) into a matcher, which the sampler asks for a mask at each step.
//!
//! Invariant: the engine sees [`TokenConstraint`] alone: token ids and logits, no text.
//! Knows no HTTP and no wire type.

pub mod grammar;

mod cache;
pub mod compiler;
mod matcher;
mod schema;
mod vocabulary;

/// A constraint could not go on. The request that it belongs to ends; nothing else does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the constraint on the answer failed: {0}")]
pub struct ConstraintError(pub String);

/// Which tokens may come next in one sequence.
pub trait TokenConstraint: std::fmt::Debug + Send + Sync {
    /// Sets the logits of all tokens that may not come next to −∞. Once the grammar has
    /// ended, only end-of-sequence tokens are left.
    ///
    /// # Errors
    /// The constraint met one of its limits, or a fault of its own.
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError>;

    /// Takes note of the token that was chosen.
    ///
    /// # Errors
    /// The token is not one that the mask had left, or a limit was met.
    fn advance(&mut self, token: u32) -> Result<(), ConstraintError>;

    /// An independent copy, in the same state.
    fn fork(&self) -> Box<dyn TokenConstraint>;
}

/// A constraint as a value: a copy goes its own way.
#[derive(Debug)]
pub struct Constraint(Box<dyn TokenConstraint>);

impl Constraint {
    pub fn new(inner: impl TokenConstraint + 'static) -> Self {
        Self(Box::new(inner))
    }

    /// See [`TokenConstraint::mask`].
    ///
    /// # Errors
    /// As there.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        self.0.mask(logits)
    }

    /// See [`TokenConstraint::advance`].
    ///
    /// # Errors
    /// As there.
    pub fn advance(&mut self, token: u32) -> Result<(), ConstraintError> {
        self.0.advance(token)
    }
}

impl Clone for Constraint {
    fn clone(&self) -> Self {
        Self(self.0.fork())
    }
}
