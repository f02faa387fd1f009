//! The order of the targets.
//!
//! `router` gives it everything that is known: configuration, models, health and the instant. It
//! decides and does nothing.

use crate::config::{Backend, Config, Headers, Offered};
use crate::dialect::Dialect;
use crate::difficulty::{Difficulty, difficulty};
use crate::discovery::{Model, RETRY_MS, Served};
use crate::health::{Health, State};

#[cfg(test)]
mod tests;

/// The model that stands for the rule of `difficulty`.
pub const AUTO: &str = "auto";

/// What the gateway asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub model: String,
    pub prompt_chars: u32,
    pub query: String,
    pub tools: bool,
}

/// One place to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub backend: String,
    pub base_url: String,
    pub headers: Headers,
    pub dialect: Dialect,
    /// The platform's own tools may be offered to it.
    pub tools: bool,
    /// As the backend names it.
    pub model: String,
    /// As the client names it.
    pub model_id: String,
    /// None: unknown.
    pub context_window: Option<u32>,
    /// The health from which it was chosen.
    pub state: State,
}

/// Why there is no target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    UnknownModel,
    /// Milliseconds until a backend is tried again.
    NoBackend(u64),
    /// Words for the operator.
    Misconfigured(String),
}

/// A backend and all that is known of it.
#[derive(Clone, Debug)]
pub struct Known {
    pub backend: Backend,
    pub served: Served,
    pub health: Health,
}

/// A model that a client may name, on one backend.
#[derive(Clone, Copy, Debug)]
struct Offer<'a> {
    /// As the client names it.
    id: &'a str,
    /// As the backend names it.
    name: &'a str,
    /// As the backend lists it, if it does.
    listed: Option<&'a Model>,
}

impl Known {
    fn dialect(&self) -> Dialect {
        self.backend.dialect.unwrap_or(self.served.dialect)
    }

    /// Returns true where all that it serves is known: a backend that never answered may serve anything.
    fn is_complete(&self) -> bool {
        self.served.is_known || self.backend.offered != Offered::All
    }

    fn offers(&self) -> Vec<Offer<'_>> {
        let offer = |id, name| Offer {
            id,
            name,
            listed: self.listed(name),
        };
        // A list that cannot be read, or is empty, says nothing about what is configured.
        let is_silent = self.served.models.is_empty();
        match &self.backend.offered {
            Offered::All => {
                let all = self.served.models.iter().map(|model| Offer {
                    id: &model.id,
                    name: &model.id,
                    listed: Some(model),
                });
                all.collect()
            }
            Offered::Names(names) => names
                .iter()
                .map(|name| offer(name, name))
                .filter(|offer| is_silent || offer.listed.is_some())
                .collect(),
            Offered::Aliases(aliases) => aliases.iter().map(|(id, name)| offer(id, name)).collect(),
        }
    }

    fn offer(&self, id: &str) -> Option<Offer<'_>> {
        self.offers().into_iter().find(|offer| offer.id == id)
    }

    fn listed(&self, name: &str) -> Option<&Model> {
        let is_latest = |id: &str| {
            self.dialect() == Dialect::Ollama && id.strip_suffix(":latest") == Some(name)
        };
        let mut models = self.served.models.iter();
        models.find(|model| model.id == name || is_latest(&model.id))
    }

    fn context_window(&self, offer: &Offer<'_>) -> Option<u32> {
        let listed = || offer.listed?.context_window;
        self.backend.context_window.or_else(listed)
    }
}

/// Every model that a client may name, once, in the order of the backends.
pub fn models(known: &[Known]) -> Result<Vec<Model>, RouteError> {
    let mut models: Vec<Model> = Vec::new();
    for known in known {
        for offer in known.offers() {
            if !models.iter().any(|other| other.id == offer.id) {
                models.push(Model {
                    id: offer.id.to_owned(),
                    created: offer.listed.map_or(0, |listed| listed.created),
                    owned_by: offer
                        .listed
                        .map_or("unknown", |listed| &listed.owned_by)
                        .to_owned(),
                    context_window: known.context_window(&offer),
                    suggestions: offer
                        .listed
                        .map_or_else(Vec::new, |listed| listed.suggestions.clone()),
                });
            }
        }
    }
    if models.is_empty() && !known.iter().any(Known::is_complete) {
        return Err(RouteError::NoBackend(RETRY_MS));
    }
    Ok(models)
}

