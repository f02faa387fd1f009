//! The routes: which path does what, with which body, and the line in the log.
//! Knows nothing of the fields of a chat (`request.rs`) or of its answer's form
//! (`reply.rs`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;

use super::error::{ApiError, respond};
use super::reply::{self, Body, full, json_response};
use super::request::{self, ValidRequest};
use super::{BODY_BYTES_MAX, BODY_TIMEOUT, Service};
use crate::chat::Chat;
use crate::metrics;

/// Bytes of a body that is too large which are read, and not kept, before it is cut off.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
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
    tracing::info!(
        %method,
        path = known(&path),
        status = response.status().as_u16(),
        head_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        request_id = id.to_str().unwrap_or_default(),
        "request"
    );
    response.headers_mut().insert("x-request-id", id);
    Ok(response)
}

const CHAT: &str = "/v1/chat/completions";
const MODELS: &str = "/v1/models";
const HEALTH: &str = "/health";
const METRICS: &str = "/metrics";

/// The path as it is logged: an unknown one may hold anything.
fn known(path: &str) -> &'static str {
    [CHAT, MODELS, HEALTH, METRICS]
        .into_iter()
        .find(|k| *k == path)
        .unwrap_or("unknown")
}

async fn route(
    service: &Arc<Service>,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let path = request.uri().path();
    match (request.method(), path) {
        (&Method::POST, CHAT) => chat_completions(service, request).await,
        (&Method::GET, MODELS) => models(service),
        (&Method::GET, HEALTH) => Ok(health(service)),
        (&Method::GET, METRICS) => metrics_text(service),
        (_, CHAT) => Err(ApiError::Method { allowed: "POST" }),
        (_, MODELS | HEALTH | METRICS) => Err(ApiError::Method { allowed: "GET" }),
        _ => Err(ApiError::UnknownRoute(path.chars().take(200).collect())),
    }
}

async fn chat_completions(
    service: &Arc<Service>,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let chat = service.chat.get().ok_or(ApiError::Loading)?;
    let body = read_body(request).await?;
    let ValidRequest {
        model,
        chat: mut asked,
        stream,
    } = request::parse(&body, chat.vocab()).map_err(ApiError::Invalid)?;
    if model != service.model_name {
        return Err(ApiError::UnknownModel(model));
    }
    chat.constrain(&mut asked).await?;
    let answer = chat.answer(asked)?;
    let meta = reply::Meta::new(model);
    match stream {
        Some(options) => Ok(reply::stream(answer, meta, options)),
        None => reply::whole(answer.whole().await?, &meta),
    }
}

async fn read_body(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    tokio::time::timeout(BODY_TIMEOUT, collect(request.into_body()))
        .await
        .unwrap_or(Err(ApiError::BodyTimeout))
}

/// Reads a body to its end, even if it is too large: a client that is still sending
/// would see a broken connection instead of the answer.
async fn collect(mut body: Incoming) -> Result<Bytes, ApiError> {
    let mut bytes = BytesMut::new();
    let mut seen = 0usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ApiError::BodyBroken)?.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        if seen > DISCARDED_BYTES_MAX {
            break;
        }
        if seen <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        }
    }
    if seen > BODY_BYTES_MAX {
        Err(ApiError::BodyTooLarge)
    } else {
        Ok(bytes.freeze())
    }
}

fn models(service: &Service) -> Result<Response<Body>, ApiError> {
    let context = service.chat.get().map(Chat::context);
    let model = json!({
        "id": service.model_name,
        "object": "model",
        "created": service.started,
        "owned_by": "skerry",
        "max_model_len": context,
    });
    json_response(StatusCode::OK, &json!({"object": "list", "data": [model]}))
}

fn health(service: &Service) -> Response<Body> {
    let (status, word) = match service.chat.get() {
        _ if service.draining.is_cancelled() => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
        Some(chat) if chat.handle().is_dead() => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
        Some(_) => (StatusCode::OK, "ready"),
    };
    let mut response = Response::new(full(Bytes::from(format!("{{\"status\":\"{word}\"}}"))));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn metrics_text(service: &Service) -> Result<Response<Body>, ApiError> {
    let chat = service.chat.get().ok_or(ApiError::Loading)?;
    let text = chat
        .handle()
        .metrics()
        .text()
        .map_err(|e| ApiError::Internal(e.to_string()))?;
    let mut response = Response::new(full(Bytes::from(text)));
    let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
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
