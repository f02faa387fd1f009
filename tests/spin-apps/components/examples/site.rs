//! Serves the files below `/site` by the rest of the path, as Spin's file server does.

use bytes::Bytes;
use http_body_util::Full;
use spin_sdk::http::{self, BoxBody, EmptyBody, Request, StatusCode, box_body};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> http::Response<BoxBody> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
    };
    let rest = header("spin-path-info");
    let path = if rest.is_empty() || rest.ends_with('/') { format!("{rest}/index.html") } else { rest };
    let Ok(file) = std::fs::read(format!("/site/{path}")) else {
        return answer(StatusCode::NOT_FOUND, &path, "", None);
    };
    let tag = format!("\"{}\"", file.len());
    if header("if-none-match") == tag {
        return answer(StatusCode::NOT_MODIFIED, &path, &tag, None);
    }
    answer(StatusCode::OK, &path, &tag, Some(file))
}

fn answer(status: StatusCode, path: &str, tag: &str, file: Option<Vec<u8>>) -> http::Response<BoxBody> {
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let body = match file {
        Some(file) => box_body(Full::new(Bytes::from(file))),
        None => box_body(EmptyBody::new()),
    };
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [("content-type", kind), ("etag", tag)] {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
