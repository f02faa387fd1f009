//! The operator's port: is the process alive, is it ready, and its figures.
//!
//! Plain HTTP, meant for this machine or a private network. It does NOT reach components.

use crate::backend_child::Backend;
use crate::metrics::Metrics;
use http::{Method, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections of the operator at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// What the operator may ask about.
pub(crate) struct Operator {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) backend: Option<Arc<Backend>>,
    /// Cancelled while the process drains.
    pub(crate) draining: CancellationToken,
}

/// Serves until the process ends.
pub(crate) fn serve(listener: TcpListener, operator: Operator) {
    let operator = Arc::new(operator);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                continue;
            };
            let operator = Arc::clone(&operator);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = operator.respond(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIME_MAX)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(place);
            });
        }
    });
}

impl Operator {
    fn respond(&self, request: &http::Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, text) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
            (&Method::GET | &Method::HEAD, "/readyz") => self.ready(),
            (&Method::GET, "/metrics") => (StatusCode::OK, self.metrics.text()),
            (_, "/healthz" | "/readyz" | "/metrics") => {
                (StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned())
            }
            _ => (
                StatusCode::NOT_FOUND,
                "/healthz, /readyz or /metrics\n".to_owned(),
            ),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
        );
        response
    }

    fn ready(&self) -> (StatusCode, String) {
        if self.draining.is_cancelled() {
            return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
        }
        match &self.backend {
            Some(backend) if !backend.is_up() => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the backend is down\n".to_owned(),
            ),
            _ => (StatusCode::OK, "ready\n".to_owned()),
        }
    }
}
