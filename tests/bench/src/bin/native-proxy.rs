//! The floor of a gateway: hyper hands each request to one server and its answer back, as
//! it comes, and looks at neither. What the star adds to this is its price.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server behind it, `http://HOST:PORT`.
    #[arg(long)]
    to: Uri,
}

struct Proxy {
    client: Client<HttpConnector, Incoming>,
    to: Authority,
}

type Body = Either<Incoming, Full<Bytes>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    let proxy = Arc::new(Proxy {
        client: Client::builder(TokioExecutor::new()).build(tcp),
        to: options
            .to
            .authority()
            .context("--to names no host")?
            .clone(),
    });
    bench::serve::serve(options.listen, move |request| {
        let proxy = Arc::clone(&proxy);
        async move { proxy.pass_on(request).await }
    })
    .await
}

impl Proxy {
    async fn pass_on(&self, mut request: Request<Incoming>) -> Response<Body> {
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.to.clone());
        let Ok(uri) = Uri::from_parts(parts) else {
            return failed(
                StatusCode::BAD_REQUEST,
                "the target of the request has no path",
            );
        };
        *request.uri_mut() = uri;
        match self.client.request(request).await {
            Ok(answer) => answer.map(Either::Left),
            Err(error) => failed(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
    }
}

fn failed(status: StatusCode, words: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("{words}\n")));
    let mut answer = Response::new(Either::Right(body));
    *answer.status_mut() = status;
    answer
}
