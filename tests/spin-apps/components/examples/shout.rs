//! Middleware: makes an answer's letters capital, chunk by chunk.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{self, BoxBody, EmptyBody, Request, box_body};
use spin_sdk::{http_service, wasip3};

#[http_service]
async fn handle(request: Request) -> http::Response<BoxBody> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove("host");
    let Ok(response) = http::next(Request::from_parts(parts, body)).await else {
        return http::Response::new(box_body(EmptyBody::new()));
    };
    let (mut parts, body) = response.into_parts();
    parts.headers.remove("content-length");
    let mut chunks = body.stream();
    let (mut sender, body) = http::body::stream::<Bytes>();
    wasip3::spawn(async move {
        while let Some(Ok(chunk)) = chunks.next().await {
            if sender.send(Bytes::from(chunk.to_ascii_uppercase())).await.is_err() {
                break;
            }
        }
    });
    http::Response::from_parts(parts, box_body(body))
}
