//! The instances of one component: how one is made, when it takes another request, and
//! when it is given up.
//!
//! A request goes in, a response whose body streams comes out. Many requests share an
//! instance; a trap or a spent CPU budget ends all of them. So requests with a large body,
//! which is what can fill an instance's memory, have instances apart from the others'. It does
//! NOT know routes, clients or how a capability works.

mod limits;

use crate::app::App;
use crate::chain::Link;
use crate::engine;
use crate::habits::Habits;
use crate::lanes::{Lane, Lanes};
use crate::limits::Limits;
use crate::metrics::{ComponentFigures, TrapKind};
use crate::thread_time;
use crate::trace::Span;
use crate::turns::{self, Line, Turn};
use crate::versions::Term;
use edge_bindings::port::{CallContext, Outbound};
use edge_bindings::{Grants, Progress, State, StateParts};
use http::{Request, header};
use limits::InstanceLimits;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, ProxyHandler, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState,
    WorkerStatus,
};

/// Raised in a component whose CPU budget is spent.
#[derive(Debug, thiserror::Error)]
#[error("the component was busy for {0} ms without progress")]
pub(crate) struct BudgetSpent(u128);

/// One request's stay in an instance. While it lives, the instance counts the request.
pub(crate) struct Ticket {
    pub(crate) context: Arc<CallContext>,
    worker: OnceLock<Arc<Load>>,
    /// Of the component's part in the trace.
    pub(crate) span: Option<Span>,
}

impl Ticket {
    pub(crate) fn new(context: CallContext, span: Option<Span>) -> Arc<Self> {
        Arc::new(Self {
            context: Arc::new(context),
            worker: OnceLock::new(),
            span,
        })
    }

    /// Did the instance fail while it served the request?
    pub(crate) fn instance_failed(&self) -> bool {
        self.worker
            .get()
            .is_some_and(|load| load.failed.load(Relaxed))
    }

    /// A chunk of the answer went out.
    pub(crate) fn progressed(&self) {
        if let Some(load) = self.worker.get() {
            load.progress.made();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(load) = self.worker.get()
            && load.open.fetch_sub(1, Relaxed) == 1
        {
            *load.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}

/// What an instance has to do at the moment.
#[derive(Debug)]
struct Load {
    open: AtomicUsize,
    /// When the last of them went, or the instance was made.
    since: Mutex<Instant>,
    progress: Arc<Progress>,
    turn: Arc<Turn>,
    habits: Arc<Habits>,
    /// Set before the instance's streams end because it trapped.
    failed: AtomicBool,
    /// A request was taken since the handler last went to rest: then it is polled once more.
    accepted: AtomicBool,
    figures: Arc<ComponentFigures>,
}

impl Load {
    /// Since when nobody waits for the instance; now, if somebody does.
    fn deserted_since(&self) -> Instant {
        match self.open.load(Relaxed) {
            0 => *self.since.lock().unwrap_or_else(PoisonError::into_inner),
            _ => Instant::now(),
        }
    }
}

/// How instances of one component are made.
pub(crate) struct Recipe {
    pub(crate) component: String,
    pub(crate) pre: ProxyPre<State>,
    pub(crate) engine: wasmtime::Engine,
    /// Leads to the version that it is part of.
    pub(crate) link: Arc<Link>,
    pub(crate) term: Arc<Term>,
    pub(crate) wasi: Box<dyn Fn() -> wasmtime::Result<WasiCtx> + Send + Sync>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) outbound: Arc<dyn Outbound>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) habits: Arc<Habits>,
    pub(crate) figures: Arc<ComponentFigures>,
}

impl Recipe {
    fn store(&self, turn: &Arc<Turn>) -> wasmtime::Result<(Store<State>, Arc<Progress>)> {
        let progress = Arc::new(Progress::default());
        let state = State::new(StateParts {
            wasi: (self.wasi)()?,
            grants: Arc::clone(&self.grants),
            outbound: Arc::clone(&self.outbound),
            limits: Box::new(InstanceLimits::new(turn, Arc::clone(&self.figures))),
            progress: Arc::clone(&progress),
            resources_max: self.limits.instance_resources_max,
            field_bytes_max: self.limits.field_bytes_max,
        });
        let mut store = Store::new(&self.engine, state);
        store.limiter_async(|state| state.limits());
        store.set_epoch_deadline(1);
        let (cpu_max, turn) = (self.limits.cpu_max, Arc::clone(turn));
        let habits = Arc::clone(&self.habits);
        store.epoch_deadline_callback(move |store| {
            let spent = engine::TICK * store.data().progress().tick();
            let is_busy = spent > turns::QUICK;
            habits.ticked(is_busy);
            if spent > cpu_max {
                return Err(BudgetSpent(spent.as_millis()).into());
            }
            let goes_on = if is_busy {
                turn.ticked()
            } else {
                Box::pin(turn.pass())
            };
            Ok(UpdateDeadline::YieldCustom(1, goes_on))
        });
        Ok((store, progress))
    }
}

/// A body of more bytes is large. A chat's last message and some history fit; and sixteen
/// bodies that fit are a fiftieth of an instance's memory.
const LARGE_BODY_BYTES: u64 = 256 << 10;
/// Instances for large requests in one lane of a component, of which each serves one request
/// at a time; where more are asked for at once, they share.
const LARGE_INSTANCES_MAX: usize = 32;

/// How much a request may make its instance hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Ordinary,
    Large,
}

