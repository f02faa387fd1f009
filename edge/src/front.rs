//! The front door: connections in, requests handed to the application, answers out.
//!
//! It knows sockets, TLS, HTTP framing and limits; it does NOT know routes or components.

mod body;
pub(crate) mod compression;
mod connections;
pub(crate) mod cors;
mod frames;
pub(crate) mod framing;
pub(crate) mod http3;
mod linger;
mod network;
mod opening;
pub(crate) mod proxied;
mod seated;
mod seats;
mod stalled;
mod strangers;
mod taken;
pub(crate) mod tls;

use crate::dispatch::answer::Answer;
use crate::dispatch::{Origin, headers};
use crate::error::Refusal;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::overload::Share;
use crate::thread_time;
use crate::versions::Versions;
use body::{Broken, LimitedBody};
use bytes::Bytes;
use compression::{Compressed, Compression};
use connections::{Connections, Place};
use cors::{AllowedOrigin, Cors};
use edge_bindings::port::CallContext;
use frames::Calm;
use framing::Unambiguous;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use ipnet::IpNet;
use linger::Lingering;
use network::Network;
use opening::Opening;
use seated::Seated;
use seats::{Seat, Seats};
use stalled::Unstalled;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use strangers::{Credential, Strangers};
use taken::{Answering, Portions, Streams};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiBody;

/// How long accepting pauses when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a client may remember that HTTP/3 is served: a day.
const ALT_SVC_S: u32 = 86_400;

/// What all listeners share.
pub(crate) struct Front {
    versions: Arc<Versions>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Arc<Metrics>,
    connections: Arc<Connections>,
    seats: Arc<Seats>,
    strangers: Strangers,
    /// Load balancers, whose connections begin with whom they are for.
    balancers: Vec<IpNet>,
    cors: Cors,
    overload: Arc<Share>,
    /// Whose answers say how long each part of their way took.
    timed_for: Vec<IpNet>,
    compression: Compression,
    server: auto::Builder<Streams>,
    /// Cancelled to stop accepting.
    pub(crate) stop: CancellationToken,
    tasks: TaskTracker,
    /// Tells clients of HTTPS that HTTP/3 is served beside it (RFC 7838).
    alt_svc: OnceLock<HeaderValue>,
}

/// What an operator may say besides limits, and how hard the process is pressed.
#[derive(Debug, Clone, Default)]
pub(crate) struct FrontOptions {
    pub(crate) balancers: Vec<IpNet>,
    pub(crate) cors_origins: Vec<AllowedOrigin>,
    pub(crate) overload: Arc<Share>,
    pub(crate) timed_for: Vec<IpNet>,
    pub(crate) compressed: Compressed,
}

