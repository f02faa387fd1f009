//! Outbound HTTP: who may be called, one pool of connections for all, and the timeouts.
//!
//! A request of a component goes to the network, to another component (`chain.rs`), or is
//! refused. Bodies stream both ways. It does NOT know what is asked.

pub(crate) mod asker;
mod body;
mod multiplexed;
pub(super) mod resolver;
pub(crate) mod spans;

use crate::chain::Link;
use crate::lanes;
use crate::manifest::allowed_hosts::{
    AllowedHost, Reach, Target, allowed, allows_itself, allows_service, is_public, service_of,
};
use crate::metrics::Metrics;
use crate::runtime_config::client_tls::ClientTls;
use crate::thread_time::HostExecutor;
use crate::trace::Tracer;
use asker::Asker;
use body::TimedBody;
use edge_bindings::port::{BoxFuture, CallContext, Outbound};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self};
use hyper_util::rt::TokioTimer;
use multiplexed::{Full, Multiplexed};
use resolver::{Prohibited, Resolver};
use spans::{call_out, fail};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody};

/// How long a connection may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the head of an answer may take: a generation behind a full queue.
const FIRST_BYTE_TIME_MAX: Duration = Duration::from_secs(600);
/// How long a body may pause: the longest prefill between two tokens.
const BETWEEN_BYTES_TIME_MAX: Duration = Duration::from_secs(300);
/// How long an unused connection is kept.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Unused connections of HTTP/1.1 kept per host.
const IDLE_PER_HOST_MAX: usize = 64;
/// Outbound requests at once, for each request of a client that is served at once: its call
/// to a model, and one more beside it.
pub(crate) const PER_REQUEST_MAX: usize = 2;
/// How many components may call each other in a row: a star's halves call each other once
/// or twice; a loop is cut here.
pub(crate) const CHAIN_DEPTH_MAX: u32 = 8;

/// What all calls to other servers are in `Server-Timing`, which names none of them.
const OUTBOUND_STAGE: &str = "outbound";

type HttpClient = legacy::Client<HttpsConnector<HttpConnector<Resolver>>, WasiBody>;

/// The pools of connections of this process. A connection made under a grant by wildcard
/// never serves one by name, nor the other way round.
pub(crate) struct Clients {
    literal: HttpClient,
    public_only: HttpClient,
    multiplexed: Multiplexed,
    /// Those with certificates of their own, which share no connection with the others.
    own_tls: Vec<OwnTls>,
    /// One permit a request, until its answer's body has ended: over HTTP/1.1 each of them
    /// has a connection.
    permits: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    tracer: Option<Arc<Tracer>>,
}

/// Connections of some components to some hosts.
struct OwnTls {
    of: ClientTls,
    literal: HttpClient,
    public_only: HttpClient,
}

impl OwnTls {
    fn new(of: &ClientTls) -> Self {
        let client = |reach| client(Resolver { reach }, of.config.clone());
        Self {
            of: of.clone(),
            literal: client(Reach::Literal),
            public_only: client(Reach::PublicOnly),
        }
    }
}

/// What a request holds until its answer's body has ended.
struct Held {
    _permit: OwnedSemaphorePermit,
    _place: Option<multiplexed::Place>,
}

impl Clients {
    /// `requests_max` at once, in all; `multiplexed` are the origins that speak HTTP/2
    /// without TLS.
    pub(crate) fn new(
        metrics: &Arc<Metrics>,
        requests_max: usize,
        multiplexed: &[Target],
        own_tls: &[ClientTls],
        tracer: Option<Arc<Tracer>>,
    ) -> Result<Self, String> {
        let tls = tls_config_with(system_roots())?;
        let literal = Resolver {
            reach: Reach::Literal,
        };
        let public_only = Resolver {
            reach: Reach::PublicOnly,
        };
        Ok(Self {
            multiplexed: Multiplexed::new(multiplexed, &literal),
            own_tls: own_tls.iter().map(OwnTls::new).collect(),
            literal: client(literal, tls.clone()),
            public_only: client(public_only, tls),
            permits: Arc::new(Semaphore::new(requests_max)),
            metrics: Arc::clone(metrics),
            tracer,
        })
    }

