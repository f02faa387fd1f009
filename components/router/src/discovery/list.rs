//! An answer to `GET {base}/models`: OpenAI's list, and what servers make of it.
//!
//! Part of `discovery`. An entry is read by itself, so that one odd entry takes no other away, and
//! a field by itself, so that an odd field takes no entry away.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{MODELS_MAX, Model};

/// Entries that are looked at, at most: those of many may be no models, or the same.
const ENTRIES_MAX: usize = 8 * MODELS_MAX;
/// A longer entry is no model's: read as a whole, it takes up to a hundred times as much.
const ENTRY_BYTES_MAX: usize = 64 << 10;
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
        .filter(|entry| entry.get().len() <= ENTRY_BYTES_MAX)
        .filter_map(|entry| model(&serde_json::from_str(entry.get()).ok()?))
        .filter(|model| seen.insert(model.id.clone()));
    Some(models.take(MODELS_MAX).collect())
}

fn entries(text: &str) -> Option<Vec<&RawValue>> {
    let bare = text.trim_start_matches('\u{feff}');
    if bare.trim_start().starts_with('[') {
        return serde_json::from_str::<Entries<'_>>(bare)
            .ok()
            .map(|all| all.0);
    }
    let lists: Lists<'_> = serde_json::from_str(bare).ok()?;
    // OpenAI has `data`; some have `models`, and llama.cpp both.
    let lists = [lists.data, lists.models].into_iter().flatten();
    let mut is_list = false;
    for list in lists {
        match serde_json::from_str::<Option<Entries<'_>>>(list.get()) {
            Ok(Some(entries)) => return Some(entries.0),
            // Ollama without a model.
            Ok(None) => is_list = true,
            Err(_) => {}
        }
    }
    is_list.then(Vec::new)
}

/// The lists of an answer's object; nothing is kept of its other members.
#[derive(Default)]
struct Lists<'a> {
    data: Option<&'a RawValue>,
    models: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Lists<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Lists<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut lists = Lists::default();
                while let Some(name) = map.next_key::<Cow<'_, str>>()? {
                    match name.as_ref() {
                        "data" => lists.data = Some(map.next_value()?),
                        "models" => lists.models = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(lists)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// The first entries of a list.
struct Entries<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;

        impl<'de> Visitor<'de> for Elements {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while entries.len() < ENTRIES_MAX
                    && let Some(entry) = seq.next_element()?
                {
                    entries.push(entry);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_seq(Elements)
    }
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
