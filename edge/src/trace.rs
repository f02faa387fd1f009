//! Traces: a span for each request of a client, for each component that answers it, and for
//! each call that a component makes; their ids go on in `traceparent` (W3C Trace Context).
//!
//! Off, this is an `Option` that is `None`. A span says who, where to and how it ended; it
//! does NOT say what: no query, no header, no body.

mod context;
mod export;
mod sampler;
mod settings;

pub(crate) use context::TraceContext;
pub(crate) use settings::Settings;

use crate::dispatch::Origin;
use crate::metrics::Metrics;
use edge_bindings::port::CallContext;
use export::Exporting;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sampler::Sampler;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// The longest text of an attribute: a path is as long as in the log.
const TEXT_CHARS_MAX: usize = 256;

/// Makes spans and hands them to the thread that sends them.
pub(crate) struct Tracer {
    sampler: Sampler,
    scope: InstrumentationScope,
    exporting: Exporting,
}

impl Tracer {
    /// Starts sending, as the environment says; `None` if it does not ask for that.
    ///
    /// # Errors
    /// The variable that is wrong, and what was expected.
    pub(crate) fn start(
        settings: Option<Settings>,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, String> {
        let Some(settings) = settings else {
            return Ok(None);
        };
        let exporting = Exporting::start(&settings, Arc::clone(metrics))?;
        Ok(Some(Arc::new(Self {
            sampler: settings.sampler,
            scope: InstrumentationScope::builder("edge")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            exporting,
        })))
    }

    /// Sends what is left, for as long as the collector may take.
    pub(crate) fn stop(&self, time_max: Duration) {
        self.exporting.flush(time_max);
    }

    /// The span of a client's request. Whether the whole trace is recorded here is decided
    /// now: what comes after looks at the flag in `context`.
    pub(crate) fn server<B>(
        self: &Arc<Self>,
        request: &mut Request<B>,
        origin: &Origin,
        context: &mut CallContext,
    ) -> Option<Span> {
        let given = TraceContext::of(context)?;
        let parent = origin.is_traced.then_some(given);
        let here = TraceContext {
            is_sampled: self.sampler.samples(given.trace, parent),
            span: given.span,
            ..given
        };
        if !here.is_sampled {
            here.put(context, request.headers_mut());
            return None;
        }
        let here = here.child();
        here.put(context, request.headers_mut());
        let method = method(request.method());
        let mut span = self.span(here, parent, SpanKind::Server, method);
        span.parent_is_remote = origin.is_traced;
        span.set("http.request.method", method);
        span.set("url.path", text(request.uri().path()));
        span.set("url.scheme", origin.scheme.to_string());
        if let Some(version) = version(request.version()) {
            span.set("network.protocol.version", version);
        }
        span.set("client.address", origin.client.ip().to_string());
        Some(span)
    }

    /// The span of a component that is called in `context`, which is the component's own
    /// from now on.
    pub(crate) fn component(
        self: &Arc<Self>,
        component: &str,
        context: &mut CallContext,
        headers: &mut HeaderMap,
    ) -> Option<Span> {
        let parent = TraceContext::of(context).filter(|parent| parent.is_sampled)?;
        let here = parent.child();
        here.put(context, headers);
        let name = Cow::Owned(format!("component {component}"));
        let mut span = self.span(here, Some(parent), SpanKind::Internal, name);
        span.set("edge.component", component.to_owned());
        Some(span)
    }

    /// The span of a call that a component makes, whose id goes out with it. A component
    /// that has spans of its own says so in its `traceparent`: they are between ours.
    pub(crate) fn client(
        self: &Arc<Self>,
        method_called: &Method,
        uri: &Uri,
        context: &CallContext,
        headers: &mut HeaderMap,
    ) -> Option<Span> {
        let caller = TraceContext::of(context).filter(|caller| caller.is_sampled)?;
        let own = headers.get("traceparent");
        let own = own.and_then(|own| TraceContext::parse(own.as_bytes()));
        let parent = match own {
            Some(own) if own.trace == caller.trace => TraceContext {
                is_sampled: true,
                ..own
            },
            _ => caller,
        };
        let here = parent.child();
        // A trace of the component's own making goes on as it is.
        if own.is_none_or(|own| own.trace == caller.trace) {
            headers.insert("traceparent", here.header());
        }
        let method = method(method_called);
        let mut span = self.span(here, Some(parent), SpanKind::Client, method);
        span.set("http.request.method", method);
        let host = uri.host().unwrap_or("self");
        span.set("server.address", text(host));
        let scheme = uri.scheme_str().unwrap_or("http");
        let port = uri
            .port_u16()
            .unwrap_or(if scheme == "https" { 443 } else { 80 });
        span.set("server.port", i64::from(port));
        let url = format!("{scheme}://{host}:{port}{}", uri.path());
        span.set("url.full", text(&url));
        Some(span)
    }

    fn span(
        self: &Arc<Self>,
        context: TraceContext,
        parent: Option<TraceContext>,
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
    ) -> Span {
        Span {
            tracer: Arc::clone(self),
            context,
            parent: parent.map_or(SpanId::INVALID, |parent| parent.span),
            parent_is_remote: false,
            kind,
            name: name.into(),
            start: (SystemTime::now(), Instant::now()),
            attributes: Vec::with_capacity(10),
            head: OnceLock::new(),
            error: OnceLock::new(),
        }
    }
}

/// A span, which ends when it is dropped.
pub(crate) struct Span {
    tracer: Arc<Tracer>,
    context: TraceContext,
    parent: SpanId,
    parent_is_remote: bool,
    kind: SpanKind,
    name: Cow<'static, str>,
    start: (SystemTime, Instant),
    attributes: Vec<KeyValue>,
    head: OnceLock<Event>,
    error: OnceLock<Cow<'static, str>>,
}

impl Span {
    fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(key, value));
    }

    /// The time, by the clock that nobody sets.
    fn now(&self) -> SystemTime {
        self.start.0 + self.start.1.elapsed()
    }

    /// What a call below this span has in `traceparent`.
    pub(crate) fn header(&self) -> HeaderValue {
        self.context.header()
    }

    /// The route that a client's request took; the span has its name from it.
    pub(crate) fn routed(&mut self, route: &str, host: Option<&http::uri::Authority>) {
        self.name = Cow::Owned(format!("{} {route}", self.name));
        self.set("http.route", route.to_owned());
        if let Some(host) = host {
            self.set("server.address", text(host.host()));
            if let Some(port) = host.port_u16() {
                self.set("server.port", i64::from(port));
            }
        }
    }

    /// The status of the answer. A server's fault begins at 500, a caller's at 400.
    pub(crate) fn answered(&mut self, status: u16) {
        self.set("http.response.status_code", i64::from(status));
        let fault = if self.kind == SpanKind::Client {
            400
        } else {
            500
        };
        if status >= fault {
            self.failed(status.to_string());
        }
    }

    /// The head of the answer came.
    pub(crate) fn began(&self) {
        self.began_after(std::iter::empty());
    }

    /// The same, with the stages that the answer says it took until then.
    pub(crate) fn began_after<'a>(&self, stages: impl Iterator<Item = (&'a str, Duration)>) {
        let stages = stages.map(|(name, took)| {
            let key = format!("server_timing.{name}");
            KeyValue::new(key, took.as_secs_f64() * 1e3)
        });
        let head = Event::new("response head", self.now(), stages.collect(), 0);
        let _ = self.head.set(head);
    }

    /// What the span is about failed. The first error stays.
    pub(crate) fn failed(&self, error: impl Into<Cow<'static, str>>) {
        let _ = self.error.set(error.into());
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let end = self.now();
        let mut events = SpanEvents::default();
        events.events.extend(self.head.take());
        let status = match self.error.take() {
            None => Status::Unset,
            Some(error) => {
                self.set("error.type", error);
                Status::error("")
            }
        };
        let TraceContext { trace, span, .. } = self.context;
        let flags = opentelemetry::TraceFlags::SAMPLED;
        self.tracer.exporting.send(SpanData {
            span_context: SpanContext::new(trace, span, flags, false, TraceState::NONE),
            parent_span_id: self.parent,
            parent_span_is_remote: self.parent_is_remote,
            span_kind: self.kind.clone(),
            name: std::mem::take(&mut self.name),
            start_time: self.start.0,
            end_time: end,
            attributes: std::mem::take(&mut self.attributes),
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.tracer.scope.clone(),
        });
    }
}

fn text(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// A method that the conventions know; others are one, lest there be any number of them.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "CONNECT" => "CONNECT",
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        "QUERY" => "QUERY",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}
