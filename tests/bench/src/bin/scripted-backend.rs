//! An engine that thinks of nothing: it stands behind `edge` where `gpu-backend`
//! stands, and answers as the prompt's script says. With it the price of everything
//! in front is measured, and failures are made that a good engine does not have.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bench::chat::{self, Piece, Turn};
use bench::counters::{Counters, Running};
use bytes::Bytes;
use clap::Parser;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};

const REQUEST_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let counters = Arc::new(Counters::default());
    bench::serve::serve(options.listen, move |request| {
        answer(request, Arc::clone(&counters))
    })
    .await
}

async fn answer(request: Request<Incoming>, counters: Arc<Counters>) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") => whole(StatusCode::OK, &json!({ "status": "ready" })),
        (&Method::GET, "/v1/models") => whole(
            StatusCode::OK,
            &json!({ "object": "list", "data": [{
                "id": chat::MODEL, "object": "model", "created": 1, "owned_by": "bench",
                "max_model_len": 8192,
            }]}),
        ),
        (&Method::GET, "/metrics") => text(counters.text()),
        (&Method::POST, "/v1/chat/completions") => complete(request, counters).await,
        _ => whole(
            StatusCode::NOT_FOUND,
            &chat::error("no such route", "invalid_request_error"),
        ),
    }
}

async fn complete(request: Request<Incoming>, counters: Arc<Counters>) -> Response<Body> {
    let read = Limited::new(request.into_body(), REQUEST_BYTES_MAX)
        .collect()
        .await;
    let parsed = match read {
        Ok(body) => Turn::parse(&body.to_bytes()),
        Err(error) => Err(anyhow::anyhow!(error)),
    };
    let turn = match parsed {
        Ok(turn) => turn,
        Err(error) => {
            let body = chat::error(&format!("{error:#}"), "invalid_request_error");
            return whole(StatusCode::BAD_REQUEST, &body);
        }
    };
    tokio::time::sleep(turn.script.wait).await;
    if turn.script.status != 200 {
        return failure(turn.script.status, turn.script.retry_after_s);
    }
    if turn.is_stream {
        return streamed(&turn, counters);
    }
    Running::start(counters).finish();
    whole(StatusCode::OK, &turn.whole())
}

fn streamed(turn: &Turn, counters: Arc<Counters>) -> Response<Body> {
    let frames = turn.stream(counters).map(|piece| match piece {
        Piece::Event(bytes) => Ok(Frame::data(bytes)),
        Piece::Cut => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/event-stream"),
    );
    response
}

fn failure(status: u16, retry_after_s: u32) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if status.is_server_error() {
        "server_error"
    } else {
        "rate_limit_error"
    };
    let mut response = whole(status, &chat::error("the script says so", kind));
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, retry_after_s.into());
    response
}

fn whole(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = text(value.to_string());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}

fn text(text: String) -> Response<Body> {
    Response::new(
        Full::new(Bytes::from(text))
            .map_err(infallible)
            .boxed_unsync(),
    )
}

fn infallible(never: Infallible) -> io::Error {
    match never {}
}
