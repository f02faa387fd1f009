//! A body's JSON, parsed once into a valid request: each field of OpenAI's API is
//! honoured or refused by its name, and so is any unknown one. Here the chat; the other
//! routes' requests stand beside it.
//! The wire form of requests is known here and nowhere else.

mod fields;
mod messages;
mod options;
mod scheduling;
mod structured;
mod tools;

pub(super) mod completion;
pub(super) mod encoding;
pub(super) mod tokenization;

#[cfg(test)]
mod tests;

use chat_fields::{FIELDS, Use};
use serde_json::Value as Json;

use super::error::Invalid;
use crate::chat::ChatRequest;
use fields::{Fields, invalid, missing};
pub(super) use options::StreamOptions;

/// A request that the engine can carry out.
#[derive(Debug)]
pub(super) struct ValidRequest {
    pub(super) model: String,
    pub(super) chat: ChatRequest,
    /// Present: answer as a stream.
    pub(super) stream: Option<StreamOptions>,
}

/// The fields of a body.
fn fields(body: &[u8]) -> Result<Fields, Invalid> {
    let bad = |message: String| Invalid {
        param: None,
        message,
        code: Some("invalid_json"),
    };
    match serde_json::from_slice(body) {
        Ok(Json::Object(object)) => Ok(Fields::new(object)),
        Ok(_) => Err(bad("The body must be a JSON object.".to_owned())),
        Err(error) => Err(bad(format!("The body is not valid JSON: {error}"))),
    }
}

/// Parses a chat completion's body. `vocab` bounds token ids.
///
/// # Errors
/// Names the field that is missing, malformed, out of range or not supported.
pub(super) fn parse(body: &[u8], vocab: usize) -> Result<ValidRequest, Invalid> {
    let mut fields = fields(body)?;
    listed(&mut fields)?;
    let model = fields.string("model")?.ok_or_else(|| missing("model"))?;
    let messages = fields.take("messages").ok_or_else(|| missing("messages"))?;
    let tools = tools::parse(&mut fields)?;
    let stream = options::stream(&mut fields)?;
    let mut options = options::answer(&mut fields, vocab)?;
    options.tokens_max = tokens_max(&mut fields)?;
    options::check_lengths(&options)?;
    options.sampling.logprobs = logprobs(&mut fields)?;
    tools::can_end(tools.calls.as_ref(), options.ignore_eos)?;
    let chat = ChatRequest {
        messages: messages::parse(messages)?,
        tools: tools.shown,
        parse_tools: tools.parse,
        calls: tools.calls,
        add_special: fields.bool("add_special_tokens")?.unwrap_or(false),
        options,
    };
    fields.finish()?;
    Ok(ValidRequest {
        model,
        chat,
        stream,
    })
}

/// The fields that carry nothing for an engine and may hold any value.
fn inert() -> impl Iterator<Item = &'static str> {
    let inert = FIELDS.iter().filter(|field| field.used == Use::Inert);
    inert.map(|field| field.name)
}

/// Takes the fields that no part of the request needs: those without effect, and those of which
/// only the value that changes nothing is supported.
fn listed(fields: &mut Fields) -> Result<(), Invalid> {
    for field in FIELDS {
        match field.used {
            Use::Inert => fields.skip(field.name),
            Use::OnlyDefault(values) => {
                let values = values.iter().map(|value| serde_json::from_str(value));
                let values: Vec<Json> = values.filter_map(Result::ok).collect();
                fields.only(field.name, &values)?;
            }
            Use::Refused | Use::Backend | Use::Gateway => fields.refuse(field.name)?,
            Use::Honoured | Use::Private => {}
        }
    }
    Ok(())
}

fn tokens_max(fields: &mut Fields) -> Result<Option<usize>, Invalid> {
    let old = fields.integer("max_tokens", 1, u64::MAX)?;
    let new = fields.integer("max_completion_tokens", 1, u64::MAX)?;
    if let (Some(old), Some(new)) = (old, new)
        && old != new
    {
        let message = "'max_tokens' and 'max_completion_tokens' contradict each other.";
        return Err(invalid("max_tokens", message));
    }
    Ok(options::size(new.or(old)))
}

/// `logprobs` and `top_logprobs`: how many of the best tokens to report, if any.
fn logprobs(fields: &mut Fields) -> Result<Option<usize>, Invalid> {
    let top = fields.integer("top_logprobs", 0, options::TOP_LOGPROBS_MAX)?;
    match (fields.bool("logprobs")?.unwrap_or(false), top) {
        (true, top) => Ok(Some(options::size(top).unwrap_or(0))),
        (false, Some(_)) => {
            let message = "'top_logprobs' is only allowed when 'logprobs' is true.";
            Err(invalid("top_logprobs", message))
        }
        (false, None) => Ok(None),
    }
}
