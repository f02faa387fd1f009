//! Middleware: puts a header into the request. Its value is a variable, if it may read it.

use spin_sdk::http::{self, HeaderValue, IntoResponse, Request};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let value = spin_sdk::variables::get("stamp").await;
    let value = value.unwrap_or_else(|_| "denied".to_owned());
    let (mut parts, body) = request.into_parts();
    parts.headers.remove("host");
    if let Ok(value) = HeaderValue::from_str(&value) {
        parts.headers.insert("x-stamp", value);
    }
    http::next(Request::from_parts(parts, body)).await
}
