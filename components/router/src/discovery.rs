//! What each backend serves, as it was last heard.
//!
//! `router` keeps one entry a backend in the cache. It knows how old an entry may be; it makes no
//! requests. `list` knows the shapes of an answer to `GET {base}/models`.

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;

mod list;

#[cfg(test)]
mod tests;

pub use list::parse;

/// A list is asked for again when it is older.
pub const FRESH_MS: u64 = 10_000;
/// A backend that did not answer is not asked again sooner.
pub const RETRY_MS: u64 = 1_000;
/// Models of one backend, at most; the rest of a longer list is left out.
pub const MODELS_MAX: usize = 500;

/// A model on one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub id: String,
    pub created: u64,
    pub owned_by: String,
    /// None: the backend does not tell.
    pub context_window: Option<u32>,
    /// Messages that a page may offer to begin with.
    #[serde(default)]
    pub suggestions: Vec<String>,
}

/// A backend's answer to the request for its models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Models(Vec<Model>),
    /// A status that is not 200.
    Status(u16),
    /// Not a list of models, or longer than is read.
    Unreadable,
    /// It cannot be reached, or not in time.
    Absent,
}

/// Why there is no list, though the backend answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refused {
    Status(u16),
    Unreadable,
}

/// One backend's entry in the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Served {
    /// Empty if it never answered.
    pub models: Vec<Model>,
    /// Told from its models.
    pub dialect: Dialect,
    /// It answered at least once with a list. Its names stay known while it is down.
    pub is_known: bool,
    /// As it answered last.
    pub refused: Option<Refused>,
    pub heard_at_ms: u64,
    pub tried_at_ms: u64,
}

impl Served {
    /// Whether to ask it again. A backend that is thought to be down is asked more often, because
    /// its answer is what brings it back; one that keeps its list to itself, and whose models are
    /// configured (`is_configured`), is not.
    pub fn is_due(&self, now_ms: u64, is_down: bool, is_configured: bool) -> bool {
        let since = |then_ms: u64| now_ms.saturating_sub(then_ms);
        if self.refused.is_some() && is_configured {
            return since(self.tried_at_ms) >= FRESH_MS;
        }
        let is_old = !self.is_known || is_down || since(self.heard_at_ms) >= FRESH_MS;
        is_old && (self.tried_at_ms == 0 || since(self.tried_at_ms) >= RETRY_MS)
    }

    /// After a question: its answer. Names that are known stay. Returns why there is no list, if
    /// that is news.
    pub fn heard(&mut self, answer: Answer, now_ms: u64) -> Option<Refused> {
        self.tried_at_ms = now_ms;
        let refused = match answer {
            Answer::Models(models) => {
                self.dialect =
                    Dialect::of_owners(models.iter().map(|model| model.owned_by.as_str()));
                self.models = models;
                self.is_known = true;
                self.heard_at_ms = now_ms;
                None
            }
            Answer::Status(status) => Some(Refused::Status(status)),
            Answer::Unreadable => Some(Refused::Unreadable),
            Answer::Absent => return None,
        };
        let is_news = refused != self.refused;
        self.refused = refused;
        refused.filter(|_| is_news)
    }
}
