//! From a request to the component that answers it: the route, Spin's headers, the permit,
//! the answer.
//!
//! It knows routes and components by id; it does NOT know sockets, TLS or how an instance
//! is made.

pub(crate) mod answer;
pub(crate) mod headers;
pub(crate) mod route;
mod stages;

use crate::error::Refusal;
use crate::instance::{Pool, Pools, Recipe, Ticket, Weight};
use crate::lanes::{Lane, Lanes};
use crate::manifest::{RouteAnswer, StaticResponse};
use crate::metrics::Metrics;
use crate::trace::Tracer;
use answer::{Answer, LogLine};
use edge_bindings::port::CallContext;
use headers::Matched;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use route::{RouteMatch, RoutePattern};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::handler::{ExpirationError, InstantiationError, ProxyHandler};

/// Requests of components to components at once, for each of a client: it may make one or
/// two.
const INSIDE_PER_REQUEST_MAX: usize = 4;

/// Where a request came from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) client: SocketAddr,
    pub(crate) scheme: Scheme,
    /// Set when the body turned out larger than is taken.
    pub(crate) too_large: Arc<AtomicBool>,
    pub(crate) body_bytes_max: u64,
    /// The request belongs to a trace of its client's.
    pub(crate) is_traced: bool,
}

impl Origin {
    /// The origin of requests that no client sent.
    pub(crate) fn inside() -> Self {
        Self {
            client: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            scheme: Scheme::HTTP,
            too_large: Arc::default(),
            body_bytes_max: u64::MAX,
            is_traced: false,
        }
    }
}

/// One component, ready to answer; or the reason why it is not.
pub(crate) enum Served {
    Ready(Pools),
    Unavailable,
}

/// The instances that take a request.
struct Open<'a> {
    recipe: &'a Recipe,
    lane: Lane,
    handler: &'a ProxyHandler<Pool>,
}

/// The places for requests at once, whichever version of the application they are for.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    outside: Arc<Semaphore>,
    inside: Arc<Semaphore>,
}

impl Places {
    pub(crate) fn new(requests_max: usize) -> Self {
        let places = |number: usize| Arc::new(Semaphore::new(number.min(Semaphore::MAX_PERMITS)));
        Self {
            outside: places(requests_max),
            inside: places(requests_max.saturating_mul(INSIDE_PER_REQUEST_MAX)),
        }
    }
}

/// Routes and components.
pub(crate) struct Dispatch {
    routes: Vec<(RoutePattern, RouteAnswer)>,
    components: BTreeMap<String, Served>,
    places: Places,
    lanes: Arc<Lanes>,
    metrics: Arc<Metrics>,
    pub(crate) tracer: Option<Arc<Tracer>>,
}

impl Dispatch {
    pub(crate) fn new(
        mut routes: Vec<(RoutePattern, RouteAnswer)>,
        components: BTreeMap<String, Served>,
        places: Places,
        lanes: Arc<Lanes>,
        metrics: Arc<Metrics>,
        tracer: Option<Arc<Tracer>>,
    ) -> Self {
        routes.sort_by(|(a, _), (b, _)| b.specificity(a));
        Self {
            routes,
            components,
            places,
            lanes,
            metrics,
            tracer,
        }
    }

    /// The route that `path` takes.
    fn route(&self, path: &str) -> Option<(&RoutePattern, &RouteAnswer, RouteMatch)> {
        self.routes.iter().find_map(|(pattern, answer)| {
            pattern
                .matches(path)
                .map(|matched| (pattern, answer, matched))
        })
    }

