//! One function a field, or a row in a table for the fields that are only checked
//! and handed on.

use serde_json::Value;
use serde_json::value::RawValue;

use super::{CHOICES_MAX, FIELDS, TOOLS_MAX, ToolChoice, Use};
use crate::error::{ApiError, excerpt};
use crate::raw_json::{Elements, RawFields, text, tree};

/// Stop strings of one request (OpenAI has 4, vLLM no limit), and characters of each.
const STOPS_MAX: usize = 16;
const STOP_CHARS_MAX: usize = 256;
/// Stop token ids, and biases, of one request.
const TOKENS_MAX: usize = 1_024;

/// The condition that a value must meet.
enum Check {
    Number { min: f64, max: f64 },
    Integer { min: i64, max: i64 },
    Boolean,
    Text,
    Object,
    Custom(fn(&RawValue) -> Result<(), String>),
}

/// The fields that are handed on and whose value is checked here. Ranges are OpenAI's; those
/// of `top_k`, `min_p` and `repetition_penalty` vLLM's. The backend checks the others.
const CHECKED: [(&str, Check); 24] = [
    (
        "n",
        Check::Integer {
            min: 1,
            max: CHOICES_MAX as i64,
        },
    ),
    ("user", Check::Text),
    ("safety_identifier", Check::Text),
    ("prompt_cache_key", Check::Text),
    ("metadata", Check::Object),
    ("reasoning_effort", Check::Text),
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
            min: 0.0,
            max: 100.0,
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
    ("structured_outputs", Check::Object),
];

/// Refuses a field that no client may send.
pub(super) fn is_known(name: &str) -> Result<(), ApiError> {
    match chat_fields::find(name).map(|field| field.used) {
        None | Some(Use::Refused | Use::Private) => Err(refuse(name)),
        Some(_) => Ok(()),
    }
}

pub(super) fn refuse(name: &str) -> ApiError {
    // A name is the client's own word, but not a place to echo a book.
    let name = excerpt(name);
    ApiError::unsupported(name.clone(), format!("Unsupported parameter: '{name}'."))
}

/// A field's value, which is a small one.
pub(super) fn take(
    fields: &mut RawFields<'_>,
    name: &'static str,
) -> Result<Option<Value>, ApiError> {
    fields.take(name).map(|raw| value(name, raw)).transpose()
}

