//! What a request for the page is answered with: method, file, caching, validation.
//!
//! The only file of this component that knows status codes. It does not know where the folder
//! is, nor what stands in the files.

mod api;

use crate::encoding::{Encoding, accepted};
use crate::folder::{FileName, Folder};
use crate::security;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use std::hash::{DefaultHasher, Hasher};

/// A name that carries a content hash never changes its bytes.
const CACHE_FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Everything else is kept, but asked about each time; the entity tag makes that a 304.
const CACHE_REVALIDATE: &str = "no-cache";
const CACHE_NEVER: &str = "no-store";

const NOT_BUILT: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
<title>Skerry</title>\n<h1>The chat page was not built</h1>\n\
<p>The API under <code>/v1</code> is not affected.</p>\n\
<p>To build the page, install Node.js 20.19 or newer, run\n\
<code>cargo run --release -p edge -- build</code> and start again.</p>\n</html>\n";

/// Answers one request from the folder.
pub fn answer(folder: &Folder, request: &Parts) -> Response<Vec<u8>> {
    let mut response = if request.method == Method::GET || request.method == Method::HEAD {
        file_answer(folder, request)
    } else {
        api::refused(&request.method, request.uri.path())
    };
    let full_url = text_of(&request.headers, "spin-full-url");
    security::add_headers(response.headers_mut(), full_url);
    if request.method == Method::HEAD {
        // No `content-length` either: WASI HTTP checks it against the bytes that are written.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.body_mut().clear();
    }
    response
}

fn file_answer(folder: &Folder, request: &Parts) -> Response<Vec<u8>> {
    let not_found = || not_found(request);
    let Some(name) = FileName::from_request_path(request.uri.path()) else {
        return not_found();
    };
    let Some(content_type) = name.extension().and_then(content_type_of) else {
        return not_found();
    };
    for encoding in accepted(text_of(&request.headers, "accept-encoding")) {
        match folder.read(&name, encoding.suffix()) {
            Ok(Some(bytes)) => {
                let mut response = content_answer(&request.headers, bytes, encoding);
                let headers = response.headers_mut();
                let cache = if name.is_hashed() {
                    CACHE_FOR_EVER
                } else {
                    CACHE_REVALIDATE
                };
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                return response;
            }
            Ok(None) => {}
            Err(_) => {
                return text_answer(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "This file of the page cannot be read.\n",
                );
            }
        }
    }
    if name == FileName::index() {
        not_built()
    } else {
        not_found()
    }
}

/// The bytes with their entity tag, or 304 if the client has them already.
fn content_answer(request: &HeaderMap, bytes: Vec<u8>, encoding: Encoding) -> Response<Vec<u8>> {
    let tag = entity_tag(&bytes);
    let known = text_of(request, "if-none-match").is_some_and(|list| names_tag(list, &tag));
    let mut response = if known {
        with_status(StatusCode::NOT_MODIFIED, Vec::new())
    } else {
        let length = HeaderValue::from(bytes.len());
        let mut full = with_status(StatusCode::OK, bytes);
        full.headers_mut().insert(header::CONTENT_LENGTH, length);
        full
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(token) = encoding.token().filter(|_| !known) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(token));
    }
    response
}

/// A strong tag over the stored bytes: two forms of one file have two tags, as RFC 9110 §8.8.3
/// asks. It tells builds apart; it is no defence against anyone.
fn entity_tag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("\"{:016x}-{:x}\"", hasher.finish(), bytes.len())
}

/// Weak comparison, which is what `if-none-match` uses (RFC 9110 §13.1.2).
fn names_tag(list: &str, tag: &str) -> bool {
    let mut given = list.split(',').map(str::trim);
    given.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

fn content_type_of(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

/// A browser asks for pages; whoever does not is a client of the API.
fn not_found(request: &Parts) -> Response<Vec<u8>> {
    match text_of(&request.headers, "accept") {
        Some(accept) if accept.contains("text/html") => {
            text_answer(StatusCode::NOT_FOUND, "Not found.\n")
        }
        _ => api::unknown_url(&request.method, request.uri.path()),
    }
}

fn not_built() -> Response<Vec<u8>> {
    let mut response = text_answer(StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

fn text_answer(status: StatusCode, text: &str) -> Response<Vec<u8>> {
    let mut response = with_status(status, text.as_bytes().to_vec());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_NEVER));
    response
}

fn with_status(status: StatusCode, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests;