    /// Answers a client's request.
    pub(crate) async fn answer_client(
        &self,
        mut request: Request<WasiBody>,
        origin: Origin,
        mut context: CallContext,
    ) -> Response<Answer> {
        let tracer = self.tracer.as_ref();
        let span = tracer.and_then(|tracer| tracer.server(&mut request, &origin, &mut context));
        let stages = context.stages.clone();
        let is_head = request.method() == Method::HEAD;
        let mut line = LogLine::new(&request, &origin, &context, span);
        headers::strip_foreign(request.headers_mut());
        let Ok(uri) = absolute(&request, &origin.scheme) else {
            return self.refuse(Refusal::BadHost, line);
        };
        *request.uri_mut() = uri;
        let Some((pattern, answer, matched)) = self.route(request.uri().path()) else {
            return self.refuse(Refusal::NoRoute, line);
        };
        line.routed(pattern.raw(), request.uri().authority());
        let component = match answer {
            RouteAnswer::Component(id) => id.as_str(),
            RouteAnswer::Static(response) => {
                line.status = response.status.as_u16();
                return static_answer(response)
                    .map(|body| Answer::new(body, None, None, Some(line), &self.metrics));
            }
        };
        let matched = Matched {
            raw_route: pattern.raw().to_owned(),
            prefix: pattern.prefix().to_owned(),
            taken: matched,
        };
        line.component = component.to_owned();
        let Ok(permit) = Arc::clone(&self.places.outside).try_acquire_owned() else {
            self.metrics.refused("requests");
            return self.refuse(Refusal::Busy, line);
        };
        let open = match self.open(component, Weight::of(&request, true)) {
            Ok(open) => open,
            Err(refusal) => return self.refuse(refusal, line),
        };
        match self
            .call(open, request, &matched, &origin, context, permit)
            .await
        {
            Ok((mut response, ticket, permit)) => {
                if let Some(stages) = stages {
                    tell(&stages.text(line.elapsed()), response.headers_mut());
                }
                line.status = response.status().as_u16();
                line.request_id = headers::request_id(response.headers());
                let mut response = response.map(|body| {
                    Answer::new(body, Some(ticket), Some(permit), Some(line), &self.metrics)
                });
                // Of an answer that has no body by its nature, no length is said either.
                if !is_head && has_body(response.status()) {
                    response.body_mut().look_ahead().await;
                }
                match response.body_mut().line_of_broken() {
                    None => response,
                    Some(line) => {
                        tracing::error!(component, "the answer broke before its head went out");
                        self.refuse(Refusal::Failed, line)
                    }
                }
            }
            Err(refusal) => self.refuse(refusal, line),
        }
    }

    pub(crate) fn has(&self, component: &str) -> bool {
        self.components.contains_key(component)
    }

    /// Answers a component's request, or the host's own, to component `id` or, without one,
    /// to the path's route.
    pub(crate) async fn answer_inside(
        &self,
        id: Option<&str>,
        mut request: Request<WasiBody>,
        origin: Origin,
        context: CallContext,
    ) -> Response<Answer> {
        headers::strip_foreign(request.headers_mut());
        let (component, matched) = match id {
            Some(id) => {
                let path_info = request.uri().path().to_owned();
                let taken = RouteMatch {
                    path_info,
                    parameters: Vec::new(),
                };
                (
                    id,
                    Matched {
                        raw_route: "/...".to_owned(),
                        prefix: String::new(),
                        taken,
                    },
                )
            }
            None => match self.route(request.uri().path()) {
                Some((_, RouteAnswer::Static(response), _)) => {
                    return static_answer(response)
                        .map(|body| Answer::new(body, None, None, None, &self.metrics));
                }
                Some((pattern, RouteAnswer::Component(component), taken)) => {
                    let raw_route = pattern.raw().to_owned();
                    let prefix = pattern.prefix().to_owned();
                    (
                        component.as_str(),
                        Matched {
                            raw_route,
                            prefix,
                            taken,
                        },
                    )
                }
                None => return self.refuse_inside(Refusal::NoRoute),
            },
        };
        if let Ok(uri) = absolute(&request, &origin.scheme) {
            *request.uri_mut() = uri;
        }
        let Ok(permit) = Arc::clone(&self.places.inside).try_acquire_owned() else {
            return self.refuse_inside(Refusal::Busy);
        };
        let open = match self.open(component, Weight::of(&request, false)) {
            Ok(open) => open,
            Err(refusal) => return self.refuse_inside(refusal),
        };
        match self
            .call(open, request, &matched, &origin, context, permit)
            .await
        {
            Ok((response, ticket, permit)) => response
                .map(|body| Answer::new(body, Some(ticket), Some(permit), None, &self.metrics)),
            Err(refusal) => self.refuse_inside(refusal),
        }
    }

