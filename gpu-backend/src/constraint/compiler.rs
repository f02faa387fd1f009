//! Grammars to matchers: compiled off the engine's thread, within limits, and kept by
//! their content.
//! Knows nothing of HTTP, and nothing of the sequences that use a matcher.

mod turns;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};
use serde_json::Value as Json;
use tokio::sync::oneshot;

use super::cache::Cache;
use super::grammar::{self, Form, Function, Target};
use super::matcher::GrammarMatcher;
use super::schema::{self, SchemaFault};
use super::vocabulary::{VocabularyError, token_env};
use super::{Constraint, ConstraintError};
use crate::kv_cache::prefix::Salt;
use crate::tokenizer::Tokenizer;
use turns::{Bounds, Turn, Turns};

/// Compiled grammars that are kept.
const CACHED_MAX: usize = 64;
/// Grammars that are compiled at the same time, each of another tenant, for they share the
/// cores with the engine; and forms that wait: one more is told to come again.
const BOUNDS: Bounds = Bounds {
    running: 2,
    waiting_of_tenant: 32,
    waiting: 256,
};
/// Longest wait for a turn behind other forms.
const WAIT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest compilation. llguidance's own limits (`ParserLimits`) end one long before.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(10);
/// Stack of a thread that compiles; only what is used of it takes memory. llguidance
/// recurses over a schema and its references: the longest chain that 256 KiB of schema
/// can hold (4,000 objects through `patternProperties`, 8,500 bare references) overflows
/// 32 MiB and fits into 64 (measured). [`schema::check`] refuses a depth of 1,001.
const STACK_BYTES: usize = 256 << 20;
/// Brackets inside one another in a grammar: its parser recurses over them.
const BRACKETS_MAX: usize = 2_000;
/// Rules of a grammar: its compiler recurses from rule to rule.
const RULES_MAX: usize = 4_000;
/// Intersections in a grammar, each written `&`: the lexer's work grows faster with them
/// than its limits see.
const INTERSECTIONS_MAX: usize = 64;
/// States of one sequence's lexer, at 1 to 2 KB each (llguidance's figure).
const LEXER_STATES_MAX: usize = 25_000;
/// Tokens that are drawn from a new constraint: one that meets a limit of the lexer or
/// allows nothing mostly does so at once, and is then refused instead of failing later.
const PROBE_TOKENS: u64 = 24;
/// Characters of a compiler's complaint that are passed on.
const COMPLAINT_CHARS_MAX: usize = 300;
/// Said of arguments that cannot be written as `key=value`.
const INEXPRESSIBLE: &str = "the model calls functions as Python does, and this schema says more \
     than which named arguments there are";
/// Said of arguments that could never be an object.
const NO_OBJECT: &str =
    "the arguments of a function are a JSON object, and this schema allows none";

/// A form cannot be turned into a constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The form is malformed, or uses what the compiler does not know.
    #[error("{0}")]
    Invalid(String),
    #[error("it took longer to compile than {} seconds", COMPILE_TIME_MAX.as_secs())]
    TooSlow,
    /// Others are being compiled; this one was not begun.
    #[error("too many other forms are being compiled")]
    Busy,
    #[error("answers of this model cannot be constrained: {0}")]
    Vocabulary(#[from] VocabularyError),
}

impl From<SchemaFault> for CompileError {
    fn from(fault: SchemaFault) -> Self {
        Self::Invalid(fault.to_string())
    }
}

/// A form that cannot be honoured, and the field of the function's schema if it is one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub field: Option<String>,
    pub error: CompileError,
}

impl From<CompileError> for Refused {
    fn from(error: CompileError) -> Self {
        Self { field: None, error }
    }
}

