//! The border of the component: generated bindings of `router.wit`, the host's variables, cache,
//! clock and HTTP, and the conversion between types. It decides nothing.

use std::cell::OnceCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{Either, select};
use http_body_util::{BodyExt, Limited};
use spin_sdk::http::{EmptyBody, StatusCode, send};
use spin_sdk::key_value::Store;
use spin_sdk::variables;

use crate::choose::{Request, RouteError};
use crate::config::Config;
use crate::discovery::{self, Model};
use crate::health::Outcome;
use crate::router::{Backends, Cache, Router};

mod bindings {
    spin_sdk::wit_bindgen::generate!({
        world: "router-component",
        path: "../../wit",
        runtime_path: "spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

use bindings::exports::skerry::chat::router as wit;

/// The key-value store that the manifest grants.
const STORE: &str = "cache";
/// A backend that has not told its models by then is away.
const MODELS_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Bytes of a list of models, at most.
const LIST_BYTES_MAX: usize = 1 << 20;

struct Component;

bindings::export!(Component with_types_in bindings);

impl wit::Guest for Component {
    async fn models() -> Result<Vec<wit::Model>, wit::RouteError> {
        let models = router().await?.models().await.map_err(route_error)?;
        Ok(models
            .into_iter()
            .map(|model| wit::Model {
                id: model.id,
                context_window: model.context_window,
                created: model.created,
                owned_by: model.owned_by,
            })
            .collect())
    }

    async fn route(request: wit::RouteRequest) -> Result<Vec<wit::Target>, wit::RouteError> {
        let router = router().await?;
        let request = Request {
            model: request.model,
            prompt_chars: request.prompt_chars,
            query: request.query,
            tools: request.tools,
        };
        // Milliseconds are turn enough: requests do not keep step with them.
        let targets = router
            .route(&request, router.now_ms)
            .await
            .map_err(route_error)?;
        Ok(targets
            .into_iter()
            .map(|target| wit::Target {
                backend: target.backend,
                url: target.url,
                model: target.model.clone(),
                model_id: target.model,
                context_window: target.context_window,
            })
            .collect())
    }

    async fn report(backend: String, outcome: wit::Outcome) {
        let outcome = match outcome {
            wit::Outcome::Answered(ms) => Outcome::Answered(ms),
            wit::Outcome::Failed => Outcome::Failed,
            wit::Outcome::Busy(ms) => Outcome::Busy(ms),
        };
        // What is misconfigured is told by `route`.
        if let Ok(router) = router().await {
            router.report(&backend, outcome).await;
        }
    }
}

thread_local! {
    /// What the variables say, before the life of this instance, and the opened store.
    static SETTINGS: OnceCell<(Rc<Config>, HostCache)> = const { OnceCell::new() };
}

async fn settings() -> Result<(Rc<Config>, HostCache), wit::RouteError> {
    if let Some(settings) = SETTINGS.with(|known| known.get().cloned()) {
        return Ok(settings);
    }
    let variable = |name: &'static str| async move {
        let value = variables::get(name).await;
        value.map_err(|error| {
            wit::RouteError::Misconfigured(format!("variable `{name}` cannot be read: {error}"))
        })
    };
    let backends = variable("backends").await?;
    let simple = variable("model_simple").await?;
    let complex = variable("model_complex").await?;
    let config = Config::parse(&backends, &simple, &complex)
        .map_err(|error| wit::RouteError::Misconfigured(error.to_string()))?;
    let cache = HostCache(Store::open(STORE).await.ok().map(Rc::new));
    let settings = (Rc::new(config), cache);
    // A store that did not open is tried again.
    if settings.1.0.is_none() {
        return Ok(settings);
    }
    Ok(SETTINGS.with(|known| known.get_or_init(|| settings).clone()))
}

async fn router() -> Result<Router<HostCache, HostBackends>, wit::RouteError> {
    let (config, cache) = settings().await?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    Ok(Router {
        config,
        cache,
        backends: HostBackends,
        now_ms,
    })
}

fn route_error(error: RouteError) -> wit::RouteError {
    match error {
        RouteError::UnknownModel => wit::RouteError::UnknownModel,
        RouteError::NoBackend(ms) => wit::RouteError::NoBackend(ms),
        RouteError::Misconfigured(words) => wit::RouteError::Misconfigured(words),
    }
}

/// None where the store could not be opened: an empty cache.
#[derive(Clone)]
struct HostCache(Option<Rc<Store>>);

impl Cache for HostCache {
    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.0.as_ref()?.get(key).await.ok()?
    }

    async fn set(&self, key: &str, value: Vec<u8>) {
        if let Some(store) = &self.0 {
            // A cache that forgets at once is still a cache.
            drop(store.set(key, value).await);
        }
    }
}

struct HostBackends;

impl Backends for HostBackends {
    async fn models(&self, url: &str) -> Option<Vec<Model>> {
        let answer = pin!(ask(url));
        let timeout = pin!(spin_sdk::time::sleep(MODELS_TIMEOUT));
        match select(answer, timeout).await {
            Either::Left((models, _)) => models,
            Either::Right(((), _)) => None,
        }
    }
}

async fn ask(url: &str) -> Option<Vec<Model>> {
    let request = http::Request::get(format!("{url}/v1/models"))
        .body(EmptyBody::new())
        .ok()?;
    let response = send(request).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    let body = Limited::new(response.into_body(), LIST_BYTES_MAX)
        .collect()
        .await
        .ok()?;
    discovery::parse(&body.to_bytes())
}