impl Weight {
    /// Of a request. Where no length is said, a client's body may be of any, and a component's
    /// is a stream that another component passes on.
    pub(crate) fn of<B: http_body::Body>(request: &Request<B>, is_client: bool) -> Self {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let is_large = match length {
            Some(bytes) => bytes > LARGE_BODY_BYTES,
            None => is_client && !request.body().is_end_stream(),
        };
        if is_large {
            Self::Large
        } else {
            Self::Ordinary
        }
    }
}

/// The instances of one component in one lane, by what they serve.
struct LanePools {
    ordinary: ProxyHandler<Pool>,
    large: ProxyHandler<Pool>,
}

/// The instances of one component, in both lanes.
pub(crate) struct Pools {
    pub(crate) recipe: Arc<Recipe>,
    quick: LanePools,
    slow: LanePools,
}

impl Pools {
    pub(crate) fn new(recipe: Recipe, lanes: &Lanes) -> Self {
        let recipe = Arc::new(recipe);
        let pools = |lane| {
            let pool = |weight| {
                ProxyHandler::new(Pool {
                    recipe: Arc::clone(&recipe),
                    // Each has its own: many large requests refuse no ordinary one.
                    line: lanes.line(lane),
                    weight,
                    instances: Arc::default(),
                })
            };
            LanePools {
                ordinary: pool(Weight::Ordinary),
                large: pool(Weight::Large),
            }
        };
        Self {
            quick: pools(Lane::Quick),
            slow: pools(Lane::Slow),
            recipe,
        }
    }

    /// The instances that a request is for now, and their lane; `None` if too many of them
    /// stand in line already.
    pub(crate) fn open(&self, weight: Weight) -> Option<(Lane, &ProxyHandler<Pool>)> {
        let lane = self.recipe.habits.lane();
        self.recipe.figures.goes(lane);
        let pools = match lane {
            Lane::Quick => &self.quick,
            Lane::Slow => &self.slow,
        };
        let handler = match weight {
            Weight::Ordinary => &pools.ordinary,
            Weight::Large => &pools.large,
        };
        (!handler.state().line.is_full()).then_some((lane, handler))
    }
}

/// The state of wasmtime's request handler for one component in one lane.
pub(crate) struct Pool {
    recipe: Arc<Recipe>,
    line: Arc<Line>,
    weight: Weight,
    instances: Arc<AtomicUsize>,
}

impl HandlerState for Pool {
    type StoreData = State;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<State, Expiration, Worker>> {
        let (recipe, turn) = (&self.recipe, Turn::new(&self.line));
        let figures = &recipe.figures;
        thread_time::begin(figures);
        let (mut store, progress) = recipe.store(&turn)?;
        let proxy = recipe.pre.instantiate_async(&mut store).await?;
        figures.instantiations.fetch_add(1, Relaxed);
        figures.instances.fetch_add(1, Relaxed);
        self.instances.fetch_add(1, Relaxed);
        let load = Arc::new(Load {
            open: AtomicUsize::new(0),
            since: Mutex::new(Instant::now()),
            progress,
            turn,
            habits: Arc::clone(&recipe.habits),
            failed: AtomicBool::new(false),
            accepted: AtomicBool::new(false),
            figures: Arc::clone(figures),
        });
        Ok(Instance {
            store,
            proxy,
            view: State::http,
            expiration: Expiration {
                sleep: tokio::time::sleep(recipe.limits.instance_idle),
                replaced: recipe.term.replaced.clone().cancelled_owned(),
                awaits: true,
                term: Arc::clone(&recipe.term),
                load: Arc::clone(&load),
                limits: Arc::clone(&recipe.limits),
            },
            state: Worker {
                reuse_max: match recipe.pre {
                    ProxyPre::P3(_) => recipe.limits.instance_requests_max,
                    // An instance of WASI 0.2 serves one request.
                    ProxyPre::P2(_) => 1,
                },
                load,
                weight: self.weight,
                instances: Arc::clone(&self.instances),
                recipe: Arc::clone(recipe),
                _version: recipe.link.hold(),
            },
        })
    }
}

pin_project! {
    /// Ends an instance that has had nothing to do for a while, that goes on for long after
    /// its last client has gone, or whose version is over.
    pub(crate) struct Expiration {
        #[pin]
        sleep: tokio::time::Sleep,
        #[pin]
        replaced: WaitForCancellationFutureOwned,
        // `replaced` has to be polled: once, and then it wakes the instance's task.
        awaits: bool,
        term: Arc<Term>,
        load: Arc<Load>,
        limits: Arc<Limits>,
    }
}

