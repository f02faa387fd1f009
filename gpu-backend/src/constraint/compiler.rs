//! Grammars to matchers: compiled off the engine's thread, within limits, and kept by
//! their content.
//! Knows nothing of HTTP, and nothing of the sequences that use a matcher.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};
use tokio::sync::Semaphore;

use super::Constraint;
use super::cache::Cache;
use super::grammar::{self, Form};
use super::matcher::GrammarMatcher;
use super::vocabulary::{VocabularyError, token_env};
use crate::tokenizer::Tokenizer;

/// Compiled grammars that are kept.
const CACHED_MAX: usize = 64;
/// Grammars that are compiled at the same time: they share the cores with the engine.
const COMPILING_MAX: usize = 2;
/// Longest wait for a compiled grammar. llguidance's own limits (`ParserLimits`) end a
/// compilation long before; this bounds the wait behind others too.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(10);
/// States of one sequence's lexer, at 1 to 2 KB each (llguidance's figure).
const LEXER_STATES_MAX: usize = 25_000;
/// Characters of a compiler's complaint that are passed on.
const COMPLAINT_CHARS_MAX: usize = 300;

/// A form cannot be turned into a constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The form is malformed, or uses what the compiler does not know.
    #[error("{0}")]
    Invalid(String),
    #[error("it took longer to compile than {} seconds", COMPILE_TIME_MAX.as_secs())]
    TooSlow,
    #[error("answers of this model cannot be constrained: {0}")]
    Vocabulary(#[from] VocabularyError),
}

/// Makes constraints for one model.
pub struct Compiler {
    tokenizer: Tokenizer,
    vocab: usize,
    ends: Vec<u32>,
    /// Made when it is first needed: its tables take a moment for a large vocabulary.
    factory: OnceLock<Result<ParserFactory, VocabularyError>>,
    cache: Mutex<Cache<Arc<Constraint>>>,
    permits: Arc<Semaphore>,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler")
            .field("vocab", &self.vocab)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl Compiler {
    /// `vocab` is the length of a row of logits, `ends` the end-of-sequence tokens.
    pub fn new(tokenizer: Tokenizer, vocab: usize, ends: Vec<u32>) -> Self {
        Self {
            tokenizer,
            vocab,
            ends,
            factory: OnceLock::new(),
            cache: Mutex::new(Cache::new(CACHED_MAX)),
            permits: Arc::new(Semaphore::new(COMPILING_MAX)),
        }
    }

    /// A fresh constraint, compiled on a thread of its own unless it is known.
    ///
    /// # Errors
    /// The form is malformed, too large or too slow.
    pub async fn compile(self: &Arc<Self>, form: Form) -> Result<Constraint, CompileError> {
        let grammar = grammar::compose(&form);
        let key = key(&grammar);
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let (this, permits) = (self.clone(), self.permits.clone());
        let work = async move {
            let permit = permits.acquire_owned().await;
            let compiling = move || {
                let made = this.make(grammar, key);
                drop(permit);
                made
            };
            tokio::task::spawn_blocking(compiling)
                .await
                .unwrap_or_else(|broken| Err(CompileError::Invalid(broken.to_string())))
        };
        tokio::time::timeout(COMPILE_TIME_MAX, work)
            .await
            .unwrap_or(Err(CompileError::TooSlow))
    }

    /// As [`Self::compile`], on the caller's thread.
    ///
    /// # Errors
    /// As there.
    pub fn compile_blocking(&self, form: &Form) -> Result<Constraint, CompileError> {
        let grammar = grammar::compose(form);
        let key = key(&grammar);
        match self.known(&key) {
            Some(known) => Ok(known),
            None => self.make(grammar, key),
        }
    }

    fn known(&self, key: &str) -> Option<Constraint> {
        let found = self.cache().get(key)?;
        Some(Constraint::clone(&found))
    }

    fn make(&self, grammar: TopLevelGrammar, key: String) -> Result<Constraint, CompileError> {
        let factory = self
            .factory
            .get_or_init(|| factory(&self.tokenizer, self.vocab, &self.ends))
            .as_ref()
            .map_err(Clone::clone)?;
        let parser = factory
            .create_parser(grammar)
            .map_err(|error| CompileError::Invalid(complaint(&error)))?;
        let made = Constraint::new(GrammarMatcher::new(Matcher::new(Ok(parser))));
        self.cache().insert(key, Arc::new(made.clone()));
        Ok(made)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache<Arc<Constraint>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The grammar's whole content.
fn key(grammar: &TopLevelGrammar) -> String {
    let part = |g: &llguidance::api::GrammarWithLexer| {
        serde_json::json!([g.name, g.json_schema, g.lark_grammar]).to_string()
    };
    grammar.grammars.iter().map(part).collect()
}

fn factory(
    tokenizer: &Tokenizer,
    vocab: usize,
    ends: &[u32],
) -> Result<ParserFactory, VocabularyError> {
    let env = token_env(tokenizer, vocab, ends)?;
    let slices = SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices)
        .map_err(|_| VocabularyError::UnknownDecoder)?;
    factory.quiet();
    *factory.limits_mut() = ParserLimits {
        max_lexer_states: LEXER_STATES_MAX,
        // Else an error repeats the whole grammar and the answer so far.
        verbose_errors: false,
        ..ParserLimits::default()
    };
    Ok(factory)
}

/// The compiler's words without a backtrace, and not without end.
fn complaint(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let text = text.split("<backtrace>").next().unwrap_or_default();
    text.trim().chars().take(COMPLAINT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
