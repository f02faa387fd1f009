//! The application, loaded: composed, compiled, linked, its capabilities opened.
//!
//! It stands between the manifest and the dispatch of requests. An [`App`] is one version,
//! whole and never changed; `resources.rs` has what all versions share. It does NOT know
//! sockets or clients.

pub(crate) mod code;
mod resources;
mod staging;

use crate::capability::files;
use crate::capability::llm::{ComponentLlm, LlmEngine};
use crate::capability::outbound::ComponentOutbound;
use crate::capability::postgres::ComponentPostgres;
use crate::capability::redis::ComponentRedis;
use crate::capability::stdio::{Channel, LogLines};
use crate::capability::variables::Values;
use crate::chain::Link;
use crate::dispatch::answer::Answer;
use crate::dispatch::{Dispatch, Origin, Served};
use crate::instance::{Pools, Recipe};
use crate::lanes::Lanes;
use crate::limits::Limits;
use crate::manifest::allowed_hosts::{AllowedHost, Target};
use crate::manifest::{Component, Manifest};
use crate::metrics::Metrics;
use crate::runtime_config::RuntimeConfig;
use crate::trace::Tracer;
use crate::versions::{Counted, Term};
use crate::{compose, denial};
use edge_bindings::port::{BoxFuture, CallContext};
use edge_bindings::{Grants, State};
use http::{Request, Response};
pub(crate) use resources::Resources;
use staging::Staging;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use wasmtime::Engine;
use wasmtime::component::{InstancePre, Linker};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::{WasiBody, p2, p3};

/// The application variable that is set to the engine's address.
pub(crate) const BACKEND_VARIABLE: &str = "backend_url";
/// The application variable that holds the key for that address.
pub(crate) const BACKEND_KEY_VARIABLE: &str = "backend_api_key";

/// What the operator said, for all versions.
pub(crate) struct Settings {
    pub(crate) state: PathBuf,
    /// Variables from the command line.
    pub(crate) variables: BTreeMap<String, String>,
    /// For every component; they beat its own.
    pub(crate) environment: Vec<(String, String)>,
    /// What components print is not logged.
    pub(crate) quiet: bool,
    pub(crate) limits: Arc<Limits>,
    pub(crate) lanes: Arc<Lanes>,
    /// Where the engine is.
    pub(crate) backend_url: Option<String>,
    /// What the engine that the host started asks for.
    pub(crate) backend_key: Option<String>,
    /// Origins that speak HTTP/2 without TLS.
    pub(crate) multiplexed: Vec<Target>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracer: Option<Arc<Tracer>>,
}

impl Settings {
    /// The folder of files that are copied for components.
    fn staging(&self) -> PathBuf {
        self.state.join("files")
    }
}

/// What a version is made of, as it was read.
pub(crate) struct Release {
    pub(crate) manifest: Manifest,
    pub(crate) runtime_config: RuntimeConfig,
    /// Components that could not be built and may be missing.
    pub(crate) missing: BTreeSet<String>,
}

impl Release {
    /// Does the application, which has the address of the engine, have its key too?
    pub(crate) fn takes_engine_key(&self) -> bool {
        let variables = &self.manifest.variables;
        !variables.contains_key(BACKEND_VARIABLE) || variables.contains_key(BACKEND_KEY_VARIABLE)
    }

    /// Is there anybody who asks the engine that the host starts?
    pub(crate) fn asks_engine(&self, settings: &Settings) -> bool {
        let manifest = &self.manifest;
        let wants_url = manifest.variables.contains_key(BACKEND_VARIABLE)
            && !settings.variables.contains_key(BACKEND_VARIABLE);
        wants_url || (self.runtime_config.llm.is_none() && manifest.uses_models())
    }
}

/// One version of the application. What it serves goes before the files that it serves.
pub(crate) struct App {
    dispatch: Dispatch,
    pub(crate) term: Arc<Term>,
    _staging: Arc<Staging>,
    _counted: Counted,
}

/// Why an application does not load: which component, and what is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("component {component:?}: {reason}")]
    Component { component: String, reason: String },
    #[error("{0}")]
    Application(String),
    /// What belongs to the process would have to change.
    #[error("a change of {0} needs a restart")]
    Restart(String),
}

