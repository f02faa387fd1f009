//! The application, loaded: composed, compiled, linked, its capabilities opened.
//!
//! It stands between the manifest and the dispatch of requests. Loading happens before a
//! port is bound; nothing is compiled later. It does NOT know sockets or clients.

pub(crate) mod code;

use crate::capability::files;
use crate::capability::key_value::Providers;
use crate::capability::llm::{ComponentLlm, LlmEngine};
use crate::capability::outbound::{Clients, ComponentOutbound, PER_REQUEST_MAX};
use crate::capability::postgres::{self, ComponentPostgres};
use crate::capability::redis::{self, ComponentRedis};
use crate::capability::sqlite::Databases;
use crate::capability::stdio::{Channel, LogLines};
use crate::capability::variables::Values;
use crate::chain::Link;
use crate::dispatch::answer::Answer;
use crate::dispatch::{Dispatch, Origin, Served};
use crate::instance::{Pool, Recipe};
use crate::limits::Limits;
use crate::manifest::allowed_hosts::{AllowedHost, Target};
use crate::manifest::{Component, Manifest};
use crate::metrics::Metrics;
use crate::runtime_config::RuntimeConfig;
use crate::trace::Tracer;
use crate::turns::Turns;
use crate::{compose, denial};
use edge_bindings::port::{BoxFuture, CallContext};
use edge_bindings::{Grants, State};
use http::{Request, Response};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{InstancePre, Linker};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::handler::{ProxyHandler, ProxyPre};
use wasmtime_wasi_http::{WasiBody, p2, p3};

/// What loading needs besides the manifest.
pub(crate) struct Settings {
    pub(crate) state: PathBuf,
    pub(crate) runtime_config: RuntimeConfig,
    pub(crate) variables: BTreeMap<String, String>,
    /// For every component; they beat its own.
    pub(crate) environment: Vec<(String, String)>,
    /// What components print is not logged.
    pub(crate) quiet: bool,
    pub(crate) limits: Arc<Limits>,
    pub(crate) turns: Arc<Turns>,
    /// Where models are asked.
    pub(crate) llm: Option<LlmEngine>,
    /// Origins that speak HTTP/2 without TLS.
    pub(crate) multiplexed: Vec<Target>,
    /// Components that could not be built and may be missing.
    pub(crate) missing: BTreeSet<String>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracer: Option<Arc<Tracer>>,
}

/// The application.
pub(crate) struct App {
    dispatch: Dispatch,
}

/// Why an application does not load: which component, and what is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("component {component:?}: {reason}")]
    Component { component: String, reason: String },
    #[error("{0}")]
    Application(String),
}

impl App {
    /// Loads `manifest`.
    pub(crate) fn load(
        engine: &Engine,
        manifest: &Manifest,
        settings: &Settings,
    ) -> Result<Arc<Self>, LoadError> {
        let application = LoadError::Application;
        let metrics = &settings.metrics;
        let providers = &settings.runtime_config.variable_providers;
        let values =
            Values::resolve(manifest, &settings.variables, providers).map_err(application)?;
        let served = manifest.served();
        let labels = |of: fn(&Component) -> &BTreeSet<String>| -> BTreeSet<String> {
            served
                .iter()
                .flat_map(|id| of(&manifest.components[*id]).iter().cloned())
                .collect()
        };
        let config = &settings.runtime_config;
        let loader = Loader {
            linker: edge_bindings::linker(engine).map_err(|e| application(e.to_string()))?,
            key_value: Providers::open(config, &labels(|c| &c.key_value_stores), metrics)
                .map_err(application)?,
            sqlite: Databases::open(config, &labels(|c| &c.sqlite_databases), metrics)
                .map_err(application)?,
            clients: Arc::new(
                Clients::new(
                    metrics,
                    settings.limits.requests_max.saturating_mul(PER_REQUEST_MAX),
                    &settings.multiplexed,
                    &config.client_tls,
                    settings.tracer.clone(),
                )
                .map_err(application)?,
            ),
            postgres_pools: Arc::new(postgres::Pools::new()),
            redis_places: redis::places(),
            link: Arc::default(),
            values,
            engine,
            manifest,
            settings,
        };
        let mut components = BTreeMap::new();
        for id in served {
            components.insert(id.to_owned(), loader.serve(&manifest.components[id])?);
        }
        let routes = manifest
            .routes
            .iter()
            .filter_map(|route| Some((route.pattern.clone()?, route.answer.clone())))
            .collect();
        let dispatch = Dispatch::new(
            routes,
            components,
            settings.limits.requests_max,
            Arc::clone(metrics),
            settings.tracer.clone(),
        );
        let app = Arc::new(Self { dispatch });
        loader.link.tie(&app);
        Ok(app)
    }

