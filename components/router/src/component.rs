//! The border of the component: generated bindings of `router.wit`, the host's variables, cache,
//! clock and HTTP, and the conversion between types. It decides nothing.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{Either, select};
use http::HeaderValue;
use http_body_util::{BodyExt, Limited};
use spin_sdk::http::{EmptyBody, StatusCode, send};
use spin_sdk::key_value::Store;
use spin_sdk::variables;

use crate::choose::{Request, RouteError};
use crate::config::{Backend, Config, ConfigError, Written};
use crate::dialect::Dialect;
use crate::discovery::{self, Answer};
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
const STORE: &str = "models";
/// A backend that has not told its models by then is away.
const MODELS_TIMEOUT: Duration = Duration::from_millis(2_000);
/// Bytes of a list of models, at most. A broker's of some hundred models, each with its
/// description, is about 1 MB.
const LIST_BYTES_MAX: usize = 4 << 20;

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
                suggestions: model.suggestions,
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
                base_url: target.base_url,
                headers: target.headers.iter().cloned().collect(),
                dialect: dialect(target.dialect),
                tools: target.tools,
                model: target.model,
                model_id: target.model_id,
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

fn dialect(dialect: Dialect) -> wit::Dialect {
    match dialect {
        Dialect::Skerry => wit::Dialect::Skerry,
        Dialect::OpenAi => wit::Dialect::OpenAi,
        Dialect::Vllm => wit::Dialect::Vllm,
        Dialect::Ollama => wit::Dialect::Ollama,
        Dialect::LlamaCpp => wit::Dialect::LlamaCpp,
        Dialect::Mistral => wit::Dialect::Mistral,
        Dialect::Other => wit::Dialect::Other,
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
    let wrong = |error: ConfigError| wit::RouteError::Misconfigured(error.to_string());
    let written = Written::parse(&backends).map_err(wrong)?;
    let mut values = BTreeMap::new();
    for name in written.variables() {
        // A variable that is missing is named by `resolve`.
        match variables::get(name).await {
            Ok(value) => drop(values.insert(name.to_owned(), value)),
            Err(variables::Error::Undefined(_)) => {}
            Err(error) => {
                let words = format!("variable `{name}` cannot be read: {error}");
                return Err(wit::RouteError::Misconfigured(words));
            }
        }
    }
    let config = written.resolve(&values, &simple, &complex).map_err(wrong)?;
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
    async fn models(&self, backend: &Backend) -> Answer {
        let answer = pin!(ask(backend));
        let timeout = pin!(spin_sdk::time::sleep(MODELS_TIMEOUT));
        match select(answer, timeout).await {
            Either::Left((answer, _)) => answer.unwrap_or(Answer::Absent),
            Either::Right(((), _)) => Answer::Absent,
        }
    }

    #[expect(clippy::print_stderr, reason = "a component's stderr is its log")]
    fn tell(&self, line: &str) {
        eprintln!("{line}");
    }
}

/// None if it cannot be reached.
async fn ask(backend: &Backend) -> Option<Answer> {
    let mut request = http::Request::get(format!("{}/models", backend.base_url))
        .header(http::header::ACCEPT, "application/json");
    for (name, value) in backend.headers.iter() {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    let request = request.body(EmptyBody::new()).ok()?;
    let response = send(request).await.ok()?;
    if response.status() != StatusCode::OK {
        return Some(Answer::Status(response.status().as_u16()));
    }
    let body = Limited::new(response.into_body(), LIST_BYTES_MAX);
    let models = match body.collect().await {
        Ok(body) => discovery::parse(&body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => None,
        Err(_) => return None,
    };
    Some(models.map_or(Answer::Unreadable, Answer::Models))
}