/// Makes constraints for one model.
pub struct Compiler {
    tokenizer: Tokenizer,
    vocab: usize,
    ends: Vec<u32>,
    /// Made when it is first needed: its tables take a moment for a large vocabulary.
    factory: OnceLock<Result<ParserFactory, VocabularyError>>,
    cache: Mutex<Cache<Arc<Constraint>>>,
    turns: Arc<Turns>,
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
            turns: Turns::new(BOUNDS),
        }
    }

    /// A fresh constraint, compiled on a thread of its own unless it is known. `tenant` is
    /// whose turn it takes.
    ///
    /// # Errors
    /// The form is malformed, too large or too slow, or others are compiled before it for
    /// too long.
    pub async fn compile(
        self: &Arc<Self>,
        tenant: Option<Salt>,
        target: Target,
    ) -> Result<Constraint, Refused> {
        if let Some(known) = self.known(&key(&target)) {
            return Ok(known);
        }
        let turn = self.turn(tenant).await?;
        let this = self.clone();
        let (made, result) = oneshot::channel();
        let compiling = move || {
            // A caller that has gone needs no answer.
            let _ = made.send(this.compile_here(target));
            drop(turn);
        };
        thread().spawn(compiling).map_err(|_| CompileError::Busy)?;
        match tokio::time::timeout(COMPILE_TIME_MAX, result).await {
            Ok(Ok(made)) => made,
            Ok(Err(_)) => Err(gave_up().into()),
            Err(_) => Err(CompileError::TooSlow.into()),
        }
    }

    /// Waits for a turn of the tenant's.
    async fn turn(&self, tenant: Option<Salt>) -> Result<Turn, CompileError> {
        let place = self.turns.enter(tenant).map_err(|_| CompileError::Busy)?;
        match tokio::time::timeout(WAIT_TIME_MAX, place).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(CompileError::Busy),
        }
    }

    /// As [`Self::compile`], while the caller's thread waits.
    ///
    /// # Errors
    /// As there.
    pub fn compile_blocking(&self, target: Target) -> Result<Constraint, Refused> {
        if let Some(known) = self.known(&key(&target)) {
            return Ok(known);
        }
        std::thread::scope(|scope| {
            let thread = thread().spawn_scoped(scope, || self.compile_here(target));
            let thread = thread.map_err(|_| CompileError::Busy)?;
            thread.join().unwrap_or_else(|_| Err(gave_up().into()))
        })
    }

    /// Compiles on this thread, which has the stack for it.
    fn compile_here(&self, mut target: Target) -> Result<Constraint, Refused> {
        let asked = key(&target);
        if let Some(form) = target.form.take() {
            target.form = Some(self.settle(form)?);
        }
        if let Some(calls) = &mut target.calls {
            let format = calls.format;
            for function in &mut calls.functions {
                let expresses = |schema: &Json| grammar::expressible(format, schema);
                let settled = self.settle_arguments(function, expresses);
                function.arguments = settled.map_err(|error| Refused {
                    field: Some(function.field.clone()),
                    error,
                })?;
            }
        }
        let made = self.make(self.grammar(&target))?;
        self.cache().insert(asked, Arc::new(made.clone()));
        Ok(made)
    }

    /// The form as it can be held to: of a schema that need not be followed whole, as much
    /// as can be.
    fn settle(&self, form: Form) -> Result<Form, CompileError> {
        match form {
            Form::JsonSchema(schema) => {
                let seen = schema::check(&schema)?;
                if let Some(keyword) = seen.unsupported {
                    return Err(unknown_keyword(keyword));
                }
                Ok(Form::JsonSchema(schema))
            }
            Form::BestEffort(schema) => {
                schema::check(&schema)?;
                self.loosened(schema).map(Form::BestEffort)
            }
            Form::Lark(grammar) => check_grammar(&grammar).map(|()| Form::Lark(grammar)),
            form @ (Form::Regex(_) | Form::Choice(_)) => Ok(form),
        }
    }

    /// The schema of a function's arguments as it can be held to, or none for any object.
    /// Tried by itself, so that a refusal can name it.
    fn settle_arguments(
        &self,
        function: &Function,
        expresses: impl Fn(&Json) -> bool,
    ) -> Result<Option<Json>, CompileError> {
        let Some(asked) = &function.arguments else {
            return Ok(None);
        };
        let objects = schema::of_objects(asked).filter(|_| expresses(asked));
        let Some(objects) = objects else {
            let why = if expresses(asked) {
                NO_OBJECT
            } else {
                INEXPRESSIBLE
            };
            return match function.strict {
                true => Err(CompileError::Invalid(why.to_owned())),
                false => Ok(None),
            };
        };
        match self.settle(function.form(objects))? {
            Form::JsonSchema(schema) => {
                self.try_alone(Form::JsonSchema(schema.clone()))?;
                Ok(Some(schema))
            }
            Form::BestEffort(schema) => Ok(Some(schema)),
            Form::Regex(_) | Form::Choice(_) | Form::Lark(_) => Ok(None),
        }
    }

    /// As much of a schema as can be held to: without the keywords that the compiler does
    /// not know (it passes over them), without patterns, or any object.
    fn loosened(&self, asked: Json) -> Result<Json, CompileError> {
        let refused = match self.try_alone(Form::BestEffort(asked.clone())) {
            Ok(()) => return Ok(asked),
            Err(error) if !is_for_want_of_support(&error) => return Err(error),
            Err(_) => schema::without_patterns(&asked),
        };
        match self.try_alone(Form::BestEffort(refused.clone())) {
            Ok(()) => Ok(refused),
            Err(_) => Ok(serde_json::json!({"type": "object"})),
        }
    }

    fn try_alone(&self, form: Form) -> Result<(), CompileError> {
        self.make(self.grammar(&Target::from(form))).map(drop)
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
        let made = Constraint::new(GrammarMatcher::new(Matcher::new(Ok(parser))));
        self.probe(made.clone())?;
        Ok(made)
    }

    /// Draws a few tokens, so that a constraint which cannot go on is found out here.
    fn probe(&self, mut constraint: Constraint) -> Result<(), CompileError> {
        let cannot = |error: ConstraintError| {
            let message = format!("it meets a limit of the decoder or allows no text: {error}");
            CompileError::Invalid(message.chars().take(COMPLAINT_CHARS_MAX).collect())
        };
        let mut row = vec![0.0; self.vocab];
        for drawn in 0..PROBE_TOKENS {
            row.fill(0.0);
            constraint.mask(&mut row).map_err(cannot)?;
            let allowed: Vec<u32> = (0..)
                .zip(&row)
                .filter(|(_, l)| **l == 0.0)
                .map(|(t, _)| t)
                .collect();
            let left: Vec<u32> = allowed
                .into_iter()
                .filter(|t| !self.ends.contains(t))
                .collect();
            // Any but the same each time; it need not be random.
            let place = usize::try_from(drawn.wrapping_mul(7_919)).unwrap_or_default();
            let Some(token) = left.get(place % left.len().max(1)) else {
                return Ok(());
            };
            constraint.advance(*token).map_err(cannot)?;
        }
        Ok(())
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache<Arc<Constraint>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that bears the compiler's recursion.
fn thread() -> std::thread::Builder {
    let name = "compile-form".to_owned();
    std::thread::Builder::new()
        .name(name)
        .stack_size(STACK_BYTES)
}

/// Said when the compiler broke a promise of its own.
fn gave_up() -> CompileError {
    CompileError::Invalid("its compiler gave up".to_owned())
}

fn unknown_keyword(keyword: &str) -> CompileError {
    CompileError::Invalid(format!(
        "the keyword '{keyword}' is not supported where a schema is held to strictly"
    ))
}

/// The schema may be right, and only the compiler cannot express it.
fn is_for_want_of_support(error: &CompileError) -> bool {
    const WORDS: [&str; 3] = ["not supported", "patternProperty", "Only absolute $ref"];
    match error {
        CompileError::Invalid(message) => WORDS.iter().any(|word| message.contains(word)),
        CompileError::TooSlow | CompileError::Busy | CompileError::Vocabulary(_) => false,
    }
}

/// Bounds what a grammar's own parser and compiler recurse over, and the schemas in it.
fn check_grammar(grammar: &str) -> Result<(), CompileError> {
    let (mut open, mut deepest) = (0_usize, 0);
    for byte in grammar.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    if deepest > BRACKETS_MAX {
        let message = format!("its brackets are nested more than {BRACKETS_MAX} deep");
        return Err(CompileError::Invalid(message));
    }
    if grammar.lines().filter(|line| line.contains(':')).count() > RULES_MAX {
        let message = format!("it has more than {RULES_MAX} rules");
        return Err(CompileError::Invalid(message));
    }
    if grammar.matches('&').count() > INTERSECTIONS_MAX {
        let message = format!("it has more than {INTERSECTIONS_MAX} intersections");
        return Err(CompileError::Invalid(message));
    }
    for (at, word) in grammar.match_indices("%json") {
        let rest = &grammar[at + word.len()..];
        let schema = serde_json::Deserializer::from_str(rest)
            .into_iter::<Json>()
            .next();
        // One that is no JSON is the compiler's to refuse.
        if let Some(Ok(schema)) = schema {
            schema::check(&schema)?;
        }
    }
    Ok(())
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
