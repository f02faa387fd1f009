//! One function a field, or a row in a table for the fields that are only checked
//! and handed on.

use serde_json::{Map, Value};

use super::{TOOLS_MAX, ToolChoice};
use crate::error::ApiError;

/// Every field that is honoured.
pub(crate) const KNOWN: [&str; 41] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "conversation",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "skerry",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "seed",
    "stop",
    "stop_token_ids",
    "min_tokens",
    "ignore_eos",
    "n",
    "response_format",
    "store",
    "service_tier",
    "modalities",
    "metadata",
    "audio",
    "prediction",
    "web_search_options",
    "reasoning_effort",
    "verbosity",
    "functions",
    "function_call",
    "user",
    "safety_identifier",
];

/// Fields of OpenAI's API that may be sent with the value that asks for nothing,
/// as some client libraries do, and are refused with any other.
const ONLY_DEFAULT: [(&str, &[&str]); 13] = [
    ("n", &["1"]),
    ("store", &["false"]),
    ("service_tier", &["\"auto\"", "\"default\""]),
    ("modalities", &["[\"text\"]"]),
    ("metadata", &["{}"]),
    ("audio", &[]),
    ("prediction", &[]),
    ("web_search_options", &[]),
    ("reasoning_effort", &[]),
    ("verbosity", &[]),
    ("functions", &[]),
    ("function_call", &[]),
    ("safety_identifier", &[]),
];

/// What a sampling field must be, and the words for when it is not.
enum Check {
    Number { min: f64, max: f64 },
    Integer { min: i64, max: i64 },
    Boolean,
    Custom(fn(&Value) -> Result<(), String>),
}

/// Ranges are OpenAI's; those of `top_k`, `min_p` and `repetition_penalty` vLLM's.
const SAMPLING: [(&str, Check); 17] = [
    ("temperature", Check::Number { min: 0.0, max: 2.0 }),
    ("top_p", Check::Number { min: 0.0, max: 1.0 }),
    (
        "top_k",
        Check::Integer {
            min: -1,
            max: i32::MAX as i64,
        },
    ),
    ("min_p", Check::Number { min: 0.0, max: 1.0 }),
    (
        "presence_penalty",
        Check::Number {
            min: -2.0,
            max: 2.0,
        },
    ),
    (
        "frequency_penalty",
        Check::Number {
            min: -2.0,
            max: 2.0,
        },
    ),
    (
        "repetition_penalty",
        Check::Number {
            min: 0.01,
            max: 10.0,
        },
    ),
    ("logit_bias", Check::Custom(logit_bias)),
    ("logprobs", Check::Boolean),
    ("top_logprobs", Check::Integer { min: 0, max: 20 }),
    (
        "seed",
        Check::Integer {
            min: i64::MIN,
            max: i64::MAX,
        },
    ),
    ("stop", Check::Custom(stop)),
    ("stop_token_ids", Check::Custom(stop_token_ids)),
    (
        "min_tokens",
        Check::Integer {
            min: 0,
            max: u32::MAX as i64,
        },
    ),
    ("ignore_eos", Check::Boolean),
    ("parallel_tool_calls", Check::Boolean),
    ("response_format", Check::Custom(response_format)),
];

pub(super) fn refuse(name: &str) -> ApiError {
    // A name is the client's own word, but not a place to echo a book.
    let name: String = name.chars().take(64).collect();
    ApiError::unsupported(name.clone(), format!("Unsupported parameter: '{name}'."))
}

pub(super) fn model(value: Option<Value>) -> Result<String, ApiError> {
    match value {
        Some(Value::String(model)) if !model.is_empty() && model.len() <= 256 => Ok(model),
        None | Some(Value::Null) => Err(ApiError::invalid(
            "model",
            "You must provide a model parameter.",
        )),
        Some(_) => Err(ApiError::invalid(
            "model",
            "'model' must be a string of 1 to 256 bytes.",
        )),
    }
}

pub(super) fn boolean(
    fields: &mut Map<String, Value>,
    name: &'static str,
) -> Result<Option<bool>, ApiError> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(value)),
        Some(_) => Err(ApiError::invalid(
            name,
            format!("'{name}' must be a boolean."),
        )),
    }
}