    /// Answers a client's request.
    pub(crate) async fn call_outside(
        &self,
        request: Request<WasiBody>,
        origin: Origin,
        context: CallContext,
    ) -> Response<Answer> {
        self.dispatch.answer_client(request, origin, context).await
    }

    /// Who makes the spans of traces, if there are any.
    pub(crate) fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.dispatch.tracer.as_ref()
    }

    /// Answers a request from within. Boxed, since components call each other.
    pub(crate) fn call_inside(
        self: &Arc<Self>,
        id: Option<&str>,
        request: Request<WasiBody>,
        origin: Origin,
        context: CallContext,
    ) -> BoxFuture<Response<Answer>> {
        let app = Arc::clone(self);
        let id = id.map(str::to_owned);
        Box::pin(async move {
            app.dispatch
                .answer_inside(id.as_deref(), request, origin, context)
                .await
        })
    }
}

struct Loader<'a> {
    engine: &'a Engine,
    manifest: &'a Manifest,
    settings: &'a Settings,
    linker: Linker<State>,
    key_value: Providers,
    sqlite: Databases,
    clients: Arc<Clients>,
    postgres_pools: Arc<postgres::Pools>,
    redis_places: Arc<Semaphore>,
    link: Arc<Link>,
    values: Values,
}

impl Loader<'_> {
    fn serve(&self, component: &Component) -> Result<Served, LoadError> {
        let built = component.copy_of.as_ref().unwrap_or(&component.id);
        if self.settings.missing.contains(built) {
            return Ok(Served::Unavailable);
        }
        let recipe = self
            .recipe(component)
            .map_err(|reason| LoadError::Component {
                component: component.id.clone(),
                reason,
            })?;
        Ok(Served::Ready(ProxyHandler::new(Pool(Arc::new(recipe)))))
    }

    fn recipe(&self, component: &Component) -> Result<Recipe, String> {
        let pre = prepare(self.engine, &self.linker, component, &self.settings.state)?;
        let staging = self.settings.state.join("files");
        let mounts = files::mounts(component, &self.manifest.folder, &staging)?;
        let variables = self.values.of_component(component)?;
        let hosts = self.allowed_hosts(component)?;
        let redis = ComponentRedis {
            component: component.id.clone(),
            hosts: hosts.clone(),
            places: Arc::clone(&self.redis_places),
            metrics: Arc::clone(&self.settings.metrics),
        };
        let postgres = ComponentPostgres {
            component: component.id.clone(),
            hosts: hosts.clone(),
            pools: Arc::clone(&self.postgres_pools),
            metrics: Arc::clone(&self.settings.metrics),
        };
        let llm = ComponentLlm {
            component: component.id.clone(),
            models: component.ai_models.clone(),
            engine: self.settings.llm.clone(),
            clients: Arc::clone(&self.clients),
        };
        let grants = Grants {
            llm: Arc::new(llm),
            postgres: Arc::new(postgres),
            redis: Arc::new(redis),
            key_value: self.key_value.granted(&component.key_value_stores),
            sqlite: self.sqlite.granted(&component.sqlite_databases),
            variables: Arc::new(variables),
        };
        let outbound = ComponentOutbound {
            component: component.id.clone(),
            hosts,
            clients: Arc::clone(&self.clients),
            link: Arc::clone(&self.link),
        };
        let mut environment: BTreeMap<_, _> = component.environment.iter().cloned().collect();
        environment.extend(self.settings.environment.iter().cloned());
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        let quiet = self.settings.quiet;
        let output = LogLines::new(&component.id, Channel::Output);
        let error = LogLines::new(&component.id, Channel::Error);
        Ok(Recipe {
            component: component.id.clone(),
            pre,
            engine: self.engine.clone(),
            wasi: Box::new(move || {
                let mut builder = WasiCtxBuilder::new();
                builder.envs(&environment);
                if !quiet {
                    builder.stdout(output.clone()).stderr(error.clone());
                }
                files::preopen(&mut builder, &mounts)?;
                Ok(builder.build())
            }),
            grants: Arc::new(grants),
            outbound: Arc::new(outbound),
            limits: Arc::clone(&self.settings.limits),
            line: self.settings.turns.line(),
            figures: self.settings.metrics.component(&component.id),
        })
    }

    fn allowed_hosts(&self, component: &Component) -> Result<Vec<AllowedHost>, String> {
        let mut hosts = Vec::new();
        for template in &component.allowed_outbound_hosts {
            let text = self.values.fill(template)?;
            // An optional endpoint is a variable that is empty, as under Spin.
            if text.is_empty() || text == "http://" || text == "https://" {
                continue;
            }
            // A variable may hold a base URL; only its origin is granted.
            let is_template = template.variables().next().is_some();
            let origin = if is_template { origin_of(&text) } else { text };
            hosts.push(
                AllowedHost::parse(&origin).map_err(|e| format!("allowed_outbound_hosts: {e}"))?,
            );
        }
        Ok(hosts)
    }
}