    /// Begins a request on the connections that suit it.
    fn start(
        &self,
        component: &str,
        target: &Target,
        reach: Reach,
        request: http::Request<WasiBody>,
    ) -> Result<(legacy::ResponseFuture, Held), Full> {
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| Full)?;
        let is_own = |each: &&OwnTls| each.of.is_for(component, &target.host, target.port);
        if let Some(own) = self
            .own_tls
            .iter()
            .find(is_own)
            .filter(|_| target.scheme == "https")
        {
            let client = match reach {
                Reach::Literal => &own.literal,
                Reach::PublicOnly => &own.public_only,
            };
            let held = Held {
                _permit: permit,
                _place: None,
            };
            return Ok((client.request(request), held));
        }
        let place = match reach {
            Reach::Literal => self.multiplexed.place(target).transpose()?,
            Reach::PublicOnly => None,
        };
        let (answer, place) = match (place, reach) {
            (Some((client, place)), _) => (client.request(request), Some(place)),
            (None, Reach::Literal) => (self.literal.request(request), None),
            (None, Reach::PublicOnly) => (self.public_only.request(request), None),
        };
        let held = Held {
            _permit: permit,
            _place: place,
        };
        Ok((answer, held))
    }
}

/// The certificates that this machine trusts.
pub(crate) fn system_roots() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "system certificates");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

/// TLS as all outbound connections speak it, trusting `roots`.
pub(crate) fn tls_config_with(
    roots: rustls::RootCertStore,
) -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn client(resolver: Resolver, tls: rustls::ClientConfig) -> HttpClient {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIME_MAX));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    legacy::Client::builder(HostExecutor)
        .pool_idle_timeout(IDLE_TIME_MAX)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .build(connector)
}

/// The outbound side of one component.
pub(crate) struct ComponentOutbound {
    pub(crate) component: String,
    pub(crate) hosts: Vec<AllowedHost>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) link: Arc<Link>,
}

