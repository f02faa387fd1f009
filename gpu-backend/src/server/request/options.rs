//! The fields that chat completions and completions share: how long, how many, where
//! an answer ends, how its tokens are chosen, and how it is streamed.
//! Knows neither messages nor prompts.

use serde_json::Value as Json;

use super::super::error::Invalid;
use super::fields::{Fields, invalid, unsupported};
use super::{scheduling, structured};
use crate::chat::options::{AnswerOptions, Sampling};

/// Answers of one request over all its prompts (OpenAI's limit for `n`).
pub(super) const ANSWERS_MAX: usize = 128;
/// Stop strings of one request (OpenAI allows 4).
const STOPS_MAX: usize = 16;
/// Characters of one stop string.
const STOP_CHARS_MAX: usize = 256;
/// Stop token ids, and logit biases, of one request.
const TOKEN_LIST_MAX: usize = 1024;
/// Most likely tokens reported per token (OpenAI's limit).
pub(super) const TOP_LOGPROBS_MAX: u64 = 20;

/// What a stream carries beyond the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct StreamOptions {
    pub(in crate::server) include_usage: bool,
    /// Every event carries the usage so far (vLLM's).
    pub(in crate::server) continuous_usage: bool,
}

/// Everything but the greatest number of tokens and the log-probabilities, whose fields
/// differ from route to route.
pub(super) fn answer(fields: &mut Fields, vocab: usize) -> Result<AnswerOptions, Invalid> {
    fields.only("spaces_between_special_tokens", &[Json::Bool(true)])?;
    let form = structured::form(fields)?;
    let ignore_eos = fields.bool("ignore_eos")?.unwrap_or(false);
    structured::can_end(form.as_ref(), ignore_eos)?;
    let show_special = !fields.bool("skip_special_tokens")?.unwrap_or(true);
    Ok(AnswerOptions {
        n: size(fields.integer("n", 1, ANSWERS_MAX as u64)?).unwrap_or(1),
        min_tokens: size(fields.integer("min_tokens", 0, u64::MAX)?).unwrap_or(0),
        stop: stop(fields)?,
        stop_token_ids: stop_token_ids(fields, vocab)?,
        include_stop: fields.bool("include_stop_str_in_output")?.unwrap_or(false),
        ignore_eos,
        show_special,
        prompt_tokens_kept: prompt_tokens_kept(fields)?,
        form,
        sampling: sampling(fields, vocab)?,
        scheduling: scheduling::parse(fields)?,
        ..AnswerOptions::default()
    })
}

