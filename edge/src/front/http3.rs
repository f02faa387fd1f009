//! HTTP/3: QUIC connections in, the same requests and answers as over TCP.
//!
//! It knows QUIC, HTTP/3 framing and their limits; it does NOT know routes or components.

mod body;
mod transport;

use super::Front;
use super::seated::Seated;
use super::tls::Tls;
use crate::error::Refusal;
use crate::limits::Limits;
use crate::thread_time;
use body::Http3Body;
use bytes::Bytes;
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime, TransportConfig, VarInt};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;
use tokio::time::timeout;
use transport::{Receiving, Sending, Transport, Watch};

/// What a client is sent at once: it must be able to take so much within the limit.
const PORTION_BYTES_MAX: usize = 16 << 10;
/// Streams of one direction that a client may open: control and two for field compression,
/// and some that mean nothing (RFC 9114 §6.2.3).
const CONTROL_STREAMS_MAX: u32 = 8;
/// What one stream, and all of a connection, may have sent before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Fields that speak of a TCP connection, and have no place here (RFC 9114 §4.2).
const OF_A_CONNECTION: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

type Sender = RequestStream<Sending<Bytes>, Bytes>;

/// Opens the socket's endpoint.
///
/// # Errors
/// The certificates do not serve, or the socket does not.
pub(crate) fn endpoint(socket: UdpSocket, tls: &Tls, limits: &Limits) -> Result<Endpoint, String> {
    let crypto = tls.for_quic()?;
    let crypto = QuicServerConfig::try_from(crypto).map_err(|error| error.to_string())?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport_config(limits)?));
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)
        .map_err(|error| error.to_string())
}

fn transport_config(limits: &Limits) -> Result<TransportConfig, String> {
    let mut config = TransportConfig::default();
    let idle = limits.ping_interval + limits.ping_time_max;
    let idle = idle.try_into().map_err(|_| "the idle time is too long")?;
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_per_connection_max))
        .max_concurrent_uni_streams(VarInt::from_u32(CONTROL_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(16 * limits.send_buffer_bytes as u64)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(limits.ping_interval))
        .max_idle_timeout(Some(idle));
    Ok(config)
}

