//! Calls others as it is told to: by method and URL, or with its own body.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{self, BoxBody, EmptyBody, Request, Response, box_body};
use spin_sdk::{http_service, wasip3};

type Answer = http::Response<BoxBody>;

#[http_service]
async fn handle(request: Request) -> Answer {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or("").to_owned();
    match path.rsplit('/').next().unwrap_or("") {
        "fetch" => fetch(&query).await,
        "send" => send(&query, request).await,
        "relay" => relay(&query).await,
        _ => text(format!("here is {path}")),
    }
}

fn text(body: String) -> Answer {
    http::Response::new(box_body(Full::new(Bytes::from(body))))
}

/// `METHOD+URL`: the status, one header and the body.
async fn fetch(what: &str) -> Answer {
    let (method, url) = what.split_once('+').unwrap_or(("GET", what));
    let request = Request::builder().method(method).uri(url).header("x-sent", "a header");
    let Ok(request) = request.body(EmptyBody::new()) else {
        return text("no request".to_owned());
    };
    told(http::send(request).await).await
}

/// Sends its own body on as it comes.
async fn send(url: &str, request: Request) -> Answer {
    match Request::post(url).body(request.into_body()) {
        Ok(request) => told(http::send(request).await).await,
        Err(error) => text(error.to_string()),
    }
}

async fn told<E: std::fmt::Debug>(came: Result<Response, E>) -> Answer {
    let response = match came {
        Ok(response) => response,
        Err(error) => return text(format!("failed: {error:?}")),
    };
    let status = response.status().as_u16();
    let location = response.headers().get("location").cloned();
    match response.into_body().bytes().await {
        Ok(bytes) => text(format!("{status} {location:?}\n{}", String::from_utf8_lossy(&bytes))),
        Err(error) => text(format!("broken: {error:?}")),
    }
}

/// Streams another's answer as its own.
async fn relay(url: &str) -> Answer {
    let Ok(request) = Request::get(url).body(EmptyBody::new()) else {
        return text("no request".to_owned());
    };
    let Ok(response) = http::send(request).await else {
        return text("failed".to_owned());
    };
    let status = response.status();
    let mut chunks = response.into_body().stream();
    let (mut sender, body) = http::body::stream::<Bytes>();
    wasip3::spawn(async move {
        while let Some(Ok(chunk)) = chunks.next().await {
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
    });
    let mut answer = http::Response::new(box_body(body));
    *answer.status_mut() = status;
    answer
}