/// A number as a size; what is larger than any size is as large as one can be.
pub(super) fn size(value: Option<u64>) -> Option<usize> {
    value.map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// The least number of tokens must not be above the greatest, nor keep an answer going
/// when its form has ended.
pub(super) fn check_lengths(options: &AnswerOptions) -> Result<(), Invalid> {
    if let Some(asked) = options.form.as_ref().filter(|_| options.min_tokens > 0) {
        let message = format!(
            "'min_tokens' contradicts '{}': the answer ends where its form ends.",
            asked.field
        );
        return Err(invalid("min_tokens", message));
    }
    match options.tokens_max {
        Some(most) if options.min_tokens > most => {
            let message = "'min_tokens' must not be greater than the greatest number of tokens.";
            Err(invalid("min_tokens", message))
        }
        _ => Ok(()),
    }
}

/// vLLM's `truncate_prompt_tokens`: its −1 stands for the context's length, which a
/// prompt must not exceed anyway.
pub(super) fn prompt_tokens_kept(fields: &mut Fields) -> Result<Option<usize>, Invalid> {
    let name = "truncate_prompt_tokens";
    match fields.signed(name)? {
        None => Ok(None),
        Some(kept) if kept > 0 => Ok(Some(usize::try_from(kept).unwrap_or(usize::MAX))),
        Some(-1) => Err(unsupported(
            name,
            format!("'{name}' = -1 is not supported; say how many tokens."),
        )),
        Some(_) => Err(invalid(name, format!("'{name}' must be at least 1."))),
    }
}

/// Absent: answer as one object.
pub(super) fn stream(fields: &mut Fields) -> Result<Option<StreamOptions>, Invalid> {
    let wanted = fields.bool("stream")?.unwrap_or(false);
    let Some(options) = fields.take("stream_options") else {
        return Ok(wanted.then(StreamOptions::default));
    };
    if !wanted {
        let message = "'stream_options' is only allowed when 'stream' is true.";
        return Err(invalid("stream_options", message));
    }
    let Json::Object(options) = options else {
        return Err(invalid(
            "stream_options",
            "'stream_options' must be an object.",
        ));
    };
    let mut options = Fields::inside("stream_options", options);
    let include_usage = options.bool("include_usage")?.unwrap_or(false);
    let continuous_usage = options.bool("continuous_usage_stats")?.unwrap_or(false);
    if continuous_usage && !include_usage {
        let name = "stream_options.continuous_usage_stats";
        let message = format!("'{name}' is only allowed when 'include_usage' is true.");
        return Err(invalid(name, message));
    }
    // Padding against traffic analysis is the edge's business; the engine adds none.
    if options.bool("include_obfuscation")? == Some(true) {
        let name = "stream_options.include_obfuscation";
        return Err(unsupported(
            name,
            format!("'{name}' = true is not supported."),
        ));
    }
    options.finish()?;
    Ok(Some(StreamOptions {
        include_usage,
        continuous_usage,
    }))
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, Invalid> {
    let stops = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(many)) => many
            .into_iter()
            .map(|stop| match stop {
                Json::String(stop) => Ok(stop),
                _ => Err(invalid(
                    "stop",
                    "'stop' must be a string or a list of strings.",
                )),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => {
            return Err(invalid(
                "stop",
                "'stop' must be a string or a list of strings.",
            ));
        }
    };
    let short = |stop: &String| !stop.is_empty() && stop.chars().count() <= STOP_CHARS_MAX;
    if stops.len() > STOPS_MAX || !stops.iter().all(short) {
        let message = format!(
            "'stop' must hold at most {STOPS_MAX} strings of 1 to {STOP_CHARS_MAX} characters."
        );
        return Err(invalid("stop", message));
    }
    Ok(stops)
}

/// A token id of this model.
fn token_id(value: u64, vocab: usize) -> Option<u32> {
    u32::try_from(value)
        .ok()
        .filter(|id| (*id as usize) < vocab)
}

fn stop_token_ids(fields: &mut Fields, vocab: usize) -> Result<Vec<u32>, Invalid> {
    let ids = fields.list("stop_token_ids", TOKEN_LIST_MAX)?;
    let bad = || {
        let message = format!("'stop_token_ids' must hold token ids below {vocab}.");
        invalid("stop_token_ids", message)
    };
    ids.iter()
        .map(|id| {
            id.as_u64()
                .and_then(|id| token_id(id, vocab))
                .ok_or_else(bad)
        })
        .collect()
}

fn sampling(fields: &mut Fields, vocab: usize) -> Result<Sampling, Invalid> {
    // vLLM writes "no limit" as 0 or −1.
    let top_k = match fields.signed("top_k")? {
        None => None,
        Some(-1 | 0) => Some(None),
        Some(k) if k > 0 => Some(Some(usize::try_from(k).unwrap_or(usize::MAX))),
        Some(_) => {
            return Err(invalid(
                "top_k",
                "'top_k' must be at least 1, or 0 or -1 for all.",
            ));
        }
    };
    // OpenAI takes 0: of the likeliest tokens the first alone.
    let top_p = fields.number("top_p", 0.0, 1.0)?;
    let top_p = top_p.map(|top_p| top_p.max(f32::MIN_POSITIVE));
    let repetition_penalty = fields.number("repetition_penalty", 0.0, 100.0)?;
    if repetition_penalty == Some(0.0) {
        return Err(invalid(
            "repetition_penalty",
            "'repetition_penalty' must be above 0.",
        ));
    }
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0, 2.0)?,
        top_p,
        top_k,
        min_p: fields.number("min_p", 0.0, 1.0)?,
        presence_penalty: fields.number("presence_penalty", -2.0, 2.0)?.unwrap_or(0.0),
        frequency_penalty: fields
            .number("frequency_penalty", -2.0, 2.0)?
            .unwrap_or(0.0),
        repetition_penalty,
        logit_bias: logit_bias(fields, vocab)?,
        // The bits of a negative seed are as good a seed as any.
        seed: fields.signed("seed")?.map(i64::cast_unsigned),
        logprobs: None,
    })
}

fn logit_bias(fields: &mut Fields, vocab: usize) -> Result<Vec<(u32, f32)>, Invalid> {
    let bad = || {
        let message = format!(
            "'logit_bias' must map at most {TOKEN_LIST_MAX} token ids below {vocab} to numbers \
             from -100 to 100."
        );
        invalid("logit_bias", message)
    };
    match fields.take("logit_bias") {
        None => Ok(Vec::new()),
        Some(Json::Object(map)) if map.len() <= TOKEN_LIST_MAX => map
            .iter()
            .map(|(id, bias)| {
                let id = id
                    .parse()
                    .ok()
                    .and_then(|id| token_id(id, vocab))
                    .ok_or_else(bad)?;
                let bias = bias.as_f64().filter(|b| (-100.0..=100.0).contains(b));
                #[expect(clippy::cast_possible_truncation, reason = "between -100 and 100")]
                Ok((id, bias.ok_or_else(bad)? as f32))
            })
            .collect(),
        Some(_) => Err(bad()),
    }
}