impl Front {
    /// Accepts QUIC connections until told to stop.
    pub(crate) fn serve_quic(self: &Arc<Self>, endpoint: Endpoint) {
        let front = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                let incoming = tokio::select! {
                    incoming = endpoint.accept() => incoming,
                    () = front.stop.cancelled() => break,
                };
                match incoming {
                    Some(incoming) => front.quic_connected(incoming),
                    None => return,
                }
            }
            // Who comes now is refused; what is open goes on.
            endpoint.set_server_config(None);
            endpoint.wait_idle().await;
        });
    }

    fn quic_connected(self: &Arc<Self>, incoming: Incoming) {
        // Anybody can write any address on a packet. When places become rare, who asks for
        // one has to show that it gets what is sent there.
        if self.connections.are_rare() && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            return;
        }
        let Some(place) = self.place(incoming.remote_address()) else {
            incoming.refuse();
            return;
        };
        let front = Arc::clone(self);
        self.tasks.spawn(thread_time::host(async move {
            front.metrics.connections.fetch_add(1, Relaxed);
            match timeout(front.limits.handshake_time_max, incoming).await {
                Ok(Ok(connection)) => front.speak_http3(connection).await,
                Ok(Err(error)) => {
                    front.metrics.refused("tls");
                    tracing::debug!(%error, "QUIC handshake failed");
                }
                Err(_) => front.metrics.refused("tls"),
            }
            front.metrics.connections.fetch_sub(1, Relaxed);
            drop(place);
        }));
    }

    /// Speaks HTTP/3 on one connection until it ends.
    async fn speak_http3(self: &Arc<Self>, connection: quinn::Connection) {
        let client = connection.remote_address();
        let header_bytes_max = self.limits.header_bytes_max;
        let (transport, watches) = Transport::new(connection, header_bytes_max);
        let mut builder = h3::server::builder();
        builder.max_field_section_size(header_bytes_max as u64);
        let Ok(mut connection) = builder.build(transport).await else {
            return;
        };
        let mut streams = JoinSet::new();
        let mut resets = Resets::new(self.limits.resets_per_second_max);
        let mut stopping = false;
        while !(stopping && streams.is_empty()) {
            tokio::select! {
                accepted = connection.accept() => match (accepted, watches.take()) {
                    (Ok(Some(request)), Some(watch)) => {
                        let served = Arc::clone(self).serve_stream(request, watch, client);
                        streams.spawn(thread_time::host(served));
                    }
                    (Ok(_), _) => break,
                    (Err(error), _) => {
                        tracing::debug!(%client, %error, "connection ended");
                        break;
                    }
                },
                Some(ended) = streams.join_next() => {
                    let was_reset = matches!(ended, Ok(StreamEnd::Reset));
                    if was_reset && !resets.may(Instant::now()) {
                        self.metrics.refused("resets");
                        break;
                    }
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    if connection.shutdown(0).await.is_err() {
                        break;
                    }
                }
            }
        }
        // Streams that are left are dropped with their set: their client is gone.
    }

    async fn serve_stream(
        self: Arc<Self>,
        request: RequestResolver<Transport<Bytes>, Bytes>,
        mut watch: Watch,
        client: SocketAddr,
    ) -> StreamEnd {
        let head = timeout(self.limits.head_time_max, request.resolve_request()).await;
        let Ok(Ok((request, stream))) = head else {
            return StreamEnd::Reset;
        };
        let body_bytes = usize::try_from(self.limits.body_bytes_max).unwrap_or(usize::MAX);
        watch.allow(body_bytes.saturating_add(self.limits.header_bytes_max));
        let (mut sender, receiver) = stream.split();
        let is_head = request.method() == Method::HEAD;
        let answer = tokio::select! {
            answer = self.answer_http3(request, receiver, client) => answer,
            () = watch.left() => return StreamEnd::Reset,
        };
        let sitter = answer.body().seat().map(|seat| Arc::clone(seat.sitter()));
        let gave_way = async {
            match &sitter {
                Some(sitter) => drop(sitter.ended().await),
                None => std::future::pending().await,
            }
        };
        let sent = tokio::select! {
            sent = self.send(&mut sender, answer, is_head) => sent,
            () = gave_way => Err(Cut),
            () = watch.left() => return StreamEnd::Reset,
        };
        if sent.is_err() {
            sender.stop_stream(Code::H3_INTERNAL_ERROR);
            return StreamEnd::Broken;
        }
        // Until all of it has arrived: a connection that is closed sends nothing again.
        let _ = timeout(self.limits.stall_time_max, watch.left()).await;
        StreamEnd::Whole
    }

    async fn answer_http3(
        &self,
        request: Request<()>,
        receiver: RequestStream<Receiving, Bytes>,
        client: SocketAddr,
    ) -> Response<Seated> {
        let foreign = |name: &HeaderName| OF_A_CONNECTION.contains(name);
        if request.headers().keys().any(foreign) {
            let answer = self.refuse(Refusal::Malformed);
            return answer.map(|answer| Seated::new(answer, None));
        }
        let body = Http3Body::new(receiver, request.headers());
        let request = request.map(|()| body);
        self.respond(request, client, Scheme::HTTPS).await
    }

    /// Sends an answer as fast as its client takes it.
    async fn send(
        &self,
        sender: &mut Sender,
        answer: Response<Seated>,
        is_head: bool,
    ) -> Result<(), Cut> {
        let (mut parts, mut body) = answer.into_parts();
        complete(&mut parts.headers, parts.status);
        let head = Response::from_parts(parts, ());
        self.in_time(sender.send_response(head)).await?;
        while !is_head && let Some(frame) = body.frame().await {
            match frame.map_err(|_| Cut)?.into_data() {
                Ok(mut data) => {
                    body.waits_for_client(true);
                    while !data.is_empty() {
                        let portion = data.split_to(data.len().min(PORTION_BYTES_MAX));
                        self.in_time(sender.send_data(portion)).await?;
                    }
                    body.waits_for_client(false);
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.in_time(sender.send_trailers(trailers)).await?;
                }
            }
        }
        self.in_time(sender.finish()).await
    }

    /// One step that waits for the client only.
    async fn in_time(
        &self,
        step: impl Future<Output = Result<(), StreamError>>,
    ) -> Result<(), Cut> {
        match timeout(self.limits.stall_time_max, step).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Cut),
        }
    }
}

/// An answer that does not reach its end.
struct Cut;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamEnd {
    Whole,
    /// By the component, or by a client that takes nothing.
    Broken,
    /// By the client, before its answer was whole.
    Reset,
}

/// Adds what hyper adds to an answer over TCP, and takes away what has no place here.
fn complete(headers: &mut HeaderMap, status: StatusCode) {
    for name in OF_A_CONNECTION {
        headers.remove(name);
    }
    if !status.is_informational() && !headers.contains_key(header::DATE) {
        let now = httpdate::fmt_http_date(SystemTime::now());
        if let Ok(now) = HeaderValue::try_from(now) {
            headers.insert(header::DATE, now);
        }
    }
}

/// How many streams a client may break off: a bucket that fills again in a second.
#[derive(Debug)]
struct Resets {
    left: f64,
    per_second: f64,
    seen: Instant,
}

impl Resets {
    fn new(per_second: u32) -> Self {
        Self {
            left: f64::from(per_second),
            per_second: f64::from(per_second),
            seen: Instant::now(),
        }
    }

    /// Counts one, and says whether it is still within the limit.
    fn may(&mut self, now: Instant) -> bool {
        let passed: Duration = now.saturating_duration_since(self.seen);
        self.seen = now;
        let filled = self.left + passed.as_secs_f64() * self.per_second;
        self.left = filled.min(self.per_second) - 1.0;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_limited_and_forgotten() {
        let mut resets = Resets::new(10);
        let start = Instant::now();
        assert!((0..10).all(|_| resets.may(start)));
        assert!(!resets.may(start), "the eleventh in one moment");
        let later = start + Duration::from_secs(2);
        assert!((0..10).all(|_| resets.may(later)));
        assert!(!resets.may(later));
        // One every tenth of a second may go on for ever.
        let mut at = start + Duration::from_secs(4);
        for _ in 0..1_000 {
            assert!(resets.may(at));
            at += Duration::from_millis(101);
        }
    }
}
