//! The order of the targets.
//!
//! `router` gives it everything that is known: configuration, models, health and the instant. It
//! decides and does nothing.

use crate::config::{Backend, Config};
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
    pub url: String,
    /// As the backend and the client name it.
    pub model: String,
    pub context_window: u32,
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

impl Known {
    fn offers(&self) -> impl Iterator<Item = &Model> {
        self.served
            .models
            .iter()
            .filter(|model| match &self.backend.models {
                Some(allowed) => allowed.contains(&model.id),
                None => true,
            })
    }
}

/// Every model that a client may name, once, in the order of the backends.
pub fn models(known: &[Known]) -> Result<Vec<Model>, RouteError> {
    let mut models: Vec<Model> = Vec::new();
    for model in known.iter().flat_map(Known::offers) {
        if !models.iter().any(|other| other.id == model.id) {
            models.push(model.clone());
        }
    }
    if models.is_empty() && !known.iter().any(|known| known.served.is_known) {
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
        let Some(model) = known.offers().find(|model| model.id == id) else {
            continue;
        };
        match known.health.state(now_ms) {
            State::Open {
                until_ms: open_until_ms,
            } => until_ms = until_ms.min(open_until_ms),
            state => targets.push((known.backend.priority, target(known, model, state))),
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

fn target(known: &Known, model: &Model, state: State) -> Target {
    Target {
        backend: known.backend.name.clone(),
        url: known.backend.url.clone(),
        model: model.id.clone(),
        context_window: model.context_window,
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
    let serves = |id: &str| {
        known
            .iter()
            .flat_map(Known::offers)
            .any(|model| model.id == id)
    };
    // A backend that never answered may serve anything.
    let is_complete = known.iter().all(|known| known.served.is_known);
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
        .find_map(|known| known.offers().next().map(|model| model.id.clone()))
}