    /// The instances that a request to `component` is for now.
    fn open(&self, component: &str, weight: Weight) -> Result<Open<'_>, Refusal> {
        let pools = match self.components.get(component) {
            Some(Served::Ready(pools)) => pools,
            Some(Served::Unavailable) => {
                return Err(Refusal::Unavailable {
                    component: component.to_owned(),
                });
            }
            None => return Err(Refusal::NoRoute),
        };
        let open = pools.open(weight);
        let Some((lane, handler)) = open.filter(|(lane, _)| self.lanes.admits(*lane)) else {
            self.metrics.refused("turns");
            return Err(Refusal::Busy);
        };
        Ok(Open {
            recipe: &pools.recipe,
            lane,
            handler,
        })
    }

    async fn call(
        &self,
        open: Open<'_>,
        mut request: Request<WasiBody>,
        matched: &Matched,
        origin: &Origin,
        mut context: CallContext,
        permit: OwnedSemaphorePermit,
    ) -> Result<(Response<WasiBody>, Arc<Ticket>, OwnedSemaphorePermit), Refusal> {
        let component = open.recipe.component.as_str();
        let figures = &open.recipe.figures;
        headers::add_spin(&mut request, matched, origin.client);
        let span = self
            .tracer
            .as_ref()
            .and_then(|tracer| tracer.component(component, &mut context, request.headers_mut()));
        let ticket = Ticket::new(context, span);
        let start = Instant::now();
        let answered = open.handler.handle(Arc::clone(&ticket), request);
        let answered = self.lanes.within(open.lane, answered).await;
        let took = start.elapsed();
        figures.answered(took);
        if let Some(stages) = &ticket.context.stages {
            stages.add(component, took);
        }
        match &answered {
            Ok(response) => {
                for (stage, took) in stages::told(response.headers()) {
                    figures.stage(stage, took);
                }
                if let Some(span) = &ticket.span {
                    span.began_after(stages::told(response.headers()));
                }
            }
            Err(_) => {
                if let Some(span) = &ticket.span {
                    span.failed("component");
                }
            }
        }
        if origin.too_large.load(Relaxed) {
            self.metrics.refused("body");
            return Err(Refusal::BodyTooLarge {
                bytes_max: origin.body_bytes_max,
            });
        }
        match answered {
            Ok(response) => Ok((response, ticket, permit)),
            Err(error) => Err(self.explain(component, &error)),
        }
    }

    fn explain(&self, component: &str, error: &wasmtime::Error) -> Refusal {
        if let Some(error) = error.downcast_ref::<InstantiationError<Arc<Ticket>>>() {
            self.metrics.refused("instances");
            tracing::warn!(component, error = %error.error, "no instance could be made");
            return Refusal::Busy;
        }
        if error.is::<ExpirationError>() {
            tracing::error!(component, "no answer in time");
            return Refusal::TooSlow;
        }
        tracing::error!(component, %error, "request failed");
        Refusal::Failed
    }

    fn refuse(&self, refusal: Refusal, mut line: LogLine) -> Response<Answer> {
        let response = refusal.response();
        line.status = response.status().as_u16();
        response.map(|body| Answer::new(body, None, None, Some(line), &self.metrics))
    }

    fn refuse_inside(&self, refusal: Refusal) -> Response<Answer> {
        refusal
            .response()
            .map(|body| Answer::new(body, None, None, None, &self.metrics))
    }
}

/// Says to the client what took how long.
fn tell(stages: &str, headers: &mut HeaderMap) {
    if let Ok(text) = HeaderValue::try_from(stages) {
        headers.append("server-timing", text);
    }
}

/// May an answer with this status have a body (RFC 9110 §6.4.1)?
pub(crate) fn has_body(status: StatusCode) -> bool {
    !(status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED)
}

/// The answer of a route without a component.
fn static_answer(response: &StaticResponse) -> Response<WasiBody> {
    let body = Full::new(response.body.clone()).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = response.status;
    *answer.headers_mut() = response.headers.clone();
    answer
}

/// The request's URI with scheme and authority, from its `Host` header or its target. Two
/// that differ are an attack on whoever trusts either (RFC 9112 §3.2.2).
fn absolute(request: &Request<WasiBody>, scheme: &Scheme) -> Result<Uri, ()> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let from_header = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(()),
        (None, _) => None,
        (Some(host), None) => Some(
            host.to_str()
                .map_err(|_| ())?
                .parse::<Authority>()
                .map_err(|_| ())?,
        ),
    };
    let mut parts = request.uri().clone().into_parts();
    let authority = match (from_header, parts.authority.take()) {
        (Some(a), Some(b)) if a != b => return Err(()),
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) => return Err(()),
    };
    if authority.as_str().contains('@') {
        return Err(());
    }
    parts.scheme = Some(scheme.clone());
    parts.authority = Some(authority);
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    Uri::from_parts(parts).map_err(|_| ())
}
