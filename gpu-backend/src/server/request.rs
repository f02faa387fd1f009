//! A chat completion's JSON, parsed once into a [`ValidRequest`]: each field of
//! OpenAI's API is honoured or refused by its name, and so is any unknown one.
//! The wire form of requests is known here and nowhere else.

mod fields;
mod messages;
mod structured;
#[cfg(test)]
mod tests;

use serde_json::Value as Json;

use super::error::Invalid;
use crate::chat::{ChatRequest, Sampling};
use fields::{Fields, invalid, unsupported};

/// Stop strings of one request (OpenAI allows 4).
const STOPS_MAX: usize = 16;
/// Characters of one stop string.
const STOP_CHARS_MAX: usize = 256;
/// Stop token ids, and logit biases, of one request.
const TOKEN_LIST_MAX: usize = 1024;
/// Most likely tokens reported per token (OpenAI's limit).
const TOP_LOGPROBS_MAX: u64 = 20;
/// Tools of one request (OpenAI's limit).
const TOOLS_MAX: usize = 128;

/// Fields that carry nothing for an engine and may hold any string or object.
const INERT: [&str; 4] = ["user", "metadata", "safety_identifier", "prompt_cache_key"];

/// Fields of OpenAI's API that this engine does not honour at all.
const UNSUPPORTED: [&str; 8] = [
    "audio",
    "function_call",
    "functions",
    "moderation",
    "prediction",
    "reasoning_effort",
    "verbosity",
    "web_search_options",
];

/// A request that the engine can carry out.
#[derive(Debug)]
pub(super) struct ValidRequest {
    pub(super) model: String,
    pub(super) chat: ChatRequest,
    /// Present: answer as a stream.
    pub(super) stream: Option<StreamOptions>,
}

/// What a stream carries beyond the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamOptions {
    pub(super) include_usage: bool,
}

/// Parses a body. `vocab` bounds token ids.
///
/// # Errors
/// Names the field that is missing, malformed, out of range or not supported.
pub(super) fn parse(body: &[u8], vocab: usize) -> Result<ValidRequest, Invalid> {
    let value: Json = serde_json::from_slice(body).map_err(|error| Invalid {
        param: None,
        message: format!("The body is not valid JSON: {error}"),
        code: Some("invalid_json"),
    })?;
    let Json::Object(object) = value else {
        return Err(Invalid {
            param: None,
            message: "The body must be a JSON object.".to_owned(),
            code: Some("invalid_json"),
        });
    };
    let mut fields = Fields::new(object);
    for name in UNSUPPORTED {
        fields.refuse(name)?;
    }
    for name in INERT {
        fields.skip(name);
    }
    only_default(&mut fields)?;
    let model = fields.string("model")?.ok_or_else(|| missing("model"))?;
    let messages = fields.take("messages").ok_or_else(|| missing("messages"))?;
    let (tools, parse_tools) = tools(&mut fields)?;
    let stream = stream(&mut fields)?;
    let form = structured::form(&mut fields)?;
    let ignore_eos = fields.bool("ignore_eos")?.unwrap_or(false);
    structured::can_end(form.as_ref(), ignore_eos)?;
    let chat = ChatRequest {
        messages: messages::parse(messages)?,
        tools,
        parse_tools,
        tokens_max: tokens_max(&mut fields)?,
        stop: stop(&mut fields)?,
        stop_token_ids: stop_token_ids(&mut fields, vocab)?,
        ignore_eos,
        sampling: sampling(&mut fields, vocab)?,
        form,
        constraint: None,
    };
    fields.finish()?;
    Ok(ValidRequest {
        model,
        chat,
        stream,
    })
}

fn missing(name: &str) -> Invalid {
    Invalid {
        param: Some(name.to_owned()),
        message: format!("Missing required parameter: '{name}'."),
        code: Some("missing_required_parameter"),
    }
}

/// Fields of which only the value that changes nothing is supported.
fn only_default(fields: &mut Fields) -> Result<(), Invalid> {
    let defaults: [(&str, &[Json]); 5] = [
        ("n", &[Json::from(1)]),
        ("store", &[Json::Bool(false)]),
        ("parallel_tool_calls", &[Json::Bool(true)]),
        ("service_tier", &[Json::from("auto"), Json::from("default")]),
        ("modalities", &[Json::Array(vec![Json::from("text")])]),
    ];
    for (name, allowed) in defaults {
        match fields.take(name) {
            Some(value) if !allowed.contains(&value) => {
                let allowed: Vec<String> = allowed.iter().map(Json::to_string).collect();
                let message = format!(
                    "'{name}' = {value} is not supported; only {}.",
                    allowed.join(" or ")
                );
                return Err(unsupported(name, message));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The tools shown to the model, and whether calls are looked for in its answer.
fn tools(fields: &mut Fields) -> Result<(Vec<Json>, bool), Invalid> {
    let tools = fields.list("tools", TOOLS_MAX)?;
    for (i, tool) in tools.iter().enumerate() {
        let param = format!("tools[{i}]");
        if tool.get("type").and_then(Json::as_str) != Some("function") {
            let message = format!("'{param}.type' must be \"function\".");
            return Err(invalid(format!("{param}.type"), message));
        }
        let function = tool.get("function");
        let name = function.and_then(|f| f.get("name")).and_then(Json::as_str);
        if name.is_none_or(str::is_empty) {
            let param = format!("{param}.function.name");
            return Err(invalid(param.clone(), format!("'{param}' must be a name.")));
        }
        if function
            .and_then(|f| f.get("strict"))
            .and_then(Json::as_bool)
            == Some(true)
        {
            let param = format!("{param}.function.strict");
            return Err(unsupported(
                &param,
                format!("'{param}' = true is not supported."),
            ));
        }
    }
    match fields.take("tool_choice") {
        None => {}
        Some(Json::String(choice)) if choice == "auto" => {}
        // The tools are then not even shown to the model.
        Some(Json::String(choice)) if choice == "none" => return Ok((Vec::new(), false)),
        Some(choice) => {
            let message =
                format!("'tool_choice' = {choice} is not supported; only \"auto\" and \"none\".");
            return Err(unsupported("tool_choice", message));
        }
    }
    let parse = !tools.is_empty();
    Ok((tools, parse))
}

fn stream(fields: &mut Fields) -> Result<Option<StreamOptions>, Invalid> {
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
    // Padding against traffic analysis is the edge's business; the engine adds none.
    if options.bool("include_obfuscation")? == Some(true) {
        let name = "stream_options.include_obfuscation";
        return Err(unsupported(
            name,
            format!("'{name}' = true is not supported."),
        ));
    }
    options.finish()?;
    Ok(Some(StreamOptions { include_usage }))
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
    Ok(new
        .or(old)
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX)))
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
    let top_logprobs = fields.integer("top_logprobs", 0, TOP_LOGPROBS_MAX)?;
    let logprobs = match (fields.bool("logprobs")?.unwrap_or(false), top_logprobs) {
        (true, top) => Some(usize::try_from(top.unwrap_or(0)).unwrap_or(0)),
        (false, Some(_)) => {
            let message = "'top_logprobs' is only allowed when 'logprobs' is true.";
            return Err(invalid("top_logprobs", message));
        }
        (false, None) => None,
    };
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
    let top_p = fields.number("top_p", 0.0, 1.0)?;
    if top_p == Some(0.0) {
        return Err(invalid("top_p", "'top_p' must be above 0."));
    }
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
        logprobs,
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
