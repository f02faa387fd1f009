//! A request in the words of the backend that it goes to.
//!
//! It does NOT know what a field means; a backend that cannot honour one says so.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::{BackendRequest, WireMessages};
use crate::bindings::skerry::chat::router::Dialect;
use crate::bindings::skerry::chat::types::{Message, MessageRole};

/// A request, written for its backend's dialect.
pub(crate) struct Written<'a>(pub(crate) &'a BackendRequest<'a>);

/// Requests with more text are written twice, the first time to be measured.
const LARGE_BYTES: usize = 64 << 10;

impl Written<'_> {
    pub(crate) fn to_vec(&self) -> Result<Vec<u8>, serde_json::Error> {
        let text = |message: &Message| {
            let calls = message.tool_calls.iter().map(|call| call.arguments.len());
            message.content.len() + calls.sum::<usize>()
        };
        let messages = self.0.messages.iter().map(text).sum::<usize>();
        let fields = self.0.fields.iter().map(|(_, raw)| raw.get().len());
        let tools = self.0.tools.map_or(0, |tools| tools.get().len());
        match messages + fields.sum::<usize>() + tools {
            ..=LARGE_BYTES => serde_json::to_vec(self),
            _ => super::to_exact_vec(self),
        }
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.0;
        let dialect = request.dialect;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", request.model)?;
        let messages = request.messages;
        map.serialize_entry("messages", &WireMessages { messages, dialect })?;
        map.serialize_entry("stream", &true)?;
        // Mistral refuses the field and always tells the usage.
        match dialect {
            Dialect::Mistral => {}
            _ if counts_continuously(dialect) => {
                let options = json!({"include_usage": true, "continuous_usage_stats": true});
                map.serialize_entry("stream_options", &options)?;
            }
            _ => map.serialize_entry("stream_options", &json!({"include_usage": true}))?,
        }
        if let Some(tokens) = request.tokens_max {
            map.serialize_entry(tokens_max(dialect), &tokens)?;
        }
        if let Some(tools) = request.tools {
            map.serialize_entry("tools", tools)?;
        }
        if let Some(choice) = &request.tool_choice {
            match (dialect, choice.get()) {
                (Dialect::Mistral, "\"required\"") => map.serialize_entry("tool_choice", "any")?,
                _ => map.serialize_entry("tool_choice", choice)?,
            }
        }
        if matches!(dialect, Dialect::Skerry | Dialect::Vllm) {
            map.serialize_entry("cache_salt", &request.cache_salt)?;
        }
        if dialect == Dialect::Skerry
            && let Some(count) = request.cache_shared_messages
        {
            map.serialize_entry("cache_shared_messages", &count)?;
        }
        for (name, value) in request.fields {
            if let Some(name) = field(dialect, name) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// A backend of this dialect tells the usage so far with each event (vLLM's option), so that an
/// answer that is cut is counted as exactly as a whole one.
pub(crate) fn counts_continuously(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Skerry | Dialect::Vllm)
}

/// The name of the ceiling on an answer's tokens. OpenAI's newer models refuse the older
/// name; most others know that one alone.
fn tokens_max(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Skerry | Dialect::OpenAi | Dialect::Vllm => "max_completion_tokens",
        Dialect::Ollama | Dialect::LlamaCpp | Dialect::Mistral | Dialect::Other => "max_tokens",
    }
}

/// The name under which a dialect knows a field. None for one that carries nothing for it.
fn field(dialect: Dialect, name: &str) -> Option<&str> {
    let is_inert = chat_fields::is_inert(name);
    match (dialect, name) {
        (Dialect::Mistral, "seed") => Some("random_seed"),
        // These say who the client's own user is, and which prompts are alike.
        (Dialect::OpenAi, _) => Some(name),
        _ if is_inert => None,
        _ => Some(name),
    }
}

/// A role's name. `developer` is OpenAI's alone; templates know `system`.
pub(super) fn role(dialect: Dialect, role: MessageRole) -> &'static str {
    match role {
        MessageRole::Developer if matches!(dialect, Dialect::Skerry | Dialect::OpenAi) => {
            "developer"
        }
        MessageRole::System | MessageRole::Developer => "system",
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
        MessageRole::Tool => "tool",
    }
}
