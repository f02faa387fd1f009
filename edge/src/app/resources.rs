//! What belongs to the process and outlives every version of the application: the engine,
//! open stores and databases, connections, places.
//!
//! It grows with what versions ask for and never shrinks. It does NOT know components.

use super::{LoadError, Release, Settings};
use crate::capability::key_value::Providers;
use crate::capability::outbound::{Clients, PER_REQUEST_MAX};
use crate::capability::postgres;
use crate::capability::redis;
use crate::capability::sqlite::Databases;
use crate::dispatch::Places;
use crate::manifest::Component;
use crate::runtime_config::client_tls::ClientTls;
use edge_bindings::State;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Linker;

pub(crate) struct Resources {
    pub(crate) settings: Settings,
    pub(crate) engine: Engine,
    pub(super) linker: Linker<State>,
    pub(super) places: Places,
    pub(super) key_value: Providers,
    pub(super) sqlite: Databases,
    pub(super) clients: Arc<Clients>,
    pub(super) postgres_pools: Arc<postgres::Pools>,
    pub(super) redis_places: Arc<Semaphore>,
    client_tls: Vec<ClientTls>,
}

impl Resources {
    /// `client_tls`: with which certificates connections are made, from now on.
    pub(crate) fn new(
        engine: &Engine,
        settings: Settings,
        client_tls: &[ClientTls],
    ) -> Result<Arc<Self>, LoadError> {
        let application = LoadError::Application;
        let metrics = &settings.metrics;
        let requests_max = settings.limits.requests_max;
        let clients = Clients::new(
            metrics,
            requests_max.saturating_mul(PER_REQUEST_MAX),
            &settings.multiplexed,
            client_tls,
            settings.tracer.clone(),
        );
        // What versions copied for their components, and a crash left.
        let _ = std::fs::remove_dir_all(settings.staging());
        Ok(Arc::new(Self {
            engine: engine.clone(),
            linker: edge_bindings::linker(engine).map_err(|e| application(e.to_string()))?,
            places: Places::new(requests_max),
            key_value: Providers::new(metrics),
            sqlite: Databases::new(metrics),
            clients: Arc::new(clients.map_err(application)?),
            postgres_pools: Arc::new(postgres::Pools::new()),
            redis_places: redis::places(),
            client_tls: client_tls.to_vec(),
            settings,
        }))
    }

    /// Opens what `release` uses and nothing has used before it.
    pub(super) fn open(&self, release: &Release) -> Result<(), LoadError> {
        let served = release.manifest.served();
        let labels = |of: fn(&Component) -> &BTreeSet<String>| -> BTreeSet<String> {
            let components = served.iter().map(|id| &release.manifest.components[*id]);
            components.flat_map(|c| of(c).iter().cloned()).collect()
        };
        let (stores, databases) = (
            labels(|c| &c.key_value_stores),
            labels(|c| &c.sqlite_databases),
        );
        let config = &release.runtime_config;
        let changed = if config.client_tls == self.client_tls {
            let store = self.key_value.changed(config, &stores);
            store.or_else(|| self.sqlite.changed(config, &databases))
        } else {
            Some("[[client_tls]]".to_owned())
        };
        if let Some(what) = changed {
            return Err(LoadError::Restart(format!("{what} of the runtime config")));
        }
        self.key_value
            .open(config, &stores)
            .and_then(|()| self.sqlite.open(config, &databases))
            .map_err(LoadError::Application)
    }
}
