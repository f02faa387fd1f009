//! Outbound HTTP: who may be called, one pool of connections for all, and the timeouts.
//!
//! A request of a component goes to the network, to another component (`chain.rs`), or is
//! refused. Bodies stream both ways. It does NOT know what is asked.

pub(crate) mod asker;
mod body;
mod resolver;

use crate::chain::Link;
use crate::manifest::allowed_hosts::{
    AllowedHost, Reach, Target, allowed, allows_itself, allows_service, default_port, is_public,
    service_of,
};
use crate::metrics::Metrics;
use asker::Asker;
use body::TimedBody;
use edge_bindings::port::{BoxFuture, CallContext, Outbound};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use resolver::{Prohibited, Resolver};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody};

/// How long a connection may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the head of an answer may take: a generation behind a full queue.
const FIRST_BYTE_TIME_MAX: Duration = Duration::from_secs(600);
/// How long a body may pause: the longest prefill between two tokens.
const BETWEEN_BYTES_TIME_MAX: Duration = Duration::from_secs(300);
/// How long an unused connection is kept.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Unused connections kept per host.
const IDLE_PER_HOST_MAX: usize = 64;
/// How many components may call each other in a row: a star's halves call each other once
/// or twice; a loop is cut here.
pub(crate) const CHAIN_DEPTH_MAX: u32 = 8;

type HttpClient = legacy::Client<HttpsConnector<HttpConnector<Resolver>>, WasiBody>;

/// The pools of connections of this process. A connection made under a grant by wildcard
/// never serves one by name, nor the other way round.
pub(crate) struct Clients {
    literal: HttpClient,
    public_only: HttpClient,
    metrics: Arc<Metrics>,
}

impl Clients {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Result<Self, String> {
        let tls = tls_config()?;
        Ok(Self {
            literal: client(
                Resolver {
                    reach: Reach::Literal,
                },
                tls.clone(),
            ),
            public_only: client(
                Resolver {
                    reach: Reach::PublicOnly,
                },
                tls,
            ),
            metrics: Arc::clone(metrics),
        })
    }
}

fn tls_config() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "system certificates");
    }
    roots.add_parsable_certificates(found.certs);
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
    legacy::Client::builder(TokioExecutor::new())
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
                let clients = Arc::clone(&self.clients);
                Box::pin(call_network(
                    clients, target, reach, request, options, context,
                ))
            }
            Ok(Destination::Service(id)) => self.link.call(Some(&id), request, context),
            Ok(Destination::Itself) => self.link.call(None, request, context),
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
        let Some(authority) = uri.authority() else {
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
        let scheme = uri.scheme_str().unwrap_or("http").to_ascii_lowercase();
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let host = host.to_ascii_lowercase();
        if let Some(id) = service_of(&host) {
            if !allows_service(&self.hosts, &scheme, id) {
                return Err(denied("not in allowed_outbound_hosts"));
            }
            if deep {
                return Err((HttpError::LoopDetected, "too many components in a row"));
            }
            return Ok(Destination::Service(id.to_owned()));
        }
        let port = authority
            .port_u16()
            .or_else(|| default_port(&scheme))
            .ok_or((HttpError::HttpRequestUriInvalid, "unknown scheme"))?;
        let target = Target { scheme, host, port };
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

async fn call_network(
    clients: Arc<Clients>,
    target: Target,
    reach: Reach,
    mut request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
    context: Option<Arc<CallContext>>,
) -> Result<http::Response<WasiBody>, HttpError> {
    let client = match reach {
        Reach::Literal => &clients.literal,
        Reach::PublicOnly => &clients.public_only,
    };
    let options = options.unwrap_or_default();
    let first_byte = options.first_byte_timeout.unwrap_or(FIRST_BYTE_TIME_MAX);
    let between = options
        .between_bytes_timeout
        .unwrap_or(BETWEEN_BYTES_TIME_MAX);
    let first_byte = first_byte.min(FIRST_BYTE_TIME_MAX);
    if let Some(traceparent) = context
        .as_ref()
        .and_then(|context| context.traceparent.clone())
    {
        request
            .headers_mut()
            .entry("traceparent")
            .or_insert(traceparent);
    }
    let asker = Asker::of(context.as_deref());
    let answer = tokio::select! {
        biased;
        gone = asker.left() => Err(gone),
        answer = tokio::time::timeout(first_byte, client.request(request)) => match answer {
            Err(_) => Err(HttpError::ConnectionReadTimeout),
            Ok(Err(error)) => Err(explain(&error)),
            Ok(Ok(response)) => Ok(response),
        },
    };
    clients
        .metrics
        .outbound(&target.host, if answer.is_ok() { "ok" } else { "error" });
    match answer {
        Ok(response) => Ok(response.map(|body| {
            let body = TimedBody::new(body, between).boxed_unsync();
            asker.watch(body).boxed_unsync()
        })),
        Err(error) => {
            tracing::debug!(host = target.host, %error, "outbound request failed");
            Err(error)
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
