//! HTTP/1.1 and HTTP/2 (prior knowledge) on one port: accepts connections within
//! limits, routes requests, drains on shutdown. The first stop of a request's path.
//! Knows no tensor and no token.

mod api_key;
mod error;
mod in_flight;
mod io;
mod reply;
mod request;
mod routes;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::chat::{Chat, ChatRequest};
use crate::encoder::Encoder;
use crate::metrics::Metrics;
pub use api_key::{ApiKey, NotAKey};
use error::ApiError;
pub use in_flight::InFlight;
use io::TimedIo;

/// Open connections; more wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 4096;
/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Header fields of a request.
const HEADERS_MAX: usize = 100;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: u32 = 64 << 10;
/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 1024;
/// For a request's head, and between two requests of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// For a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// For a client to take any byte that is offered to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an HTTP/2 connection is asked whether its client is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// After a failed accept (no file descriptors are left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The model that is served.
#[derive(Debug)]
pub enum Served {
    /// It generates text.
    Generator(Box<Chat>),
    /// It turns texts into vectors or scores.
    Encoder {
        encoder: Encoder,
        metrics: Box<Metrics>,
    },
}

impl Served {
    /// Longest input, and for a generator its answer too, in tokens.
    fn tokens_max(&self) -> usize {
        match self {
            Self::Generator(chat) => chat.context(),
            Self::Encoder { encoder, .. } => encoder.tokens_max(),
        }
    }

    fn suggestions(&self) -> &[String] {
        match self {
            Self::Generator(chat) => chat.suggestions(),
            Self::Encoder { .. } => &[],
        }
    }

    fn metrics(&self) -> &Metrics {
        match self {
            Self::Generator(chat) => chat.handle().metrics(),
            Self::Encoder { metrics, .. } => metrics,
        }
    }

    /// Its thread has ended.
    pub fn is_dead(&self) -> bool {
        match self {
            Self::Generator(chat) => chat.handle().is_dead(),
            Self::Encoder { encoder, .. } => encoder.is_dead(),
        }
    }
}

/// What all requests share.
#[derive(Debug)]
pub struct Service {
    /// The model's public name.
    pub model_name: String,
    /// Asked for by every route that runs or describes the model; none if absent.
    pub api_key: Option<ApiKey>,
    /// Unix time at start, reported as the model's creation.
    pub started: u64,
    /// Empty while the model loads.
    pub model: OnceLock<Served>,
    /// Requests whose answers are not complete.
    pub in_flight: InFlight,
    /// Cancelled when the process shuts down.
    pub draining: CancellationToken,
    /// How long open streams may go on after that.
    pub drain_max: Duration,
}

impl Service {
    /// Checks the name by which a request calls the model.
    fn is_named(&self, name: &str) -> Result<(), ApiError> {
        if name == self.model_name {
            Ok(())
        } else {
            Err(ApiError::UnknownModel(name.chars().take(200).collect()))
        }
    }

    /// As [`Self::is_named`], where a request need not say.
    fn is_named_if_at_all(&self, name: Option<&str>) -> Result<(), ApiError> {
        name.map_or(Ok(()), |name| self.is_named(name))
    }
}

/// The chat that a body of `/v1/chat/completions` asks for, without any model: for who
/// checks or renders bodies elsewhere. `vocab`: token ids are below it.
///
/// # Errors
/// What is wrong with the body, as a client is told.
pub fn chat_request(body: &[u8], vocab: usize) -> Result<ChatRequest, String> {
    let valid = request::parse(body, vocab).map_err(|invalid| invalid.message)?;
    Ok(valid.chat)
}

/// As [`chat_request`], for a body of any route; a route without a body takes all.
///
/// # Errors
/// What is wrong with the body, as a client is told.
pub fn check_body(path: &str, body: &[u8], vocab: usize) -> Result<(), String> {
    use request::{completion, encoding, tokenization};
    let checked = match path {
        "/v1/chat/completions" => request::parse(body, vocab).map(drop),
        "/v1/completions" => completion::parse(body, vocab).map(drop),
        // A model with as many dimensions as a body may ask for.
        "/v1/embeddings" => encoding::embeddings(body, vocab, usize::MAX).map(drop),
        "/v1/rerank" => encoding::rerank(body).map(drop),
        "/tokenize" => tokenization::tokenize(body).map(drop),
        "/detokenize" => tokenization::detokenize(body, vocab).map(drop),
        _ => Ok(()),
    };
    checked.map_err(|invalid| invalid.message)
}

/// Serves until `service.draining` is cancelled, then lets open requests end.
pub async fn serve(listener: TcpListener, service: Arc<Service>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let tasks = tokio_util::task::TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = service.draining.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let connection = builder()
            .serve_connection(
                TokioIo::new(TimedIo::new(stream, WRITE_TIMEOUT)),
                service_fn({
                    let service = service.clone();
                    move |request| routes::handle(service.clone(), request)
                }),
            )
            .into_owned();
        let watched = graceful.watch(connection);
        tasks.spawn(async move {
            if let Err(error) = watched.await {
                // A client that hangs up or sends rubbish is its own business.
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    let drained = tokio::time::timeout(service.drain_max, async {
        graceful.shutdown().await;
        tasks.wait().await;
    });
    if drained.await.is_err() {
        tracing::warn!("streams were still open at the end of the drain time");
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = connections.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX);
    builder
}