impl App {
    /// Loads a version. It blocks, also for as long as compiling takes.
    pub(crate) fn load(
        resources: &Arc<Resources>,
        release: &Release,
    ) -> Result<Arc<Self>, LoadError> {
        let application = LoadError::Application;
        let (manifest, settings) = (&release.manifest, &resources.settings);
        let mut given = settings.variables.clone();
        for (variable, value) in [
            (BACKEND_VARIABLE, &settings.backend_url),
            (BACKEND_KEY_VARIABLE, &settings.backend_key),
        ] {
            if let (Some(value), true) = (value, manifest.variables.contains_key(variable)) {
                let entry = given.entry(variable.to_owned());
                entry.or_insert_with(|| value.clone());
            }
        }
        let providers = &release.runtime_config.variable_providers;
        let values = Values::resolve(manifest, &given, providers).map_err(application)?;
        resources.open(release)?;
        let key = settings.backend_key.as_deref();
        let key = key.or_else(|| values.get(BACKEND_KEY_VARIABLE));
        let key = key.unwrap_or_default().trim();
        let own_engine = settings.backend_url.as_deref();
        let own_engine = own_engine.map(|url| LlmEngine::own(url, key)).transpose();
        let own_engine = own_engine.map_err(|what| {
            LoadError::Application(format!("variable {BACKEND_KEY_VARIABLE:?}: {what}"))
        })?;
        let loader = Loader {
            resources,
            release,
            settings,
            staging: Arc::new(Staging::new(&settings.staging()).map_err(application)?),
            llm: release.runtime_config.llm.clone().or(own_engine),
            link: Arc::default(),
            term: Arc::default(),
            values,
        };
        let mut components = BTreeMap::new();
        for id in manifest.served() {
            components.insert(id.to_owned(), loader.serve(&manifest.components[id])?);
        }
        let routes = manifest
            .routes
            .iter()
            .filter_map(|route| Some((route.pattern.clone()?, route.answer.clone())))
            .collect();
        let places = resources.places.clone();
        let metrics = &settings.metrics;
        let tracer = settings.tracer.clone();
        let app = Arc::new(Self {
            dispatch: Dispatch::new(
                routes,
                components,
                places,
                Arc::clone(&settings.lanes),
                Arc::clone(metrics),
                tracer,
            ),
            term: loader.term,
            _staging: loader.staging,
            _counted: Counted::new(metrics),
        });
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

    /// Is there a component of this name?
    pub(crate) fn has(&self, id: &str) -> bool {
        self.dispatch.has(id)
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
    resources: &'a Resources,
    release: &'a Release,
    settings: &'a Settings,
    staging: Arc<Staging>,
    llm: Option<LlmEngine>,
    link: Arc<Link>,
    term: Arc<Term>,
    values: Values,
}

impl Loader<'_> {
    fn serve(&self, component: &Component) -> Result<Served, LoadError> {
        let built = component.copy_of.as_ref().unwrap_or(&component.id);
        if self.release.missing.contains(built) {
            return Ok(Served::Unavailable);
        }
        let recipe = self
            .recipe(component)
            .map_err(|reason| LoadError::Component {
                component: component.id.clone(),
                reason,
            })?;
        Ok(Served::Ready(Pools::new(recipe, &self.settings.lanes)))
    }

    fn recipe(&self, component: &Component) -> Result<Recipe, String> {
        let resources = self.resources;
        let (engine, linker) = (&resources.engine, &resources.linker);
        let pre = prepare(engine, linker, component, &self.settings.state)?;
        let folder = &self.release.manifest.folder;
        let mounts = files::mounts(component, folder, self.staging.path())?;
        let variables = self.values.of_component(component)?;
        let hosts = self.allowed_hosts(component)?;
        let redis = ComponentRedis {
            component: component.id.clone(),
            hosts: hosts.clone(),
            places: Arc::clone(&resources.redis_places),
            metrics: Arc::clone(&self.settings.metrics),
        };
        let postgres = ComponentPostgres {
            component: component.id.clone(),
            hosts: hosts.clone(),
            pools: Arc::clone(&resources.postgres_pools),
            metrics: Arc::clone(&self.settings.metrics),
        };
        let llm = ComponentLlm {
            component: component.id.clone(),
            models: component.ai_models.clone(),
            engine: self.llm.clone(),
            clients: Arc::clone(&resources.clients),
        };
        let grants = Grants {
            llm: Arc::new(llm),
            postgres: Arc::new(postgres),
            redis: Arc::new(redis),
            key_value: resources.key_value.granted(&component.key_value_stores),
            sqlite: resources.sqlite.granted(&component.sqlite_databases),
            variables: Arc::new(variables),
        };
        let outbound = ComponentOutbound {
            component: component.id.clone(),
            hosts,
            clients: Arc::clone(&resources.clients),
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
            engine: engine.clone(),
            link: Arc::clone(&self.link),
            term: Arc::clone(&self.term),
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
            habits: Arc::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_grants_its_origin() {
        for (url, origin) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("https://api.groq.com/openai/v1", "https://api.groq.com"),
            ("http://[::1]:8000/v1/", "http://[::1]:8000"),
        ] {
            assert_eq!(origin_of(url), origin, "{url}");
            assert!(AllowedHost::parse(&origin_of(url)).is_ok(), "{url}");
        }
    }
}
