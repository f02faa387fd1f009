//! The steps of one call, over a cache, a clock and the backends.
//!
//! It stands between the border and the decisions: it reads what the cache knows, asks the
//! backends that are due, writes back what it heard, and lets `choose` decide. A cache that fails
//! is an empty one: routing then costs a question to each backend, and no answer is lost.

use crate::choose::{self, Known, Request, RouteError, Target};
use crate::config::{Backend, Config, Offered};
use crate::discovery::{Answer, Model, Refused, Served};
use crate::health::{Health, Outcome, State};
use futures::future::join_all;
use std::rc::Rc;

#[cfg(test)]
mod tests;

/// A key-value store that may forget.
pub trait Cache {
    fn get(&self, key: &str) -> impl Future<Output = Option<Vec<u8>>>;
    fn set(&self, key: &str, value: Vec<u8>) -> impl Future<Output = ()>;
}

/// The backends, and the operator's log.
pub trait Backends {
    /// `GET {base}/models`, with the backend's headers.
    fn models(&self, backend: &Backend) -> impl Future<Output = Answer>;
    /// One line for the operator.
    fn tell(&self, line: &str);
}

/// What one call works with.
#[derive(Debug)]
pub struct Router<C, B> {
    pub config: Rc<Config>,
    pub cache: C,
    pub backends: B,
    pub now_ms: u64,
}

impl<C: Cache, B: Backends> Router<C, B> {
    /// Every model that a client may name.
    pub async fn models(&self) -> Result<Vec<Model>, RouteError> {
        choose::models(&self.known().await)
    }

    /// The targets of a request, best first.
    pub async fn route(&self, request: &Request, turn: u64) -> Result<Vec<Target>, RouteError> {
        let mut known = self.known().await;
        let targets = choose::route(&self.config, &known, request, self.now_ms, turn)?;
        // Only the first is sure to be called.
        if let Some(first) = targets
            .first()
            .filter(|target| target.state == State::HalfOpen)
            && let Some(known) = known
                .iter_mut()
                .find(|known| known.backend.name == first.backend)
        {
            known.health.try_now(self.now_ms);
            self.write(&health_key(&first.backend), &known.health).await;
        }
        Ok(targets)
    }

    /// What came of a call.
    pub async fn report(&self, backend: &str, outcome: Outcome) {
        if !self
            .config
            .backends
            .iter()
            .any(|known| known.name == backend)
        {
            return;
        }
        let before: Health = self.read(&health_key(backend)).await;
        let mut health = before.clone();
        health.report(outcome, self.now_ms);
        if health != before {
            self.write(&health_key(backend), &health).await;
        }
    }

    async fn known(&self) -> Vec<Known> {
        // Asked side by side: those that do not answer cost one timeout together.
        let backends = self.config.backends.iter();
        join_all(backends.map(|backend| self.know(backend))).await
    }

    async fn know(&self, backend: &Backend) -> Known {
        let mut served: Served = self.read(&models_key(backend)).await;
        let mut health: Health = self.read(&health_key(&backend.name)).await;
        let is_configured = backend.offered != Offered::All;
        if served.is_due(self.now_ms, health.is_down(), is_configured) {
            let answer = self.backends.models(backend).await;
            if matches!(answer, Answer::Models(_)) && health.is_down() {
                health.is_alive();
                self.write(&health_key(&backend.name), &health).await;
            }
            if let Some(refused) = served.heard(answer, self.now_ms) {
                self.backends.tell(&complaint(backend, refused));
            }
            self.write(&models_key(backend), &served).await;
        }
        Known {
            backend: backend.clone(),
            served,
            health,
        }
    }

    async fn read<T: Default + serde::de::DeserializeOwned>(&self, key: &str) -> T {
        let value = self.cache.get(key).await;
        value
            .and_then(|value| serde_json::from_slice(&value).ok())
            .unwrap_or_default()
    }

    async fn write(&self, key: &str, value: &impl serde::Serialize) {
        if let Ok(value) = serde_json::to_vec(value) {
            self.cache.set(key, value).await;
        }
    }
}

/// Words for the operator: without a list the backend serves what is configured, or nothing.
fn complaint(backend: &Backend, refused: Refused) -> String {
    let (name, url) = (&backend.name, &backend.base_url);
    let what = match refused {
        Refused::Status(status @ (401 | 403)) => {
            let key = match backend
                .headers
                .iter()
                .any(|(name, _)| name == "authorization")
            {
                true => "its key is wrong",
                false => "it has no key (`api_key_variable`, or its variable is empty)",
            };
            format!("answers {status} to GET {url}/models: {key}")
        }
        Refused::Status(status) => format!("answers {status} to GET {url}/models"),
        Refused::Unreadable => format!("answers GET {url}/models with no list of models"),
    };
    let then = match backend.offered {
        Offered::All => "it serves nothing new; name its `models` to do without its list",
        Offered::Names(_) | Offered::Aliases(_) => "its `models` are served as configured",
    };
    format!("backend_list: backend `{name}` {what}; {then}")
}

/// A name that moves to another address is another backend.
fn models_key(backend: &Backend) -> String {
    format!("router/models/{}/{}", backend.name, backend.base_url)
}

fn health_key(name: &str) -> String {
    format!("router/health/{name}")
}
