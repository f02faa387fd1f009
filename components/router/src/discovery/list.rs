//! An answer to `GET {base}/models`: OpenAI's list, and what servers make of it.
//!
//! Part of `discovery`. An entry is read by itself, so that one odd entry takes no other away, and
//! a field by itself, so that an odd field takes no entry away.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::Value;
use serde_json::value::RawValue;

use super::{MODELS_MAX, Model};

/// A longer name is no model's.
const ID_BYTES_MAX: usize = 256;
/// Suggestions of one model, at most.
const SUGGESTIONS_MAX: usize = 8;
/// Where servers write the tokens of prompt and completion together. The first that is a number
/// counts: vLLM, Groq, LM Studio and OpenRouter, Mistral, llama.cpp (as it was started, and as
/// the model was trained).
const WINDOWS: [&str; 7] = [
    "/max_model_len",
    "/context_window",
    "/context_length",
    "/max_context_length",
    "/max_context_window_tokens",
    "/meta/n_ctx",
    "/meta/n_ctx_train",
];

/// The models in a backend's answer, each once. None if it is no list.
pub fn parse(body: &[u8]) -> Option<Vec<Model>> {
    let text = String::from_utf8_lossy(body);
    let entries = entries(&text)?;
    let mut seen = HashSet::new();
    let models = entries
        .into_iter()
        .filter_map(|entry| model(&serde_json::from_str(entry.get()).ok()?))
        .filter(|model| seen.insert(model.id.clone()));
    Some(models.take(MODELS_MAX).collect())
}

fn entries(text: &str) -> Option<Vec<&RawValue>> {
    let bare = text.trim_start_matches('\u{feff}');
    if bare.trim_start().starts_with('[') {
        return serde_json::from_str(bare).ok();
    }
    let keys: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(bare).ok()?;
    // OpenAI has `data`; some have `models`, and llama.cpp both.
    let lists = ["data", "models"].iter().filter_map(|key| keys.get(*key));
    let mut is_list = false;
    for list in lists {
        match serde_json::from_str::<Option<Vec<&RawValue>>>(list.get()) {
            Ok(Some(entries)) => return Some(entries),
            // Ollama without a model.
            Ok(None) => is_list = true,
            Err(_) => {}
        }
    }
    is_list.then(Vec::new)
}

fn model(entry: &Value) -> Option<Model> {
    let id = match entry {
        Value::String(id) => id.as_str(),
        _ => ["id", "name", "model"]
            .iter()
            .find_map(|key| entry.get(key)?.as_str().filter(|id| is_id(id)))?,
    };
    let owned_by = entry.get("owned_by").and_then(Value::as_str);
    Some(Model {
        id: Some(id).filter(|id| is_id(id))?.to_owned(),
        created: entry.get("created").and_then(whole).unwrap_or(0),
        owned_by: owned_by
            .filter(|owner| is_id(owner))
            .unwrap_or("unknown")
            .to_owned(),
        context_window: WINDOWS.iter().find_map(|place| {
            let tokens = u32::try_from(whole(entry.pointer(place)?)?).ok()?;
            (tokens > 0).then_some(tokens)
        }),
        suggestions: suggestions(entry),
    })
}

/// Our engine's `suggestions`, as far as a page has room for them.
fn suggestions(entry: &Value) -> Vec<String> {
    let all = entry.get("suggestions").and_then(Value::as_array);
    let fits = |text: &&str| !text.is_empty() && text.len() <= ID_BYTES_MAX;
    let texts = all
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(fits);
    texts.take(SUGGESTIONS_MAX).map(str::to_owned).collect()
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.contains(char::is_control)
}

/// A number of at least 0, also as a float or a text; without its fraction.
fn whole(value: &Value) -> Option<u64> {
    let float = |number: f64| {
        let is_whole = (0.0..=9e15).contains(&number);
        is_whole.then_some(number as u64)
    };
    match value {
        Value::Number(number) => number.as_u64().or_else(|| float(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}
