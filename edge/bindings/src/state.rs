//! What a store holds for one instance of a component: its resources, its WASI context
//! and the capabilities that it was granted.
//!
//! It does NOT decide anything: a capability that is absent or refuses does so in its port.

use crate::port::{
    CallContext, KeyValue, KeyValueStores, LanguageModels, Outbound, PostgresConnection,
    PostgresServers, RedisConnection, RedisServers, SqliteConnection, SqliteDatabases, Variables,
};
use crate::progress::Progress;
use std::sync::{Arc, Weak};
use wasmtime::ResourceLimiterAsync;
use wasmtime::component::{GuestTaskId, HasData, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

/// The capabilities of one component; shared by all of its instances.
pub struct Grants {
    /// Key-value stores.
    pub key_value: Arc<dyn KeyValueStores>,
    /// Language models.
    pub llm: Arc<dyn LanguageModels>,
    /// PostgreSQL servers.
    pub postgres: Arc<dyn PostgresServers>,
    /// Redis servers.
    pub redis: Arc<dyn RedisServers>,
    /// SQLite databases.
    pub sqlite: Arc<dyn SqliteDatabases>,
    /// Variables.
    pub variables: Arc<dyn Variables>,
}

/// What a [`State`] is made of.
pub struct StateParts {
    /// Environment, files, clocks, standard output.
    pub wasi: WasiCtx,
    /// Key-value, language models, PostgreSQL, Redis, SQLite, variables.
    pub grants: Arc<Grants>,
    /// Outbound HTTP of this instance.
    pub outbound: Arc<dyn Outbound>,
    /// Who is asked before a memory or a table grows.
    pub limits: Box<dyn ResourceLimiterAsync + Send + Sync>,
    /// Where progress is noted.
    pub progress: Arc<Progress>,
    /// The most resources (handles) that the instance may hold at once.
    pub resources_max: usize,
    /// The most memory that the header fields of one message may take.
    pub field_bytes_max: usize,
}

/// The data of a store.
pub struct State {
    pub(crate) table: ResourceTable,
    pub(crate) grants: Arc<Grants>,
    pub(crate) progress: Arc<Progress>,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    limits: Box<dyn ResourceLimiterAsync + Send + Sync>,
    /// Requests in this instance, by the task that serves each. Entries whose request is
    /// over are swept out when the next one comes, so there are never many.
    calls: Vec<(GuestTaskId, Weak<CallContext>)>,
}

impl State {
    /// Makes the state of a fresh instance.
    pub fn new(parts: StateParts) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(parts.resources_max);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(parts.field_bytes_max);
        Self {
            table,
            grants: parts.grants,
            progress: Arc::clone(&parts.progress),
            wasi: parts.wasi,
            http,
            hooks: Hooks {
                outbound: parts.outbound,
                progress: parts.progress,
                context: None,
            },
            limits: parts.limits,
            calls: Vec::new(),
        }
    }

    /// Notes that `task` serves the request of `context` from now on.
    pub fn call_started(&mut self, task: GuestTaskId, context: &Arc<CallContext>) {
        self.calls.retain(|(_, context)| context.strong_count() > 0);
        self.calls.push((task, Arc::downgrade(context)));
        self.progress.made();
    }

    /// Sets the context of the next outbound request: that of the youngest of `tasks`
    /// which serves a request.
    pub(crate) fn call_out(&mut self, tasks: &[GuestTaskId]) {
        self.hooks.context = tasks.iter().find_map(|task| {
            self.calls
                .iter()
                .find(|(id, _)| id == task)
                .and_then(|(_, context)| context.upgrade())
        });
    }

    /// The limiter that the store asks before memory or a table grows.
    pub fn limits(&mut self) -> &mut dyn ResourceLimiterAsync {
        &mut *self.limits
    }

    /// Where progress of this instance is noted.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

struct Hooks {
    outbound: Arc<dyn Outbound>,
    progress: Arc<Progress>,
    context: Option<Arc<CallContext>>,
}

type SendResult = Result<
    (
        http::Response<WasiBody>,
        Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ),
    HttpError,
>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        fut: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = SendResult> + Send> {
        // The host learns of a broken answer by its body; the component's verdict on it
        // is of no further use here.
        drop(fut);
        let sent = self.outbound.send(request, options, self.context.take());
        let progress = Arc::clone(&self.progress);
        Box::new(async move {
            let response = sent.await;
            progress.made();
            let done: Box<dyn Future<Output = Result<(), HttpError>> + Send> =
                Box::new(std::future::ready(Ok(())));
            Ok((response?, done))
        })
    }
}

/// A key-value store that a component has opened.
#[expect(unreachable_pub, reason = "named by generated public traits")]
pub struct OpenStore(pub(crate) Arc<dyn KeyValue>);

/// A SQLite connection that a component has opened.
#[expect(unreachable_pub, reason = "named by generated public traits")]
pub struct OpenDatabase(pub(crate) Arc<dyn SqliteConnection>);

/// A connection to a Redis server that a component has opened.
#[expect(unreachable_pub, reason = "named by generated public traits")]
pub struct OpenRedis(pub(crate) Arc<dyn RedisConnection>);

/// A connection to a PostgreSQL server that a component has opened.
#[expect(unreachable_pub, reason = "named by generated public traits")]
pub struct OpenPostgres(pub(crate) Arc<dyn PostgresConnection>);

/// A connection to a PostgreSQL server that a component is about to open.
#[expect(unreachable_pub, reason = "named by generated public traits")]
pub struct PostgresBuilder {
    pub(crate) address: String,
    /// A certificate in PEM that is trusted besides the system's.
    pub(crate) ca_root: Option<String>,
}

/// A value read for a later compare-and-swap.
#[expect(unreachable_pub, reason = "named by generated public traits")]
pub struct CompareAndSwap {
    pub(crate) store: Arc<dyn KeyValue>,
    pub(crate) key: String,
    pub(crate) current: Option<Vec<u8>>,
}

/// Names [`State`] as what the generated bindings work on.
pub(crate) struct Capabilities;

impl HasData for Capabilities {
    type Data<'a> = &'a mut State;
}
