//! The routes: which path does what, with which body, and the line in the log. What a
//! family of routes does stands beside this file.
//! Knows nothing of a request's fields (`request.rs`) or of an answer's form
//! (`reply.rs`).

mod body;
mod encoding;
mod generation;
mod status;
mod tokenization;
mod wrong_path;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::{Body as _, Incoming};

use super::error::{ApiError, respond};
use super::reply::{self, Body, full};
use super::{Served, Service};
use crate::chat::Chat;
use crate::encoder::Encoder;
use crate::metrics::Metrics;

/// Longest `x-request-id` that is taken over.
const REQUEST_ID_MAX: usize = 128;

/// Answers one request; never fails, for every error is a response.
pub(super) async fn handle(
    service: Arc<Service>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let began = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let id = request_id(&request);
    let mut response = match route(&service, request).await {
        Ok(response) => response,
        Err(error) => respond(error),
    };
    if method == Method::HEAD {
        response = without_body(response);
    }
    tracing::info!(
        %method,
        path = Route::of(&path).1,
        status = response.status().as_u16(),
        head_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        request_id = id.to_str().unwrap_or_default(),
        "request"
    );
    response.headers_mut().insert("x-request-id", id);
    Ok(response)
}

/// A path that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    ChatCompletions,
    Completions,
    Embeddings,
    Rerank,
    Tokenize,
    Detokenize,
    Models,
    Model,
    Health,
    Load,
    Metrics,
}

/// The response to `HEAD`: the fields of the one to `GET` (RFC 9110 §9.3.2).
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|_| full(Bytes::new()))
}

/// Before the name of one model.
const MODEL: &str = "/v1/models/";

impl Route {
    /// The paths, each with its route.
    const PATHS: [(&'static str, Self); 10] = [
        ("/v1/chat/completions", Self::ChatCompletions),
        ("/v1/completions", Self::Completions),
        ("/v1/embeddings", Self::Embeddings),
        ("/v1/rerank", Self::Rerank),
        ("/tokenize", Self::Tokenize),
        ("/detokenize", Self::Detokenize),
        ("/v1/models", Self::Models),
        ("/health", Self::Health),
        ("/load", Self::Load),
        ("/metrics", Self::Metrics),
    ];

    /// The route of a path, and the path as it is logged: an unknown one may hold
    /// anything. A slash at the end, which some clients' base addresses bring, means
    /// nothing.
    fn of(path: &str) -> (Option<Self>, &'static str) {
        let path = path.strip_suffix('/').unwrap_or(path);
        match Self::PATHS.into_iter().find(|(known, _)| *known == path) {
            Some((known, route)) => (Some(route), known),
            None if path.starts_with(MODEL) => (Some(Self::Model), MODEL),
            None => (None, "unknown"),
        }
    }

    /// The methods, as `Allow` lists them.
    fn methods(self) -> &'static str {
        match self {
            Self::ChatCompletions
            | Self::Completions
            | Self::Embeddings
            | Self::Rerank
            | Self::Tokenize
            | Self::Detokenize => "POST",
            Self::Models | Self::Model | Self::Health | Self::Load | Self::Metrics => "GET, HEAD",
        }
    }

    /// Is it for whoever watches the process, and without any key?
    fn is_open(self) -> bool {
        matches!(self, Self::Health | Self::Load | Self::Metrics)
    }

    fn takes(self, method: &Method) -> bool {
        self.methods().split(", ").any(|known| method == known)
    }
}

async fn route(
    service: &Arc<Service>,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let path = request.uri().path();
    let Some(route) = Route::of(path).0 else {
        return Err(ApiError::UnknownRoute {
            path: path.chars().take(200).collect(),
            right: wrong_path::right(path),
        });
    };
    if !route.takes(request.method()) {
        let allowed = route.methods();
        return Err(ApiError::Method { allowed });
    }
    let may = service.api_key.as_ref();
    if !route.is_open() && may.is_some_and(|key| !key.is_in(request.headers())) {
        return Err(ApiError::Unauthorized);
    }
    match route {
        Route::Models => status::models(service),
        Route::Model => status::model(service, path.strip_prefix(MODEL).unwrap_or_default()),
        Route::Health => status::health(service),
        Route::Load => status::load(service),
        Route::Metrics => status::metrics(service),
        _ => ask(service, route, request).await,
    }
}

/// What needs the model: reads the body, and answers it.
async fn ask(
    service: &Service,
    route: Route,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let taken = service.in_flight.take();
    let model = service.model.get().ok_or(ApiError::Loading)?;
    let body = body::read(request).await.map_err(ApiError::Body)?;
    let response = match model {
        Served::Generator(chat) => generate(service, chat, route, &body).await,
        Served::Encoder { encoder, metrics } => {
            let response = encode(service, encoder, metrics, route, &body).await;
            metrics.finished(if response.is_ok() { "stop" } else { "error" });
            response
        }
    };
    Ok(taken.until_sent(response?))
}

/// What a model that generates is asked.
async fn generate(
    service: &Service,
    chat: &Chat,
    route: Route,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    match route {
        Route::ChatCompletions => generation::chat(service, chat, body).await,
        Route::Completions => generation::completion(service, chat, body).await,
        Route::Tokenize => tokenization::tokenize(service, chat, body),
        Route::Detokenize => tokenization::detokenize(service, chat, body),
        _ => Err(ApiError::WrongModel(
            "generates text; it offers neither embeddings nor scores",
        )),
    }
}

/// What an encoder is asked.
async fn encode(
    service: &Service,
    encoder: &Encoder,
    metrics: &Metrics,
    route: Route,
    body: &Bytes,
) -> Result<Response<Body>, ApiError> {
    match route {
        Route::Embeddings => encoding::embeddings(service, encoder, metrics, body).await,
        Route::Rerank => encoding::rerank(service, encoder, metrics, body).await,
        Route::Tokenize => tokenization::tokenize_input(service, encoder, body),
        Route::Detokenize => tokenization::detokenize_input(service, encoder, body),
        _ => Err(ApiError::WrongModel(
            "encodes texts; it does not generate any",
        )),
    }
}

/// The caller's request id if it is plain and short, else a new one.
fn request_id<B>(request: &Request<B>) -> HeaderValue {
    let plain = |v: &&HeaderValue| {
        v.len() <= REQUEST_ID_MAX && v.as_bytes().iter().all(u8::is_ascii_graphic) && !v.is_empty()
    };
    match request.headers().get("x-request-id").filter(plain) {
        Some(id) => id.clone(),
        None => HeaderValue::try_from(reply::random_id("req_"))
            .unwrap_or_else(|_| HeaderValue::from_static("req_")),
    }
}

#[cfg(test)]
mod tests;