impl Outbound for ComponentOutbound {
    fn send(
        &self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        context: Option<Arc<CallContext>>,
    ) -> BoxFuture<Result<http::Response<WasiBody>, HttpError>> {
        match self.destination(request.uri(), context.as_deref()) {
            Ok(Destination::Network(target, reach)) => {
                let call = NetworkCall {
                    clients: Arc::clone(&self.clients),
                    component: self.component.clone(),
                    target,
                    reach,
                };
                Box::pin(lanes::at_home(call.send(request, options, context)))
            }
            Ok(Destination::Service(id)) => {
                Box::pin(lanes::at_home(self.link.call(Some(&id), request, context)))
            }
            Ok(Destination::Itself) => {
                Box::pin(lanes::at_home(self.link.call(None, request, context)))
            }
            Err((error, reason)) => {
                let host = request.uri().host().unwrap_or("self");
                self.clients.metrics.outbound("denied", "denied");
                tracing::warn!(
                    component = self.component,
                    host,
                    reason,
                    "outbound request refused"
                );
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Destination {
    Network(Target, Reach),
    Service(String),
    Itself,
}

impl ComponentOutbound {
    fn destination(
        &self,
        uri: &http::Uri,
        context: Option<&CallContext>,
    ) -> Result<Destination, (HttpError, &'static str)> {
        let denied = |reason| (HttpError::HttpRequestDenied, reason);
        let deep = context.is_some_and(|context| context.depth >= CHAIN_DEPTH_MAX);
        // Where there is none, one of WASI 0.2 is empty but for a port.
        let authority = uri.authority().filter(|known| {
            let text = known.as_str();
            !text.is_empty() && !text.starts_with(':')
        });
        let Some(authority) = authority else {
            if !allows_itself(&self.hosts) {
                return Err(denied("not in allowed_outbound_hosts"));
            }
            return if deep {
                Err((HttpError::LoopDetected, "loop"))
            } else {
                Ok(Destination::Itself)
            };
        };
        if authority.as_str().contains('@') {
            return Err((HttpError::HttpRequestUriInvalid, "the URL has a user name"));
        }
        let target = Target::of(uri).ok_or((HttpError::HttpRequestUriInvalid, "unknown scheme"))?;
        if let Some(id) = service_of(&target.host) {
            if !allows_service(&self.hosts, &target.scheme, id) {
                return Err(denied("not in allowed_outbound_hosts"));
            }
            if deep {
                return Err((HttpError::LoopDetected, "too many components in a row"));
            }
            return Ok(Destination::Service(id.to_owned()));
        }
        let reach =
            allowed(&self.hosts, &target).ok_or_else(|| denied("not in allowed_outbound_hosts"))?;
        // A name is checked after its resolution; an address is its own.
        if let Ok(address) = target.host.parse::<IpAddr>()
            && reach == Reach::PublicOnly
            && !is_public(address)
        {
            return Err((
                HttpError::DestinationIpProhibited,
                "a private address needs its own grant",
            ));
        }
        Ok(Destination::Network(target, reach))
    }
}

/// A request that goes out of this process, to where it may go.
pub(super) struct NetworkCall {
    pub(super) clients: Arc<Clients>,
    pub(super) component: String,
    pub(super) target: Target,
    pub(super) reach: Reach,
}

impl NetworkCall {
    pub(super) async fn send(
        self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        context: Option<Arc<CallContext>>,
    ) -> Result<http::Response<WasiBody>, HttpError> {
        let Self {
            clients,
            component,
            target,
            reach,
        } = self;
        let options = options.unwrap_or_default();
        let first_byte = options.first_byte_timeout.unwrap_or(FIRST_BYTE_TIME_MAX);
        let between = options
            .between_bytes_timeout
            .unwrap_or(BETWEEN_BYTES_TIME_MAX);
        let first_byte = first_byte.min(FIRST_BYTE_TIME_MAX);
        let mut span = call_out(clients.tracer.as_ref(), context.as_deref(), &mut request);
        let start = Instant::now();
        let asker = Asker::of(context.as_deref());
        let Ok((answer, held)) = clients.start(&component, &target, reach, request) else {
            clients.metrics.outbound(&target.host, "full");
            tracing::warn!(host = target.host, "too many outbound requests at once");
            fail(span.as_ref(), &HttpError::ConnectionLimitReached);
            return Err(HttpError::ConnectionLimitReached);
        };
        let (outcome, answer) = tokio::select! {
            biased;
            gone = asker.left() => ("left", Err(gone)),
            answer = tokio::time::timeout(first_byte, answer) => match answer {
                Err(_) => ("error", Err(HttpError::ConnectionReadTimeout)),
                Ok(Err(error)) => ("error", Err(explain(&error))),
                Ok(Ok(response)) => ("ok", Ok(response)),
            },
        };
        clients.metrics.outbound(&target.host, outcome);
        if let Some(stages) = context.as_ref().and_then(|context| context.stages.as_ref()) {
            stages.add(OUTBOUND_STAGE, start.elapsed());
        }
        match answer {
            Ok(response) => {
                if let Some(span) = &mut span {
                    span.began();
                    span.answered(response.status().as_u16());
                }
                Ok(response.map(|body| {
                    let body = TimedBody::new(body, between, held).boxed_unsync();
                    asker.watch(body, span).boxed_unsync()
                }))
            }
            Err(error) => {
                fail(span.as_ref(), &error);
                tracing::debug!(host = target.host, %error, "outbound request failed");
                Err(error)
            }
        }
    }
}

/// Finds what went wrong at the bottom of the client's error.
fn explain(error: &legacy::Error) -> HttpError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if current.is::<Prohibited>() {
            return HttpError::DestinationIpProhibited;
        }
        if let Some(io) = current.downcast_ref::<std::io::Error>() {
            if io.get_ref().is_some_and(|inner| inner.is::<Prohibited>()) {
                return HttpError::DestinationIpProhibited;
            }
            return match io.kind() {
                std::io::ErrorKind::TimedOut => HttpError::ConnectionTimeout,
                std::io::ErrorKind::NotFound => HttpError::DestinationNotFound,
                std::io::ErrorKind::InvalidData => HttpError::TlsProtocolError,
                _ if error.is_connect() => HttpError::ConnectionRefused,
                _ => HttpError::ConnectionTerminated,
            };
        }
        source = current.source();
    }
    if error.is_connect() {
        HttpError::DestinationUnavailable
    } else {
        HttpError::HttpProtocolError
    }
}

#[cfg(test)]
mod tests;
