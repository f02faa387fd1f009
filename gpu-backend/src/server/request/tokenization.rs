//! The JSON of `/tokenize` and `/detokenize`, in vLLM's form, parsed once; and token ids
//! wherever a request carries them.
//! Knows nothing of answers.

use serde_json::Value as Json;

use super::super::error::Invalid;
use super::fields::{invalid, missing};
use super::messages;
use crate::chat::{ChatRequest, Prompt};

/// What is to be tokenized.
#[derive(Debug)]
pub(in crate::server) enum Text {
    Prompt { prompt: Prompt, add_special: bool },
    Chat(Box<ChatRequest>),
}

/// A text whose tokens are asked for.
#[derive(Debug)]
pub(in crate::server) struct ValidTokenize {
    /// Absent: the only model there is.
    pub(in crate::server) model: Option<String>,
    pub(in crate::server) text: Text,
    /// The tokens are also given as the vocabulary writes them.
    pub(in crate::server) with_strings: bool,
}

/// Tokens whose text is asked for.
#[derive(Debug)]
pub(in crate::server) struct ValidDetokenize {
    pub(in crate::server) model: Option<String>,
    pub(in crate::server) tokens: Vec<u32>,
}

/// Parses the body of `/tokenize`.
///
/// # Errors
/// Names the field that is missing, malformed or not supported.
pub(in crate::server) fn tokenize(body: &[u8]) -> Result<ValidTokenize, Invalid> {
    let mut fields = super::fields(body)?;
    let model = fields.string("model")?;
    let with_strings = fields.bool("return_token_strs")?.unwrap_or(false);
    let add_special = fields.bool("add_special_tokens")?;
    let prompt = fields.string("prompt")?;
    let text = match (prompt, fields.take("messages")) {
        (Some(_), Some(_)) => {
            let message = "'prompt' and 'messages' exclude each other.";
            return Err(invalid("prompt", message));
        }
        (None, None) => return Err(missing("prompt")),
        (Some(prompt), None) => Text::Prompt {
            prompt: Prompt::Text(prompt),
            add_special: add_special.unwrap_or(true),
        },
        (None, Some(list)) => {
            fields.only("add_generation_prompt", &[Json::Bool(true)])?;
            fields.only("continue_final_message", &[Json::Bool(false)])?;
            let tools = super::tools::parse(&mut fields)?;
            Text::Chat(Box::new(ChatRequest {
                messages: messages::parse(list)?,
                tools: tools.shown,
                add_special: add_special.unwrap_or(false),
                ..ChatRequest::default()
            }))
        }
    };
    fields.finish()?;
    Ok(ValidTokenize {
        model,
        text,
        with_strings,
    })
}

/// Parses the body of `/detokenize`. `vocab` bounds token ids.
///
/// # Errors
/// Names the field that is missing, malformed or not supported.
pub(in crate::server) fn detokenize(body: &[u8], vocab: usize) -> Result<ValidDetokenize, Invalid> {
    let mut fields = super::fields(body)?;
    let model = fields.string("model")?;
    let tokens = match fields.take("tokens") {
        None => return Err(missing("tokens")),
        Some(Json::Array(list)) => ids("tokens", list, vocab)?,
        Some(_) => return Err(invalid("tokens", "'tokens' must be a list of token ids.")),
    };
    fields.finish()?;
    Ok(ValidDetokenize { model, tokens })
}

/// Token ids of this model. Their number is bounded by the body's size, and where they
/// are a prompt by the model's context.
pub(super) fn ids(name: &str, list: Vec<Json>, vocab: usize) -> Result<Vec<u32>, Invalid> {
    let id = |value: Json| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.filter(|id| (*id as usize) < vocab)
    };
    list.into_iter()
        .map(id)
        .collect::<Option<_>>()
        .ok_or_else(|| invalid(name, format!("'{name}' must hold token ids below {vocab}.")))
}
