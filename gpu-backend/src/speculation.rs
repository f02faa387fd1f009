//! Speculative decoding: further tokens of a sequence are supposed cheaply, and the model
//! checks them all in one pass (Leviathan et al., 2023).
//!
//! Each position is sampled with the sequence's own sampler, and a draft holds as long as
//! it is the token that was sampled. So the text is the same with and without, at every
//! temperature and under every constraint; only the number of passes differs.
//! Knows neither blocks of the model's cache nor clients.

mod draft_model;
mod lookup;

use std::path::PathBuf;

use serde::Deserialize;

use crate::runner::DeviceFailed;
use crate::scheduler::SequenceId;
pub use draft_model::DraftModel;
pub use lookup::PromptLookup;

/// Most tokens supposed at once: beyond that hardly one holds.
const TOKENS_MAX: usize = 32;
/// Longest and shortest run of tokens that is looked up (vLLM's defaults are 5 and 5; a
/// shorter least finds more).
const LOOKUP_MAX: usize = 4;
const LOOKUP_MIN: usize = 2;

/// How to speculate, in vLLM's form (`--speculative-config`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpeculativeConfig {
    pub method: Method,
    pub num_speculative_tokens: usize,
    /// Of method `draft_model`: the directory of a smaller model with the same tokenizer.
    pub model: Option<PathBuf>,
    /// Of method `ngram`: the longest run of last tokens that is looked for.
    pub prompt_lookup_max: Option<usize>,
    /// And the shortest.
    pub prompt_lookup_min: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// What followed the same tokens before.
    Ngram,
    DraftModel,
}

/// The configuration contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpeculativeConfigError {
    #[error("{0}")]
    Json(String),
    #[error("`num_speculative_tokens` must be from 1 to {TOKENS_MAX}")]
    Tokens,
    #[error("`prompt_lookup_min` must be at least 1 and not above `prompt_lookup_max`")]
    Lookup,
    #[error("`{field}` belongs to the method `{method}`")]
    Field {
        field: &'static str,
        method: &'static str,
    },
    #[error("the method `draft_model` needs `model`")]
    NoModel,
}

impl SpeculativeConfig {
    /// Parses and checks a configuration.
    ///
    /// # Errors
    /// It is no such object, or contradicts itself.
    pub fn parse(json: &str) -> Result<Self, SpeculativeConfigError> {
        let config: Self = serde_json::from_str(json)
            .map_err(|error| SpeculativeConfigError::Json(error.to_string()))?;
        if !(1..=TOKENS_MAX).contains(&config.num_speculative_tokens) {
            return Err(SpeculativeConfigError::Tokens);
        }
        let looked_up = config.prompt_lookup_max.or(config.prompt_lookup_min);
        let misplaced = |field, method| Err(SpeculativeConfigError::Field { field, method });
        match config.method {
            Method::Ngram if config.model.is_some() => misplaced("model", "draft_model"),
            Method::DraftModel if looked_up.is_some() => misplaced("prompt_lookup_max", "ngram"),
            Method::DraftModel if config.model.is_none() => Err(SpeculativeConfigError::NoModel),
            _ if !(1..=config.lookup().1).contains(&config.lookup().0) => {
                Err(SpeculativeConfigError::Lookup)
            }
            _ => Ok(config),
        }
    }

    /// The shortest and the longest run that is looked up.
    fn lookup(&self) -> (usize, usize) {
        let longest = self.prompt_lookup_max.unwrap_or(LOOKUP_MAX);
        let least = self.prompt_lookup_min;
        (least.unwrap_or(LOOKUP_MIN.min(longest)), longest)
    }

    /// The proposer of method `ngram`.
    pub fn prompt_lookup(&self) -> PromptLookup {
        let (least, longest) = self.lookup();
        PromptLookup::new(least, longest)
    }
}

/// A sequence that may be given drafts.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub id: SequenceId,
    /// Prompt and answer so far.
    pub known: &'a [u32],
    /// At least one.
    pub drafts_max: usize,
}

/// Drafts for some sequences.
pub type Proposed = Vec<(SequenceId, Vec<u32>)>;

/// Who supposes.
#[derive(Debug)]
pub enum Proposer {
    Lookup(PromptLookup),
    Model(Box<DraftModel>),
}

/// Speculation of one engine.
#[derive(Debug)]
pub struct Speculation {
    pub proposer: Proposer,
    /// Tokens supposed at once.
    pub tokens_max: usize,
}

impl Speculation {
    /// Supposes how sequences go on; those of which nothing can be said are left out.
    ///
    /// # Errors
    /// The draft model's device failed.
    pub fn propose(&mut self, asked: &[Asked<'_>]) -> Result<Proposed, DeviceFailed> {
        match &mut self.proposer {
            Proposer::Model(model) => model.propose(asked),
            Proposer::Lookup(lookup) => Ok(asked
                .iter()
                .map(|asked| (asked.id, lookup.propose(asked.known, asked.drafts_max)))
                .filter(|(_, drafts)| !drafts.is_empty())
                .collect()),
        }
    }

    /// A sequence is gone.
    pub fn forget(&mut self, id: SequenceId) {
        if let Proposer::Model(model) = &mut self.proposer {
            model.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(json: &str, words: &str) {
        let error = SpeculativeConfig::parse(json).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn a_configuration_is_vllms_and_every_mistake_is_named() {
        let config = SpeculativeConfig::parse(
            r#"{"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 3}"#,
        );
        assert_eq!(config.unwrap().lookup(), (2, 3));
        let config = SpeculativeConfig::parse(
            r#"{"method": "draft_model", "num_speculative_tokens": 5, "model": "small"}"#,
        );
        assert_eq!(config.unwrap().model, Some("small".into()));
        refused("3", "invalid type");
        refused(r#"{"method": "ngram"}"#, "num_speculative_tokens");
        refused(
            r#"{"method": "eagle", "num_speculative_tokens": 5}"#,
            "eagle",
        );
        refused(
            r#"{"method": "ngram", "num_speculative_tokens": 5, "k": 1}"#,
            "`k`",
        );
        refused(
            r#"{"method": "ngram", "num_speculative_tokens": 0}"#,
            "num_speculative_tokens",
        );
        refused(
            r#"{"method": "ngram", "num_speculative_tokens": 5, "model": "m"}"#,
            "draft_model",
        );
        refused(
            r#"{"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_min": 9}"#,
            "prompt_lookup_min",
        );
        refused(
            r#"{"method": "draft_model", "num_speculative_tokens": 5}"#,
            "needs `model`",
        );
    }
}