impl Front {
    pub(crate) fn new(
        versions: Arc<Versions>,
        limits: Arc<Limits>,
        options: FrontOptions,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            versions,
            server: server(&limits),
            connections: Connections::new(&limits),
            seats: Seats::new(&limits, &metrics),
            strangers: Strangers::new(&limits),
            balancers: options.balancers,
            cors: Cors::new(options.cors_origins),
            overload: options.overload,
            timed_for: options.timed_for,
            compression: Compression::new(options.compressed, limits.compressed_answers_max),
            limits,
            metrics,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            alt_svc: OnceLock::new(),
        })
    }

    /// Accepts connections until told to stop.
    pub(crate) fn serve(self: &Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let front = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = front.stop.cancelled() => return,
                };
                match accepted {
                    Ok((stream, client)) => front.connected(stream, client, tls.clone()),
                    Err(error) => {
                        tracing::warn!(%error, "accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }

    fn connected(
        self: &Arc<Self>,
        mut stream: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
    ) {
        let _ = stream.set_nodelay(true);
        let front = Arc::clone(self);
        if !self.balancers.iter().any(|net| net.contains(&peer.ip())) {
            if let Some(place) = self.place(peer) {
                self.tasks.spawn(thread_time::host(async move {
                    front.secure(stream, peer, tls).await;
                    drop(place);
                }));
            }
            return;
        }
        self.tasks.spawn(thread_time::host(async move {
            let head = proxied::client_of(&mut stream, peer);
            match tokio::time::timeout(front.limits.opening_time_max, head).await {
                Ok(Ok(client)) => {
                    let Some(_place) = front.place(client) else {
                        return;
                    };
                    front.secure(stream, client, tls).await;
                }
                Ok(Err(error)) => {
                    front.metrics.refused("proxy-protocol");
                    tracing::debug!(%peer, %error, "a balancer's connection");
                }
                Err(_) => front.metrics.refused("proxy-protocol"),
            }
        }));
    }

    fn place(&self, client: SocketAddr) -> Option<Place> {
        let place = self.connections.admit(client.ip());
        if place.is_none() {
            self.metrics.refused("connections");
        }
        place
    }

    /// Shakes hands if it must, and speaks.
    async fn secure(
        self: &Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        tls: Option<TlsAcceptor>,
    ) {
        let stream = Unstalled::new(stream, self.limits.stall_time_max);
        self.metrics.connections.fetch_add(1, Relaxed);
        match tls {
            None => self.speak(stream, client, Scheme::HTTP).await,
            Some(acceptor) => {
                let handshake = acceptor.accept(stream);
                match tokio::time::timeout(self.limits.handshake_time_max, handshake).await {
                    Ok(Ok(stream)) if tls::is_proof(&stream) => {}
                    Ok(Ok(stream)) => self.speak(stream, client, Scheme::HTTPS).await,
                    Ok(Err(error)) => {
                        self.metrics.refused("tls");
                        tracing::debug!(%client, %error, "TLS handshake failed");
                    }
                    Err(_) => self.metrics.refused("tls"),
                }
            }
        }
        self.metrics.connections.fetch_sub(1, Relaxed);
    }

    /// Speaks HTTP on one connection until it ends.
    async fn speak<S>(self: &Arc<Self>, stream: S, client: SocketAddr, scheme: Scheme)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let front = Arc::clone(self);
        let service = service_fn(move |request| {
            let front = Arc::clone(&front);
            let scheme = scheme.clone();
            let answer = async move {
                let offered = front.alt_svc.get().filter(|_| scheme == Scheme::HTTPS);
                let mut answer = front.respond(request, client, scheme).await;
                if let Some(offered) = offered {
                    answer
                        .headers_mut()
                        .insert(header::ALT_SVC, offered.clone());
                }
                Ok::<_, Infallible>(answer.map(Portions::new))
            };
            Answering::new(answer)
        });
        let stream = Opening::new(stream, self.limits.opening_time_max);
        let stream = Calm::new(Unambiguous::new(stream), &self.limits, &self.metrics);
        let io = TokioIo::new(Lingering::new(stream));
        let connection = self.server.serve_connection(io, service);
        let graceful = GracefulShutdown::new();
        let mut connection = std::pin::pin!(graceful.watch(connection));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                // Streams in progress go on; the drain's deadline ends them.
                tokio::spawn(graceful.shutdown());
                connection.as_mut().await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%client, %error, "connection ended");
        }
    }

    /// Answers one request, whatever it came over.
    async fn respond<B>(
        &self,
        request: Request<B>,
        client: SocketAddr,
        scheme: Scheme,
    ) -> Response<Seated>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Broken>,
    {
        if let Some(answer) = self.cors.preflight(&request) {
            self.metrics.request("host", answer.status().as_u16());
            return answer.map(|()| {
                let answer = Answer::new(empty(), None, None, None, &self.metrics);
                Seated::new(answer, None)
            });
        }
        let reader = self.cors.allows(&request);
        let asked = self.compression.asked(&request);
        let (mut answer, seat) = match self.admit(&request, client).await {
            Ok(seat) => self.serve_seated(request, client, scheme, seat).await,
            Err(refusal) => (self.refuse(refusal), None),
        };
        self.cors.mark(reader, answer.headers_mut());
        self.compression.apply(asked, &mut answer);
        answer.map(|answer| Seated::new(answer, seat))
    }

    /// A seat for a request, before anything is done for it.
    async fn admit<B>(&self, request: &Request<B>, client: SocketAddr) -> Result<Seat, Refusal> {
        if !self.overload.admits() {
            self.metrics.refused("overload");
            return Err(Refusal::Busy);
        }
        let seat = self.seats.take(client.ip()).await.ok_or_else(|| {
            self.metrics.refused("requests");
            Refusal::Busy
        })?;
        taken::serves(seat.sitter());
        if let Some(credential) = self.credential(request) {
            let network = Network::of(client.ip());
            let admitted = self.strangers.admit(network, credential, Instant::now());
            admitted.map_err(|retry_after_s| {
                self.metrics.refused("unknown-credentials");
                Refusal::UnknownCredentials { retry_after_s }
            })?;
        }
        Ok(seat)
    }

    /// The credential that a component will look at. A preflight has none that it looks at.
    fn credential<B>(&self, request: &Request<B>) -> Option<Credential> {
        let path = request.uri().path();
        let is_looked_at = request.method() != Method::OPTIONS;
        is_looked_at
            .then(|| self.strangers.credential(path, request.headers()))
            .flatten()
    }

    /// Serves a request for as long as it has its seat.
    async fn serve_seated<B>(
        &self,
        request: Request<B>,
        client: SocketAddr,
        scheme: Scheme,
        seat: Seat,
    ) -> (Response<Answer>, Option<Seat>)
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Broken>,
    {
        let credential = self.credential(&request);
        let served = tokio::select! {
            biased;
            ending = seat.sitter().ended() => Err(ending),
            answer = self.serve_request(request, client, scheme, &seat) => Ok(answer),
        };
        match served {
            Ok(answer) => {
                if let Some(credential) = credential {
                    let (network, now) = (Network::of(client.ip()), Instant::now());
                    self.strangers
                        .answered(network, credential, answer.status(), now);
                }
                (answer, Some(seat))
            }
            Err(ending) => {
                if ending.is_answered_with() {
                    self.metrics.refused(ending.reason());
                }
                (self.refuse(ending.refusal()), None)
            }
        }
    }

    async fn serve_request<B>(
        &self,
        request: Request<B>,
        client: SocketAddr,
        scheme: Scheme,
        seat: &Seat,
    ) -> Response<Answer>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Broken>,
    {
        let origin = Origin {
            client,
            scheme,
            too_large: Arc::default(),
            body_bytes_max: self.limits.body_bytes_max,
            is_traced: headers::is_traced(request.headers()),
        };
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|bytes| bytes > self.limits.body_bytes_max) {
            self.metrics.refused("body");
            return self.refuse_body(request).await;
        }
        let mut request: Request<WasiBody> = request.map(|body| {
            let too_large = Arc::clone(&origin.too_large);
            LimitedBody::new(body, &self.limits, seat, too_large).boxed_unsync()
        });
        let gone = CancellationToken::new();
        let context = CallContext {
            depth: 0,
            traceparent: Some(headers::traceparent(request.headers_mut())),
            gone: gone.clone(),
            stages: self.timed_for(client).then(Arc::default),
        };
        // Dropped with this future when the client leaves before the answer begins.
        let leaving = gone.drop_guard();
        let app = self.versions.current();
        let response = app.call_outside(request, origin, context).await;
        leaving.disarm();
        response
    }

    fn timed_for(&self, client: SocketAddr) -> bool {
        let client = client.ip().to_canonical();
        self.timed_for.iter().any(|net| net.contains(&client))
    }

    /// Answers 413 once the client has had a chance to stop sending: an answer to a client
    /// that is still writing is lost with the connection.
    async fn refuse_body<B>(&self, request: Request<B>) -> Response<Answer>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let refusal = Refusal::BodyTooLarge {
            bytes_max: self.limits.body_bytes_max,
        };
        let waits = request.headers().contains_key(header::EXPECT);
        let swallow = async {
            let mut body = request.into_body();
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > self.limits.swallow_bytes_max {
                    return;
                }
            }
        };
        // A client that asked first has sent nothing yet, and need not.
        if !waits {
            let _ = tokio::time::timeout(self.limits.swallow_time_max, swallow).await;
        }
        self.refuse(refusal)
    }

    fn refuse(&self, refusal: Refusal) -> Response<Answer> {
        let response = refusal.response();
        self.metrics.request("host", response.status().as_u16());
        response.map(|body| Answer::new(body, None, None, None, &self.metrics))
    }

    /// From now on clients of HTTPS are told that HTTP/3 is served at this port.
    pub(crate) fn offer_http3(&self, port: u16) {
        let offer = format!("h3=\":{port}\"; ma={ALT_SVC_S}");
        if let Ok(offer) = HeaderValue::try_from(offer) {
            let _ = self.alt_svc.set(offer);
        }
    }

    /// Waits until every connection has ended, or the deadline. Says whether all did.
    pub(crate) async fn drain(&self, deadline: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .is_ok()
    }
}

fn empty() -> WasiBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn server(limits: &Limits) -> auto::Builder<Streams> {
    let mut server = auto::Builder::new(Streams {
        stall_max: limits.stall_time_max,
    });
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time_max)
        .max_buf_size(limits.header_bytes_max);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits.resets_pending_max)
        .max_local_error_reset_streams(limits.resets_pending_max)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_time_max)
        .max_send_buf_size(limits.send_buffer_bytes)
        .initial_connection_window_size(limits.receive_window_bytes)
        .initial_stream_window_size(limits.receive_window_bytes / 2);
    server
}
