//! The front door: connections in, requests handed to the application, answers out.
//!
//! It knows sockets, TLS, HTTP framing and limits; it does NOT know routes or components.

mod body;
pub(crate) mod limits;
mod linger;
mod opening;
mod stalled;
mod taken;
pub(crate) mod tls;

use crate::app::App;
use crate::dispatch::answer::Answer;
use crate::dispatch::{Origin, headers};
use crate::error::Refusal;
use crate::metrics::Metrics;
use body::LimitedBody;
use edge_bindings::port::CallContext;
use http::uri::Scheme;
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use limits::{Connections, Limits};
use linger::Lingering;
use opening::Opening;
use stalled::Unstalled;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use taken::{Answering, Portions, Streams};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiBody;

/// How long accepting pauses when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all listeners share.
pub(crate) struct Front {
    pub(crate) app: Arc<App>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    connections: Arc<Connections>,
    server: auto::Builder<Streams>,
    /// Cancelled to stop accepting.
    pub(crate) stop: CancellationToken,
    tasks: TaskTracker,
}

impl Front {
    pub(crate) fn new(app: Arc<App>, limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            app,
            server: server(&limits),
            connections: Connections::new(&limits),
            limits,
            metrics,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
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
        stream: TcpStream,
        client: SocketAddr,
        tls: Option<TlsAcceptor>,
    ) {
        let Some(place) = self.connections.admit(client.ip()) else {
            self.metrics.refused("connections");
            return;
        };
        let _ = stream.set_nodelay(true);
        let stream = Unstalled::new(stream, self.limits.stall_time_max);
        let front = Arc::clone(self);
        self.tasks.spawn(async move {
            front.metrics.connections.fetch_add(1, Relaxed);
            match tls {
                None => front.speak(stream, client, Scheme::HTTP).await,
                Some(acceptor) => {
                    let handshake = acceptor.accept(stream);
                    match tokio::time::timeout(front.limits.handshake_time_max, handshake).await {
                        Ok(Ok(stream)) => front.speak(stream, client, Scheme::HTTPS).await,
                        Ok(Err(error)) => {
                            front.metrics.refused("tls");
                            tracing::debug!(%client, %error, "TLS handshake failed");
                        }
                        Err(_) => front.metrics.refused("tls"),
                    }
                }
            }
            front.metrics.connections.fetch_sub(1, Relaxed);
            drop(place);
        });
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
                let answer = front.respond(request, client, scheme).await;
                Ok::<_, Infallible>(answer.map(Portions::new))
            };
            Answering::new(answer)
        });
        let stream = Opening::new(stream, self.limits.opening_time_max);
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

    async fn respond(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
        scheme: Scheme,
    ) -> Response<Answer> {
        let origin = Origin {
            client,
            scheme,
            too_large: Arc::default(),
            body_bytes_max: self.limits.body_bytes_max,
        };
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|bytes| bytes > self.limits.body_bytes_max) {
            self.metrics.refused("body");
            return self.refuse_body(request).await;
        }
        let mut request: Request<WasiBody> = request.map(|body| {
            LimitedBody::new(body, &self.limits, Arc::clone(&origin.too_large)).boxed_unsync()
        });
        let gone = CancellationToken::new();
        let context = CallContext {
            depth: 0,
            traceparent: Some(headers::traceparent(request.headers_mut())),
            gone: gone.clone(),
        };
        // Dropped with this future when the client leaves before the answer begins.
        let leaving = gone.drop_guard();
        let response = self.app.call_outside(request, origin, context).await;
        leaving.disarm();
        response
    }

    /// Answers 413 once the client has had a chance to stop sending: an answer to a client
    /// that is still writing is lost with the connection.
    async fn refuse_body(&self, request: Request<Incoming>) -> Response<Answer> {
        let refusal = Refusal::BodyTooLarge {
            bytes_max: self.limits.body_bytes_max,
        };
        let waits = request.headers().contains_key(header::EXPECT);
        let swallow = async {
            let mut body = request.into_body();
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
                if bytes > self.limits.swallow_bytes_max {
                    return;
                }
            }
        };
        // A client that asked first has sent nothing yet, and need not.
        if !waits {
            let _ = tokio::time::timeout(self.limits.swallow_time_max, swallow).await;
        }
        self.metrics.request("host", 413);
        refusal
            .response()
            .map(|body| Answer::new(body, None, None, None, &self.metrics))
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
        .max_send_buf_size(limits.send_buffer_bytes);
    server
}