pub(super) fn stream_options(value: Option<Value>, stream: bool) -> Result<bool, ApiError> {
    let options = match value {
        None | Some(Value::Null) => return Ok(false),
        Some(Value::Object(options)) => options,
        Some(_) => {
            return Err(ApiError::invalid(
                "stream_options",
                "'stream_options' must be an object.",
            ));
        }
    };
    if !stream {
        return Err(ApiError::invalid(
            "stream_options",
            "'stream_options' is only allowed when 'stream' is true.",
        ));
    }
    let mut include_usage = false;
    for (name, value) in options {
        let path = format!("stream_options.{name}");
        match (name.as_str(), value) {
            ("include_usage", Value::Bool(value)) => include_usage = value,
            // Chunks are not padded: `false` is what happens anyway.
            ("include_obfuscation", Value::Bool(false)) | (_, Value::Null) => {}
            ("include_usage", _) => {
                return Err(ApiError::invalid(
                    path,
                    "'include_usage' must be a boolean.",
                ));
            }
            _ => return Err(refuse(&path)),
        }
    }
    Ok(include_usage)
}

/// `max_completion_tokens`, or its older name `max_tokens`.
pub(super) fn completion_tokens_max(
    fields: &mut Map<String, Value>,
) -> Result<Option<(u32, &'static str)>, ApiError> {
    let mut found = None;
    for name in ["max_tokens", "max_completion_tokens"] {
        match fields.remove(name) {
            None | Some(Value::Null) => {}
            Some(value) => {
                let tokens = value.as_u64().and_then(|tokens| u32::try_from(tokens).ok());
                let Some(tokens) = tokens.filter(|tokens| *tokens > 0) else {
                    let message = format!("'{name}' must be an integer from 1 to {}.", u32::MAX);
                    return Err(ApiError::invalid(name, message));
                };
                if found.replace((tokens, name)).is_some() {
                    return Err(ApiError::invalid(
                        name,
                        "'max_tokens' and 'max_completion_tokens' exclude each other.",
                    ));
                }
            }
        }
    }
    Ok(found)
}

/// An id, or OpenAI's object with an `id`.
pub(super) fn conversation(value: Option<Value>) -> Result<Option<String>, ApiError> {
    let wrong = || {
        ApiError::invalid(
            "conversation",
            "'conversation' must be an id, such as conv_0123456789.",
        )
    };
    let id = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(id)) => id,
        Some(Value::Object(mut object)) if object.len() == 1 => match object.remove("id") {
            Some(Value::String(id)) => id,
            _ => return Err(wrong()),
        },
        Some(_) => return Err(wrong()),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
        return Err(wrong());
    }
    Ok(Some(id))
}

pub(super) fn tools(value: Option<Value>) -> Result<Option<Value>, ApiError> {
    let tools = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(tools)) => tools,
        Some(_) => return Err(ApiError::invalid("tools", "'tools' must be an array.")),
    };
    if tools.len() > TOOLS_MAX {
        let message = format!(
            "'tools' has {} entries; at most {TOOLS_MAX} fit.",
            tools.len()
        );
        return Err(ApiError::invalid("tools", message));
    }
    for (index, tool) in tools.iter().enumerate() {
        check_tool(index, tool)?;
    }
    Ok((!tools.is_empty()).then_some(Value::Array(tools)))
}

fn check_tool(index: usize, tool: &Value) -> Result<(), ApiError> {
    let path = format!("tools[{index}]");
    if tool["type"] != "function" {
        let message = "only tools of the type 'function' are served.";
        return Err(ApiError::invalid(format!("{path}.type"), message));
    }
    let Some(function) = tool["function"].as_object() else {
        return Err(ApiError::invalid(
            format!("{path}.function"),
            "must be an object.",
        ));
    };
    let name = function
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        let message = "must be 1 to 64 letters, digits, '_' or '-'.";
        return Err(ApiError::invalid(format!("{path}.function.name"), message));
    }
    for (key, value) in function {
        let fits = match key.as_str() {
            "name" => true,
            "description" => value.is_string() || value.is_null(),
            "parameters" => value.is_object() || value.is_null(),
            "strict" => value.is_boolean() || value.is_null(),
            _ => return Err(refuse(&format!("{path}.function.{key}"))),
        };
        if !fits {
            return Err(ApiError::invalid(
                format!("{path}.function.{key}"),
                "has a wrong type.",
            ));
        }
    }
    Ok(())
}

pub(super) fn tool_choice(value: Option<Value>, has_tools: bool) -> Result<ToolChoice, ApiError> {
    let value = match value {
        None | Some(Value::Null) => return Ok(ToolChoice::Auto),
        Some(value) => value,
    };
    let choice = match &value {
        Value::String(text) => match text.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Forced(value),
            _ => {
                let message = "'tool_choice' must be 'none', 'auto', 'required' or an object.";
                return Err(ApiError::invalid("tool_choice", message));
            }
        },
        Value::Object(_) => ToolChoice::Forced(value),
        _ => {
            let message = "'tool_choice' must be a string or an object.";
            return Err(ApiError::invalid("tool_choice", message));
        }
    };
    if matches!(choice, ToolChoice::Forced(_)) && !has_tools {
        let message = "'tool_choice' is only allowed when 'tools' are given.";
        return Err(ApiError::invalid("tool_choice", message));
    }
    Ok(choice)
}

