//! A completion's JSON, parsed once: prompts as text or tokens, continued as they are.
//! Knows nothing of messages, tools or the answer's form.

use serde_json::Value as Json;

use super::super::error::Invalid;
use super::fields::{Fields, invalid, missing, unsupported};
use super::options::{self, ANSWERS_MAX, StreamOptions};
use super::{inert, tokenization};
use crate::chat::options::AnswerOptions;
use crate::chat::{CompletionRequest, Prompt};

/// Tokens of an answer whose request does not say (OpenAI's default).
const TOKENS_DEFAULT: usize = 16;

/// Fields of OpenAI's and vLLM's completions that this engine does not honour at all.
const UNSUPPORTED: [&str; 3] = ["suffix", "prompt_embeds", "use_beam_search"];

/// A completion that the engine can carry out.
#[derive(Debug)]
pub(in crate::server) struct ValidCompletion {
    pub(in crate::server) model: String,
    pub(in crate::server) completion: CompletionRequest,
    /// The prompt is given back before the answer.
    pub(in crate::server) echo: bool,
    /// Present: answer as a stream.
    pub(in crate::server) stream: Option<StreamOptions>,
}

/// Parses a body. `vocab` bounds token ids.
///
/// # Errors
/// Names the field that is missing, malformed, out of range or not supported.
pub(in crate::server) fn parse(body: &[u8], vocab: usize) -> Result<ValidCompletion, Invalid> {
    let mut fields = super::fields(body)?;
    for name in UNSUPPORTED {
        fields.refuse(name)?;
    }
    for name in inert() {
        fields.skip(name);
    }
    let model = fields.string("model")?.ok_or_else(|| missing("model"))?;
    let prompt = fields.take("prompt").ok_or_else(|| missing("prompt"))?;
    let prompts = prompts("prompt", prompt, vocab, ANSWERS_MAX)?;
    let echo = fields.bool("echo")?.unwrap_or(false);
    let stream = options::stream(&mut fields)?;
    let mut options = options::answer(&mut fields, vocab)?;
    options.tokens_max = tokens_max(&mut fields, echo)?;
    options::check_lengths(&options)?;
    let logprobs = options::size(fields.integer("logprobs", 0, options::TOP_LOGPROBS_MAX)?);
    options.sampling.logprobs = logprobs;
    options.prompt_logprobs = logprobs.filter(|_| echo);
    check_numbers(&mut fields, &options, prompts.len())?;
    let completion = CompletionRequest {
        prompts,
        add_special: fields.bool("add_special_tokens")?.unwrap_or(true),
        options,
    };
    fields.finish()?;
    Ok(ValidCompletion {
        model,
        completion,
        echo,
        stream,
    })
}

/// A string, a list of strings, token ids, or a list of lists of them; at most `most`.
pub(super) fn prompts(
    name: &str,
    value: Json,
    vocab: usize,
    most: usize,
) -> Result<Vec<Prompt>, Invalid> {
    let bad = || {
        let message = format!(
            "'{name}' must be a string, a list of strings, a list of token ids, or a list of \
             such lists, and not be empty."
        );
        invalid(name, message)
    };
    let list = match value {
        Json::String(text) => return Ok(vec![Prompt::Text(text)]),
        Json::Array(list) if !list.is_empty() => list,
        _ => return Err(bad()),
    };
    if list[0].is_number() {
        return Ok(vec![Prompt::Tokens(tokenization::ids(name, list, vocab)?)]);
    }
    if list.len() > most {
        let message = format!("'{name}' must hold at most {most} entries.");
        return Err(invalid(name, message));
    }
    list.into_iter()
        .map(|prompt| match prompt {
            Json::String(text) => Ok(Prompt::Text(text)),
            Json::Array(ids) if !ids.is_empty() => {
                Ok(Prompt::Tokens(tokenization::ids(name, ids, vocab)?))
            }
            _ => Err(bad()),
        })
        .collect()
}

/// None are allowed where only the prompt's own log-probabilities are wanted.
fn tokens_max(fields: &mut Fields, echo: bool) -> Result<Option<usize>, Invalid> {
    let least = u64::from(!echo);
    let asked = options::size(fields.integer("max_tokens", least, u64::MAX)?);
    Ok(Some(asked.unwrap_or(TOKENS_DEFAULT)))
}

/// `best_of` chooses among more answers than are given; that is not done here.
fn check_numbers(
    fields: &mut Fields,
    options: &AnswerOptions,
    prompts: usize,
) -> Result<(), Invalid> {
    let best_of = options::size(fields.integer("best_of", 1, ANSWERS_MAX as u64)?);
    if best_of.is_some_and(|best_of| best_of != options.n) {
        let message = "'best_of' is not supported unless it equals 'n'.";
        return Err(unsupported("best_of", message.to_owned()));
    }
    if prompts * options.n > ANSWERS_MAX {
        let message = format!("'n' times the number of prompts must be at most {ANSWERS_MAX}.");
        return Err(invalid("n", message));
    }
    Ok(())
}
