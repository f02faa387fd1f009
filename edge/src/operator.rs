//! The operator's port: is the process alive, is it ready, and its figures.
//!
//! Plain HTTP, meant for this machine or a private network. A page in a browser there whose
//! name leads here all of a sudden is not answered: hosts are addresses, `localhost` or what
//! the operator names. It does NOT reach components.

use crate::backend_child::Backend;
use crate::metrics::Metrics;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
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
    /// Names by which the port may be asked, besides `localhost`.
    pub(crate) hosts: Vec<String>,
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
    fn respond<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let (status, text) = match (request.method(), request.uri().path()) {
            _ if !is_for(request, &self.hosts) => (
                StatusCode::MISDIRECTED_REQUEST,
                "ask by address, by localhost, or by a name of --operator-host\n".to_owned(),
            ),
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

/// Does the request name a host that is this port's? A browser says which name led it here, and
/// no page can have it say another (DNS rebinding). A client that says none is no browser.
fn is_for<B>(request: &Request<B>, hosts: &[String]) -> bool {
    let mut named = request.headers().get_all(header::HOST).iter();
    let header = named.next().map(|host| {
        let host = host.to_str().ok()?;
        host.parse::<Authority>().ok()
    });
    let is_ours = |host: &Authority| {
        let host = host.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let mut names = hosts.iter().map(String::as_str).chain(["localhost"]);
        address.parse::<IpAddr>().is_ok() || names.any(|name| name.eq_ignore_ascii_case(host))
    };
    let by_header = header.is_none_or(|host| host.as_ref().is_some_and(is_ours));
    named.next().is_none() && by_header && request.uri().authority().is_none_or(is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_made_to_lead_here_is_not_answered() {
        let hosts = ["metrics.internal".to_owned()];
        let ask = |target: &str, named: &[&str]| {
            let mut request = Request::get(target);
            for host in named {
                request = request.header("host", *host);
            }
            is_for(&request.body(()).unwrap(), &hosts)
        };
        for host in [
            "127.0.0.1:9443",
            "localhost:9443",
            "LOCALHOST",
            "[::1]:9443",
            "10.1.2.3",
            "metrics.internal:9443",
        ] {
            assert!(ask("/metrics", &[host]), "{host}");
        }
        assert!(ask("/metrics", &[]));
        assert!(ask("http://127.0.0.1:9443/metrics", &[]));
        for host in [
            "evil.example",
            "evil.example:9443",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost.",
            "metrics.internal.evil.example",
            "0x7f.1.example",
            "",
            "a b",
        ] {
            assert!(!ask("/metrics", &[host]), "{host}");
        }
        assert!(!ask("/metrics", &["localhost", "localhost"]));
        assert!(!ask("http://evil.example/metrics", &["localhost"]));
    }
}