fn value(name: &str, raw: &RawValue) -> Result<Value, ApiError> {
    let message = || format!("'{name}' is too large, or nested too deeply.");
    tree(raw).ok_or_else(|| ApiError::invalid(name, message()))
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
    fields: &mut RawFields<'_>,
    name: &'static str,
) -> Result<Option<bool>, ApiError> {
    match take(fields, name)? {
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
    fields: &mut RawFields<'_>,
) -> Result<Option<(u32, &'static str)>, ApiError> {
    let mut found: Option<(u32, &'static str)> = None;
    for name in ["max_tokens", "max_completion_tokens"] {
        match take(fields, name)? {
            None | Some(Value::Null) => {}
            Some(value) => {
                let tokens = value.as_u64().and_then(|tokens| u32::try_from(tokens).ok());
                let Some(tokens) = tokens.filter(|tokens| *tokens > 0) else {
                    let message = format!("'{name}' must be an integer from 1 to {}.", u32::MAX);
                    return Err(ApiError::invalid(name, message));
                };
                if found.is_some_and(|(before, _)| before != tokens) {
                    return Err(ApiError::invalid(
                        name,
                        "'max_tokens' and 'max_completion_tokens' contradict each other.",
                    ));
                }
                found = Some((tokens, name));
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

pub(super) fn tools(raw: Option<&RawValue>) -> Result<Option<Box<RawValue>>, ApiError> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    let Some(tools) = Elements::<TOOLS_MAX>::of(raw) else {
        return Err(ApiError::invalid("tools", "'tools' must be an array."));
    };
    if tools.count > TOOLS_MAX {
        let message = format!(
            "'tools' has {} entries; at most {TOOLS_MAX} fit.",
            tools.count
        );
        return Err(ApiError::invalid("tools", message));
    }
    for (index, tool) in tools.first.iter().enumerate() {
        check_tool(&format!("tools[{index}]"), tool)?;
    }
    Ok((tools.count > 0).then(|| raw.to_owned()))
}

fn check_tool(path: &str, tool: &RawValue) -> Result<(), ApiError> {
    let tool = RawFields::parse(tool.get())
        .map_err(|_| ApiError::invalid(path, "A tool must be an object."))?;
    if tool.get("type").map(RawValue::get) != Some("\"function\"") {
        let message = "only tools of the type 'function' are served.";
        return Err(ApiError::invalid(format!("{path}.type"), message));
    }
    let function = tool.get("function").map(RawValue::get).unwrap_or_default();
    let Ok(function) = RawFields::parse(function) else {
        return Err(ApiError::invalid(
            format!("{path}.function"),
            "must be an object.",
        ));
    };
    let name = function.get("name").and_then(text).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        let message = "must be 1 to 64 letters, digits, '_' or '-'.";
        return Err(ApiError::invalid(format!("{path}.function.name"), message));
    }
    for (key, value) in function.iter() {
        let fits = match (key, value.get().as_bytes().first()) {
            ("name", _) => true,
            ("description", first) => first == Some(&b'"'),
            ("parameters", first) => first == Some(&b'{'),
            ("strict", first) => matches!(first, Some(b't' | b'f')),
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

pub(super) fn tool_choice(raw: Option<&RawValue>, has_tools: bool) -> Result<ToolChoice, ApiError> {
    let Some(raw) = raw else {
        return Ok(ToolChoice::Default);
    };
    match (raw.get(), raw.get().as_bytes().first()) {
        ("\"none\"", _) => return Ok(ToolChoice::None),
        // Without tools there is nothing to choose: clients send it all the same.
        ("\"auto\"", _) if !has_tools => return Ok(ToolChoice::Default),
        ("\"auto\"", _) => return Ok(ToolChoice::Given(raw.to_owned())),
        ("\"required\"", _) | (_, Some(b'{')) => {}
        _ => {
            let message = "'tool_choice' must be 'none', 'auto', 'required' or an object.";
            return Err(ApiError::invalid("tool_choice", message));
        }
    }
    if !has_tools {
        let message = "'tool_choice' is only allowed when 'tools' are given.";
        return Err(ApiError::invalid("tool_choice", message));
    }
    Ok(ToolChoice::Given(raw.to_owned()))
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
pub(super) fn only_defaults(fields: &mut RawFields<'_>) -> Result<(), ApiError> {
    for field in FIELDS {
        let Use::OnlyDefault(defaults) = field.used else {
            continue;
        };
        let Some(value) = take(fields, field.name)? else {
            continue;
        };
        if !defaults.contains(&value.to_string().as_str()) {
            let (name, defaults) = (field.name, defaults.join(" or "));
            let message = format!("Unsupported value: '{name}' can only be {defaults}.");
            return Err(ApiError::unsupported(name, message));
        }
    }
    Ok(())
}

/// Values that the gateway itself needs of the fields that are handed on.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) choices: usize,
    pub(super) logprobs: bool,
    pub(super) json: bool,
}

/// Checks the fields that are handed on.
pub(super) fn check(fields: &RawFields<'_>) -> Result<Checked, ApiError> {
    let mut checked = Checked {
        choices: 1,
        logprobs: false,
        json: fields.get("guided_json").is_some(),
    };
    for (name, check) in CHECKED {
        let Some(raw) = fields.get(name) else {
            continue;
        };
        check.apply(raw).map_err(|expected| {
            ApiError::invalid(
                name,
                format!("Invalid value for '{name}': expected {expected}."),
            )
        })?;
        match name {
            "n" => checked.choices = raw.get().parse().unwrap_or(1),
            "logprobs" => checked.logprobs = raw.get() == "true",
            "response_format" => checked.json |= !is_text(RawFields::of(Some(raw)).get("type")),
            "structured_outputs" => {
                checked.json |= RawFields::of(Some(raw)).get("json").is_some();
            }
            _ => {}
        }
    }
    if fields.get("top_logprobs").is_some() && !checked.logprobs {
        let message = "'top_logprobs' is only allowed when 'logprobs' is true.";
        return Err(ApiError::invalid("top_logprobs", message));
    }
    Ok(checked)
}

fn is_text(kind: Option<&RawValue>) -> bool {
    kind.and_then(text).as_deref() == Some("text")
}

impl Check {
    /// The error is what was expected.
    fn apply(&self, raw: &RawValue) -> Result<(), String> {
        let expect = |fits: bool, expected: String| fits.then_some(()).ok_or(expected);
        let value = || tree(raw).unwrap_or_default();
        match self {
            Check::Number { min, max } => {
                let number = value().as_f64();
                let fits = number.is_some_and(|number| (*min..=*max).contains(&number));
                expect(fits, format!("a number from {min} to {max}"))
            }
            Check::Integer { min, max } => {
                let number = value().as_i64();
                let fits = number.is_some_and(|number| (*min..=*max).contains(&number));
                expect(fits, format!("an integer from {min} to {max}"))
            }
            Check::Boolean => expect(value().is_boolean(), "a boolean".into()),
            Check::Text => expect(text(raw).is_some(), "a string".into()),
            Check::Object => expect(raw.get().starts_with('{'), "an object".into()),
            Check::Custom(check) => check(raw),
        }
    }
}

fn logit_bias(raw: &RawValue) -> Result<(), String> {
    let expected = "an object of at most 1024 token ids with a bias from -100 to 100 each";
    let value = tree(raw).unwrap_or_default();
    let fits = value.as_object().is_some_and(|biases| {
        biases.len() <= TOKENS_MAX
            && biases.iter().all(|(token, bias)| {
                token.parse::<u32>().is_ok()
                    && bias
                        .as_f64()
                        .is_some_and(|bias| (-100.0..=100.0).contains(&bias))
            })
    });
    fits.then_some(()).ok_or_else(|| expected.into())
}

fn stop(raw: &RawValue) -> Result<(), String> {
    let is_stop = |raw: &RawValue| {
        text(raw).is_some_and(|text| (1..=STOP_CHARS_MAX).contains(&text.chars().count()))
    };
    let fits = is_stop(raw)
        || Elements::<STOPS_MAX>::of(raw).is_some_and(|texts| {
            texts.count <= STOPS_MAX && texts.first.iter().all(|text| is_stop(text))
        });
    fits.then_some(()).ok_or_else(|| {
        format!("a string of 1 to {STOP_CHARS_MAX} characters, or up to {STOPS_MAX} of them")
    })
}

fn stop_token_ids(raw: &RawValue) -> Result<(), String> {
    let fits = Elements::<TOKENS_MAX>::of(raw).is_some_and(|ids| {
        ids.count <= TOKENS_MAX && ids.first.iter().all(|id| id.get().parse::<u32>().is_ok())
    });
    fits.then_some(())
        .ok_or_else(|| "up to 1024 token ids".into())
}

fn response_format(raw: &RawValue) -> Result<(), String> {
    let kinds = ["text", "json_object", "json_schema"];
    let format = RawFields::of(Some(raw));
    let kind = format.get("type").and_then(text);
    let fits = kind.is_some_and(|kind| kinds.contains(&kind.as_ref()));
    fits.then_some(())
        .ok_or_else(|| "an object with a 'type' of text, json_object or json_schema".into())
}
