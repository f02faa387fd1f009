//! The wire form of a usage event, as `ledger` reads it.
//!
//! It is a border type: flat, and in JSON. It does not know who reads it.

use serde::Serialize;

/// What was used by one request: `usage-event` in wit/billing.wit, laid flat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// One id for the whole request; the ledger applies it once.
    pub request_id: String,
    /// Whose it is.
    pub organization_id: String,
    /// Whose it is.
    pub project_id: String,
    /// The person, if the key belongs to one.
    pub user_id: Option<String>,
    /// The key's id, which is no secret.
    pub key_id: String,
    /// The model as the client saw it.
    pub model: String,
    /// The backend that answered.
    pub backend: String,
    /// Tokens of all prompts.
    pub prompt_tokens: u32,
    /// Of them, those found in the prefix cache.
    pub cached_tokens: u32,
    /// Tokens of all answers.
    pub completion_tokens: u32,
    /// Of them, those spent on hidden reasoning.
    pub reasoning_tokens: u32,
    /// Some of these were not counted by the engine.
    pub estimated: bool,
    /// Calls to the model.
    pub model_calls: u32,
    /// Calls to tools that the platform ran.
    pub tool_calls: u32,
    /// Since the Unix epoch.
    pub started_at_ms: u64,
    /// From the request to the end of the answer.
    pub duration_ms: u32,
}

impl Event {
    /// The JSON of one item.
    pub fn to_json(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_what_the_ledger_reads() {
        let event = Event {
            request_id: "req_1".into(),
            organization_id: "org_1".into(),
            project_id: "proj_1".into(),
            user_id: Some("user_1".into()),
            key_id: "key_1".into(),
            model: "skerry-demo".into(),
            backend: "local".into(),
            prompt_tokens: 120,
            cached_tokens: 64,
            completion_tokens: 30,
            reasoning_tokens: 0,
            estimated: true,
            model_calls: 2,
            tool_calls: 1,
            started_at_ms: 1_750_000_000_123,
            duration_ms: 850,
        };
        let golden = include_str!("../../ledger/golden/usage-event.json");
        assert_eq!(
            serde_json::to_string_pretty(&event).unwrap(),
            golden.trim_end()
        );
        let read: serde_json::Value = serde_json::from_str(&event.to_json().unwrap()).unwrap();
        assert_eq!(
            read,
            serde_json::from_str::<serde_json::Value>(golden).unwrap()
        );
    }
}