/// `http://host:1/path` without its path.
fn origin_of(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split('/').next().unwrap_or(rest);
            format!("{scheme}://{host}")
        }
        None => text.to_owned(),
    }
}

/// Composes, compiles (or loads machine code) and links one component.
pub(crate) fn prepare(
    engine: &Engine,
    linker: &Linker<State>,
    component: &Component,
    state: &std::path::Path,
) -> Result<ProxyPre<State>, String> {
    let wasm = compose::compose(component).map_err(|error| error.to_string())?;
    let compiled = code::compile(engine, &wasm, &state.join("cache"), &component.id)?;
    let mut linker = linker.clone();
    let instance = denial::link(&mut linker, &compiled)
        .and_then(|()| linker.instantiate_pre(&compiled))
        .map_err(|error| {
            unserved_imports(engine, &compiled)
                .unwrap_or_else(|| format!("an import is not served: {error:#}"))
        })?;
    proxy(instance)
}

/// Names all that is imported and not served, so that nobody finds one after the other.
/// It is asked once linking has failed: an import of nothing but types needs nobody.
fn unserved_imports(engine: &Engine, compiled: &wasmtime::component::Component) -> Option<String> {
    let ty = compiled.component_type();
    let mut unserved: Vec<&str> = ty
        .imports(engine)
        .map(|(name, _)| name)
        .filter(|name| !denial::is_denied(name) && !denial::is_unserved(name))
        .filter(|name| !edge_bindings::serves(name))
        .collect();
    unserved.sort_unstable();
    let names = unserved.join(", ");
    (!unserved.is_empty()).then(|| format!("imports {names}, which this host does not serve"))
}

fn proxy(instance: InstancePre<State>) -> Result<ProxyPre<State>, String> {
    let p3_error = match p3::bindings::ServicePre::new(instance.clone()) {
        Ok(pre) => return Ok(ProxyPre::P3(pre)),
        Err(error) => error,
    };
    match p2::bindings::ProxyPre::new(instance) {
        Ok(pre) => Ok(ProxyPre::P2(pre)),
        Err(p2_error) => Err(format!(
            "exports neither wasi:http/handler@0.3.0 ({p3_error:#}) nor \
             wasi:http/incoming-handler@0.2 ({p2_error:#})"
        )),
    }
}
