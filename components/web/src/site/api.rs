//! Answers to clients of the API that have come to the page: OpenAI's error object, which
//! they can read, with the path that they may have meant.
//!
//! It does NOT know the API's routes but for the ends of those that clients guess.

use super::with_status;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};

/// Characters of a path that are shown.
const PATH_CHARS_MAX: usize = 128;
/// The ends of paths that clients ask for, and what stands for them under `/v1`.
const GUESSED: [(&str, &str); 9] = [
    ("/chat/completions", "POST /v1/chat/completions"),
    ("/api/chat", "POST /v1/chat/completions"),
    ("/api/generate", "POST /v1/chat/completions"),
    ("/completions", "POST /v1/chat/completions"),
    ("/completion", "POST /v1/chat/completions"),
    ("/messages", "POST /v1/chat/completions"),
    ("/models", "GET /v1/models"),
    ("/api/tags", "GET /v1/models"),
    ("/conversations", "POST /v1/conversations"),
];

/// A method that the page does not have: 405 for the page itself, 404 for any other path.
pub(super) fn refused(method: &Method, path: &str) -> Response<Vec<u8>> {
    if path != "/" {
        return unknown_url(method, path);
    }
    let message = format!("{method} is not allowed for /; use GET. The API is under /v1.");
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut response = error(status, "method_not_allowed", &message);
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// 404, with the path that may have been meant.
pub(super) fn unknown_url(method: &Method, path: &str) -> Response<Vec<u8>> {
    let path = path.trim_end_matches('/');
    let meant = GUESSED.iter().find(|(end, _)| path.ends_with(end));
    let hint = meant.map_or_else(
        || "The API is under /v1.".to_owned(),
        |(_, meant)| format!("The API is under /v1: {meant}."),
    );
    let shown: String = path.chars().take(PATH_CHARS_MAX).collect();
    let message = format!("Unknown request URL: {method} {shown}. {hint}");
    error(StatusCode::NOT_FOUND, "unknown_url", &message)
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Vec<u8>> {
    let body = serde_json::json!({"error": {
        "message": message, "type": "invalid_request_error", "param": null, "code": code}});
    let mut response = with_status(status, body.to_string().into_bytes());
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let never = HeaderValue::from_static(super::CACHE_NEVER);
    headers.insert(header::CACHE_CONTROL, never);
    response
}
