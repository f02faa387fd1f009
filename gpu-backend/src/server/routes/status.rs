//! What the process says of itself: its model, whether it is ready, how much it has to
//! do, what it counted.
//! Knows nothing of requests for answers.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value as Json, json};

use super::super::error::ApiError;
use super::super::reply::{Body, full, json_response};
use super::super::{Served, Service};
use crate::metrics;

pub(super) fn models(service: &Service) -> Result<Response<Body>, ApiError> {
    let list = json!({"object": "list", "data": [model_json(service)]});
    json_response(StatusCode::OK, &list)
}

/// One model by its name, which may hold slashes.
pub(super) fn model(service: &Service, name: &str) -> Result<Response<Body>, ApiError> {
    service.is_named(name)?;
    json_response(StatusCode::OK, &model_json(service))
}

fn model_json(service: &Service) -> Json {
    json!({
        "id": service.model_name,
        "object": "model",
        "created": service.started,
        "owned_by": "skerry",
        "max_model_len": service.model.get().map(Served::tokens_max),
    })
}

pub(super) fn health(service: &Service) -> Result<Response<Body>, ApiError> {
    let (status, word) = match service.model.get() {
        _ if service.draining.is_cancelled() => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
        Some(model) if model.is_dead() => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
        Some(_) => (StatusCode::OK, "ready"),
    };
    json_response(status, &json!({"status": word}))
}

/// Requests for answers that were taken and whose answer is not yet complete (vLLM's
/// `server_load`).
pub(super) fn load(service: &Service) -> Result<Response<Body>, ApiError> {
    let load = service.in_flight.count();
    json_response(StatusCode::OK, &json!({"server_load": load}))
}

pub(super) fn metrics(service: &Service) -> Result<Response<Body>, ApiError> {
    let model = service.model.get().ok_or(ApiError::Loading)?;
    let text = model
        .metrics()
        .text()
        .map_err(|e| ApiError::Internal(e.to_string()))?;
    let mut response = Response::new(full(Bytes::from(text)));
    let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
