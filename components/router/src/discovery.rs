//! What each backend serves, as it was last heard.
//!
//! `router` keeps one entry a backend in the cache. It knows the shape of `GET /v1/models` and how
//! old an entry may be; it makes no requests.

use serde::{Deserialize, Serialize};

/// A list is asked for again when it is older.
pub const FRESH_MS: u64 = 10_000;
/// A backend that did not answer is not asked again sooner.
pub const RETRY_MS: u64 = 1_000;
/// Models of one backend, at most; the rest of a longer list is left out.
pub const MODELS_MAX: usize = 500;
/// For an engine that does not tell: the window of many small models.
const CONTEXT_WINDOW_DEFAULT: u32 = 4096;

/// A model on one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub id: String,
    pub created: u64,
    pub owned_by: String,
    pub context_window: u32,
}

/// One backend's entry in the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Empty if it never answered.
    pub models: Vec<Model>,
    /// It answered at least once. Its names stay known while it is down.
    pub is_known: bool,
    pub heard_at_ms: u64,
    pub tried_at_ms: u64,
}

impl Served {
    /// Whether to ask it again. A backend that is thought to be down is asked more often, because
    /// its answer is what brings it back.
    pub fn is_due(&self, now_ms: u64, is_down: bool) -> bool {
        let since = |then_ms: u64| now_ms.saturating_sub(then_ms);
        let is_old = !self.is_known || is_down || since(self.heard_at_ms) >= FRESH_MS;
        is_old && (self.tried_at_ms == 0 || since(self.tried_at_ms) >= RETRY_MS)
    }

    /// After a question: its answer, or none. Names that are known stay.
    pub fn heard(&mut self, answer: Option<Vec<Model>>, now_ms: u64) {
        self.tried_at_ms = now_ms;
        if let Some(models) = answer {
            self.models = models;
            self.is_known = true;
            self.heard_at_ms = now_ms;
        }
    }
}

/// OpenAI's list, with vLLM's `max_model_len`. Other fields are the engine's own.
#[derive(Deserialize)]
struct Listing {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    created: u64,
    #[serde(default)]
    owned_by: Option<String>,
    #[serde(default)]
    max_model_len: Option<u32>,
}

/// The models in a backend's answer. None if it is not OpenAI's list.
pub fn parse(body: &[u8]) -> Option<Vec<Model>> {
    let listing: Listing = serde_json::from_slice(body).ok()?;
    let models = listing
        .data
        .into_iter()
        .take(MODELS_MAX)
        .map(|listed| Model {
            id: listed.id,
            created: listed.created,
            owned_by: listed.owned_by.unwrap_or_else(|| "unknown".into()),
            context_window: listed
                .max_model_len
                .filter(|tokens| *tokens > 0)
                .unwrap_or(CONTEXT_WINDOW_DEFAULT),
        });
    Some(models.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_models() {
        let body = br#"{"object":"list","data":[
            {"id":"skerry-demo","object":"model","created":1700000000,"owned_by":"skerry",
             "root":"/models/x","max_model_len":2048,"permission":[]},
            {"id":"other","max_model_len":null}]}"#;
        let model = |id: &str, created, owner: &str, window| Model {
            id: id.into(),
            created,
            owned_by: owner.into(),
            context_window: window,
        };
        assert_eq!(
            parse(body).unwrap(),
            [
                model("skerry-demo", 1_700_000_000, "skerry", 2048),
                model("other", 0, "unknown", 4096)
            ]
        );
        assert_eq!(parse(b"<html>"), None);
        assert_eq!(parse(br#"{"error":{}}"#), None);
    }

    #[test]
    fn when_to_ask_again() {
        let mut served = Served::default();
        assert!(served.is_due(50_000, false));
        served.heard(None, 50_000);
        assert!(!served.is_due(50_999, false));
        assert!(served.is_due(51_000, false));
        served.heard(Some(Vec::new()), 51_000);
        assert!(!served.is_due(60_999, false));
        assert!(served.is_due(61_000, false));
        // Thought to be down: sooner.
        assert!(!served.is_due(51_999, true));
        assert!(served.is_due(52_000, true));
        served.heard(None, 61_000);
        assert!(served.is_known);
    }
}