/// Our extension: `{"events": true}`.
pub(super) fn skerry(value: Option<Value>) -> Result<bool, ApiError> {
    let mut options = match value {
        None | Some(Value::Null) => return Ok(false),
        Some(Value::Object(options)) => options,
        Some(_) => return Err(ApiError::invalid("skerry", "'skerry' must be an object.")),
    };
    let events = match options.remove("events") {
        None => false,
        Some(Value::Bool(events)) => events,
        Some(_) => return Err(ApiError::invalid("skerry.events", "must be a boolean.")),
    };
    match options.keys().next() {
        Some(unknown) => Err(refuse(&format!("skerry.{unknown}"))),
        None => Ok(events),
    }
}

/// Takes the fields away whose only served value is the default.
pub(super) fn only_defaults(fields: &mut Map<String, Value>) -> Result<(), ApiError> {
    for (name, defaults) in ONLY_DEFAULT {
        let Some(value) = fields.remove(name) else {
            continue;
        };
        if !value.is_null() && !defaults.contains(&value.to_string().as_str()) {
            return Err(match defaults {
                [] => refuse(name),
                _ => ApiError::unsupported(
                    name,
                    format!(
                        "Unsupported value: '{name}' can only be {}.",
                        defaults.join(" or ")
                    ),
                ),
            });
        }
    }
    // Who the client's own user is: of no use here until it is recorded somewhere.
    match fields.remove("user") {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(refuse("user")),
    }
}

pub(super) fn check_sampling(fields: &Map<String, Value>) -> Result<(), ApiError> {
    for (name, check) in SAMPLING {
        let value = match fields.get(name) {
            None | Some(Value::Null) => continue,
            Some(value) => value,
        };
        check.apply(value).map_err(|expected| {
            ApiError::invalid(
                name,
                format!("Invalid value for '{name}': expected {expected}."),
            )
        })?;
    }
    if fields
        .get("top_logprobs")
        .is_some_and(|value| !value.is_null())
        && fields.get("logprobs") != Some(&Value::Bool(true))
    {
        let message = "'top_logprobs' is only allowed when 'logprobs' is true.";
        return Err(ApiError::invalid("top_logprobs", message));
    }
    Ok(())
}

impl Check {
    /// The error is what was expected.
    fn apply(&self, value: &Value) -> Result<(), String> {
        match self {
            Check::Number { min, max } => match value.as_f64() {
                Some(number) if (*min..=*max).contains(&number) => Ok(()),
                _ => Err(format!("a number from {min} to {max}")),
            },
            Check::Integer { min, max } => match value.as_i64() {
                Some(number) if (*min..=*max).contains(&number) => Ok(()),
                _ => Err(format!("an integer from {min} to {max}")),
            },
            Check::Boolean if value.is_boolean() => Ok(()),
            Check::Boolean => Err("a boolean".into()),
            Check::Custom(check) => check(value),
        }
    }
}

fn logit_bias(value: &Value) -> Result<(), String> {
    let expected = "an object of at most 1024 token ids with a bias from -100 to 100 each";
    let fits = value.as_object().is_some_and(|biases| {
        biases.len() <= 1024
            && biases.iter().all(|(token, bias)| {
                token.parse::<u32>().is_ok()
                    && bias
                        .as_f64()
                        .is_some_and(|bias| (-100.0..=100.0).contains(&bias))
            })
    });
    fits.then_some(()).ok_or_else(|| expected.into())
}

fn stop(value: &Value) -> Result<(), String> {
    let text = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| (1..=256).contains(&text.len()))
    };
    let fits = text(value)
        || value
            .as_array()
            .is_some_and(|texts| texts.len() <= 4 && texts.iter().all(text));
    fits.then_some(())
        .ok_or_else(|| "a string of 1 to 256 bytes, or up to 4 of them".into())
}

fn stop_token_ids(value: &Value) -> Result<(), String> {
    let id = |value: &Value| value.as_u64().is_some_and(|id| id <= u64::from(u32::MAX));
    let fits = value
        .as_array()
        .is_some_and(|ids| ids.len() <= 64 && ids.iter().all(id));
    fits.then_some(())
        .ok_or_else(|| "up to 64 token ids".into())
}

fn response_format(value: &Value) -> Result<(), String> {
    let kinds = ["text", "json_object", "json_schema"];
    let fits = value["type"]
        .as_str()
        .is_some_and(|kind| kinds.contains(&kind));
    fits.then_some(())
        .ok_or_else(|| "an object with a 'type' of text, json_object or json_schema".into())
}
