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

/// One model by its name as the path has it: slashes may be written out or escaped
/// (RFC 3986 §2.1), and one may follow the name.
pub(super) fn model(service: &Service, name: &str) -> Result<Response<Body>, ApiError> {
    let decoded = unescaped(name);
    let trimmed = decoded.strip_suffix('/').unwrap_or(&decoded);
    service
        .is_named(&decoded)
        .or_else(|_| service.is_named(trimmed))?;
    json_response(StatusCode::OK, &model_json(service))
}

/// A path's part with its `%XX` as bytes. What is no escape stays as it is, and what is
/// no UTF-8 is no model's name.
fn unescaped(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let hex = hex.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// OpenAI's object with vLLM's `max_model_len` and, where the model's folder has some,
/// `suggestions`: messages that a page may offer to begin with.
fn model_json(service: &Service) -> Json {
    let mut model = json!({
        "id": service.model_name,
        "object": "model",
        "created": service.started,
        "owned_by": "skerry",
        "max_model_len": service.model.get().map(Served::tokens_max),
    });
    let suggestions = service.model.get().map_or(&[][..], Served::suggestions);
    if !suggestions.is_empty() {
        model["suggestions"] = json!(suggestions);
    }
    model
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_a_path_are_bytes_and_nothing_else_changes() {
        for (path, name) in [
            ("org%2Fmodel", "org/model"),
            ("org%2fmodel", "org/model"),
            ("org/model", "org/model"),
            ("a%20b%C3%A9", "a bé"),
            ("100%", "100%"),
            ("%2", "%2"),
            ("%zz%+1", "%zz%+1"),
            ("%25%32%46", "%2F"),
            ("%ff", "\u{fffd}"),
            ("a+b", "a+b"),
        ] {
            assert_eq!(unescaped(path), name, "{path}");
        }
    }
}