impl WorkerExpiration for Expiration {
    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        // It is asked whenever the instance stops.
        self.load.turn.rests();
        // Asked at the end of each poll of the instance.
        self.load.habits.rests();
        thread_time::end(&self.load.figures, self.load.accepted.swap(false, Relaxed));
        let deadline = match status {
            WorkerStatus::Idle => start + self.limits.instance_idle,
            // A busy instance is ended by its requests' own deadlines or by its CPU budget;
            // by neither if it makes calls for ever and nobody is left who waits for them.
            _ => self.load.deserted_since() + self.limits.afterwards_max,
        };
        let mut this = self.project();
        if std::mem::take(this.awaits) {
            let _ = this.replaced.poll(cx);
        }
        let deadline = match this.term.known_end() {
            Some(_) if status == WorkerStatus::Idle => return Poll::Ready(()),
            Some(end) => deadline.min(end),
            None => deadline,
        };
        let deadline = tokio::time::Instant::from_std(deadline);
        // A deadline moves on with every poll; the timer is moved when it goes off, or when
        // it would go off too late.
        if deadline < this.sleep.deadline() {
            this.sleep.as_mut().reset(deadline);
        }
        ready!(this.sleep.as_mut().poll(cx));
        if tokio::time::Instant::now() < deadline {
            this.sleep.as_mut().reset(deadline);
            ready!(this.sleep.poll(cx));
        }
        let is_deserted = status == WorkerStatus::Idle || this.load.open.load(Relaxed) == 0;
        if is_deserted || this.term.is_over() {
            return Poll::Ready(());
        }
        // Somebody waits: looked at again later.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Was the instance dropped at work, as when the process stops? wasmtime's handler has one
/// error for that and for a panic of its own.
fn is_dropped(error: &wasmtime::Error) -> bool {
    !std::thread::panicking() && error.to_string() == "worker panicked"
}

/// One instance at work.
pub(crate) struct Worker {
    reuse_max: usize,
    load: Arc<Load>,
    weight: Weight,
    /// Of its pool.
    instances: Arc<AtomicUsize>,
    recipe: Arc<Recipe>,
    /// Kept whole while an instance of it is at work.
    _version: Option<Arc<App>>,
}

impl Worker {
    /// Requests that it may serve at once now.
    fn concurrent_max(&self) -> usize {
        let shares =
            self.weight == Weight::Ordinary || self.instances.load(Relaxed) >= LARGE_INSTANCES_MAX;
        if shares {
            self.recipe.limits.instance_concurrent_requests_max
        } else {
            1
        }
    }
}

impl WorkerState for Worker {
    type StoreData = State;
    type RequestData = Arc<Ticket>;

    fn should_accept_request(&self, _: usize, served: usize) -> ShouldAccept {
        thread_time::begin(&self.load.figures);
        if served >= self.reuse_max {
            ShouldAccept::Never
        } else if self.load.open.load(Relaxed) >= self.concurrent_max()
            || self.load.turn.is_interrupted()
        {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, State>,
        ticket: Arc<Ticket>,
        task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        thread_time::begin(&self.load.figures);
        self.load.habits.asked();
        self.load.accepted.store(true, Relaxed);
        store.data_mut().call_started(task, &ticket.context);
        self.load.open.fetch_add(1, Relaxed);
        if ticket.worker.set(Arc::clone(&self.load)).is_err() {
            self.load.open.fetch_sub(1, Relaxed);
        }
        Box::pin(tokio::time::sleep(self.recipe.limits.answer_time_max))
    }

    fn drop(&self, store: Store<State>, result: Result<(), wasmtime::Error>) {
        // Whoever still reads an answer keeps the load, but no turn.
        self.load.turn.give_back();
        self.load.habits.rests();
        let figures = &self.load.figures;
        if let Err(error) = result {
            self.load.failed.store(true, Relaxed);
            let component = self.recipe.component.as_str();
            if is_dropped(&error) {
                tracing::debug!(component, "instance dropped: the process stops");
            } else if self.recipe.term.is_over() {
                tracing::warn!(component, "instance of an old version cut");
            } else if error.downcast_ref::<BudgetSpent>().is_some() {
                figures.cpu_stops.fetch_add(1, Relaxed);
                tracing::error!(component, %error, "instance stopped");
            } else {
                figures.trap(TrapKind::of(&error));
                let error = format!("{error:?}");
                let error: String = error.chars().take(2_000).collect();
                tracing::error!(component, error, "instance lost");
            }
        }
        drop(store);
        figures.instances.fetch_sub(1, Relaxed);
        self.instances.fetch_sub(1, Relaxed);
        thread_time::end(figures, false);
    }
}
