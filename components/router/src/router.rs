//! The steps of one call, over a cache, a clock and the backends.
//!
//! It stands between the border and the decisions: it reads what the cache knows, asks the
//! backends that are due, writes back what it heard, and lets `choose` decide. A cache that fails
//! is an empty one: routing then costs a question to each backend, and no answer is lost.

use crate::choose::{self, Known, Request, RouteError, Target};
use crate::config::Config;
use crate::discovery::{Model, Served};
use crate::health::{Health, Outcome, State};
use std::rc::Rc;

#[cfg(test)]
mod tests;

/// A key-value store that may forget.
pub trait Cache {
    fn get(&self, key: &str) -> impl Future<Output = Option<Vec<u8>>>;
    fn set(&self, key: &str, value: Vec<u8>) -> impl Future<Output = ()>;
}

/// `GET /v1/models` of a backend; none if it does not answer in time, or not with a list.
pub trait Backends {
    fn models(&self, url: &str) -> impl Future<Output = Option<Vec<Model>>>;
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
        let mut all = Vec::with_capacity(self.config.backends.len());
        for backend in &self.config.backends {
            let mut served: Served = self.read(&models_key(&backend.name, &backend.url)).await;
            let mut health: Health = self.read(&health_key(&backend.name)).await;
            if served.is_due(self.now_ms, health.is_down()) {
                let answer = self.backends.models(&backend.url).await;
                if answer.is_some() && health.is_down() {
                    health.is_alive();
                    self.write(&health_key(&backend.name), &health).await;
                }
                served.heard(answer, self.now_ms);
                self.write(&models_key(&backend.name, &backend.url), &served)
                    .await;
            }
            all.push(Known {
                backend: backend.clone(),
                served,
                health,
            });
        }
        all
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

/// A name that moves to another address is another backend.
fn models_key(name: &str, url: &str) -> String {
    format!("router/models/{name}/{url}")
}

fn health_key(name: &str) -> String {
    format!("router/health/{name}")
}