/// The targets of a request, best first: by health, then by priority; equals take turns by `turn`.
pub fn route(
    config: &Config,
    known: &[Known],
    request: &Request,
    now_ms: u64,
    turn: u64,
) -> Result<Vec<Target>, RouteError> {
    let id = model_id(config, known, request)?;
    let mut targets = Vec::new();
    let mut until_ms = u64::MAX;
    for known in known {
        let Some(offer) = known.offer(&id) else {
            continue;
        };
        match known.health.state(now_ms) {
            State::Open {
                until_ms: open_until_ms,
            } => until_ms = until_ms.min(open_until_ms),
            state => targets.push((known.backend.priority, target(known, &offer, state))),
        }
    }
    if targets.is_empty() {
        return Err(RouteError::NoBackend(
            until_ms.saturating_sub(now_ms).max(1),
        ));
    }
    targets.sort_by_key(|(priority, target)| (target.state, *priority));
    take_turns(&mut targets, turn);
    Ok(targets.into_iter().map(|(_, target)| target).collect())
}

fn target(known: &Known, offer: &Offer<'_>, state: State) -> Target {
    let (backend, dialect) = (&known.backend, known.dialect());
    Target {
        backend: backend.name.clone(),
        base_url: backend.base_url.clone(),
        headers: backend.headers.clone(),
        dialect,
        tools: backend.tools.unwrap_or_else(|| dialect.takes_tools()),
        model: offer.name.to_owned(),
        model_id: offer.id.to_owned(),
        context_window: known.context_window(offer),
        state,
    }
}

/// Rotates the best ones among themselves.
fn take_turns(targets: &mut [(u32, Target)], turn: u64) {
    let Some((priority, best)) = targets.first() else {
        return;
    };
    let (priority, state) = (*priority, best.state);
    let is_equal = |(other, target): &&(u32, Target)| *other == priority && target.state == state;
    let equals = targets.iter().take_while(is_equal).count();
    targets[..equals].rotate_left((turn % equals as u64) as usize);
}

/// The model that is meant, if a backend serves it.
fn model_id(config: &Config, known: &[Known], request: &Request) -> Result<String, RouteError> {
    let serves = |id: &str| known.iter().any(|known| known.offer(id).is_some());
    let is_complete = known.iter().all(Known::is_complete);
    if request.model != AUTO || serves(AUTO) {
        return match (serves(&request.model), is_complete) {
            (true, _) => Ok(request.model.clone()),
            (false, true) => Err(RouteError::UnknownModel),
            (false, false) => Err(RouteError::NoBackend(RETRY_MS)),
        };
    }
    let (variable, configured) =
        match difficulty(request.prompt_chars, &request.query, request.tools) {
            Difficulty::Simple => ("model_simple", &config.model_simple),
            Difficulty::Complex => ("model_complex", &config.model_complex),
        };
    match configured {
        Some(id) if serves(id) => Ok(id.clone()),
        Some(id) if is_complete => Err(RouteError::Misconfigured(format!(
            "variable `{variable}` names the model `{id}`, which no backend serves"
        ))),
        Some(_) => Err(RouteError::NoBackend(RETRY_MS)),
        None => match first_served(known) {
            Some(id) => Ok(id),
            None if is_complete => Err(RouteError::Misconfigured(
                "no backend serves any model".into(),
            )),
            None => Err(RouteError::NoBackend(RETRY_MS)),
        },
    }
}

fn first_served(known: &[Known]) -> Option<String> {
    known
        .iter()
        .find_map(|known| known.offers().first().map(|offer| offer.id.to_owned()))
}
