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
use super::grammar::{self, Form, Function, Target};
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
/// Said of arguments that cannot be written as `key=value`.
const INEXPRESSIBLE: &str = "the model calls functions as Python does, and this schema says more \
     than which named arguments there are";

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

/// A form that cannot be honoured, and the field of the function's schema if it is one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub field: Option<String>,
    pub error: CompileError,
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
    pub async fn compile(self: &Arc<Self>, target: Target) -> Result<Constraint, Refused> {
        if let Some(known) = self.known(&key(&target)) {
            return Ok(known);
        }
        let whole = |error| Refused { field: None, error };
        let (this, permits) = (self.clone(), self.permits.clone());
        let work = async move {
            let permit = permits.acquire_owned().await;
            let compiling = move || {
                let made = this.compile_blocking(target);
                drop(permit);
                made
            };
            tokio::task::spawn_blocking(compiling)
                .await
                .unwrap_or_else(|broken| Err(whole(CompileError::Invalid(broken.to_string()))))
        };
        tokio::time::timeout(COMPILE_TIME_MAX, work)
            .await
            .unwrap_or(Err(whole(CompileError::TooSlow)))
    }

    /// As [`Self::compile`], on the caller's thread.
    ///
    /// # Errors
    /// As there.
    pub fn compile_blocking(&self, mut target: Target) -> Result<Constraint, Refused> {
        let asked = key(&target);
        if let Some(known) = self.known(&asked) {
            return Ok(known);
        }
        if let Some(calls) = &mut target.calls {
            let expresses: Vec<bool> = calls
                .functions
                .iter()
                .map(|f| {
                    f.arguments
                        .as_ref()
                        .is_none_or(|schema| calls.expresses(schema))
                })
                .collect();
            for (function, expressible) in calls.functions.iter_mut().zip(expresses) {
                self.check(function, expressible)?;
            }
        }
        let whole = |error| Refused { field: None, error };
        let made = self.make(self.grammar(&target)).map_err(whole)?;
        self.cache().insert(asked, Arc::new(made.clone()));
        Ok(made)
    }

    /// Tries a function's schema by itself, so that a refusal can name it; one that need
    /// not be held to is dropped instead.
    fn check(&self, function: &mut Function, expressible: bool) -> Result<(), Refused> {
        let Some(schema) = function.arguments.clone() else {
            return Ok(());
        };
        let tried = if expressible {
            let form = Some(Form::JsonSchema(schema));
            let (calls, reasoning) = (None, None);
            self.make(self.grammar(&Target {
                form,
                calls,
                reasoning,
            }))
        } else {
            Err(CompileError::Invalid(INEXPRESSIBLE.to_owned()))
        };
        match tried {
            Ok(_) => Ok(()),
            Err(error) if function.strict => Err(Refused {
                field: Some(function.field.clone()),
                error,
            }),
            Err(_) => {
                function.arguments = None;
                Ok(())
            }
        }
    }

    fn grammar(&self, target: &Target) -> TopLevelGrammar {
        let special = |text: &str| {
            let id = self.tokenizer.id(text)?;
            self.tokenizer.is_special(text).then_some(id)
        };
        grammar::compose(target, &special)
    }

    fn known(&self, key: &str) -> Option<Constraint> {
        let found = self.cache().get(key)?;
        Some(Constraint::clone(&found))
    }

    fn make(&self, grammar: TopLevelGrammar) -> Result<Constraint, CompileError> {
        let factory = self
            .factory
            .get_or_init(|| factory(&self.tokenizer, self.vocab, &self.ends))
            .as_ref()
            .map_err(Clone::clone)?;
        let parser = factory
            .create_parser(grammar)
            .map_err(|error| CompileError::Invalid(complaint(&error)))?;
        Ok(Constraint::new(GrammarMatcher::new(Matcher::new(Ok(
            parser,
        )))))
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache<Arc<Constraint>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The target's whole content: what is derived from it depends on nothing else.
fn key(target: &Target) -> String {
    format!("{target:?}")
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
