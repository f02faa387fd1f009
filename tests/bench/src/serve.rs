//! Accepts connections on one address and serves HTTP/1.1 and HTTP/2 on them.
//!
//! Prints `listening on http://ADDRESS` once it accepts, as `gpu-backend` does, so
//! that port 0 can be asked for. Knows nothing of what is served.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::Context;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

/// Serves until the process is stopped.
pub async fn serve<A, F, B>(listen: SocketAddr, answer: A) -> anyhow::Result<()>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind(listen).await.context("cannot listen")?;
    announce(listener.local_addr()?)?;
    loop {
        let Ok((stream, _peer)) = listener.accept().await else {
            continue;
        };
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let reply = answer(request);
                async move { Ok::<_, Infallible>(reply.await) }
            });
            // A client that goes away is the client's affair.
            let _ = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}
