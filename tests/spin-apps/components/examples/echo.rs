//! Tells by header and body what it was asked, and sends bodies back as they come.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{self, BoxBody, EmptyBody, HeaderMap, HeaderValue, Request, box_body};
use spin_sdk::{http_service, wasip3};

type Answer = http::Response<BoxBody>;

#[http_service]
async fn handle(request: Request) -> Answer {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or("").to_owned();
    let last = path.rsplit('/').next().unwrap_or("");
    match last {
        "body" => body(request),
        "length" => length(request).await,
        "trailers" => trailers(),
        "request-trailers" => request_trailers(request).await,
        "headers" => headers(&request),
        "status" => status(&query),
        "big" => big(&query),
        "lines-and-trap" => lines_and_trap(),
        "fetch" => fetch(&query).await,
        "trap" => panic!("told to"),
        _ => told(&request),
    }
}

fn text(body: String) -> Answer {
    http::Response::new(box_body(Full::new(Bytes::from(body))))
}

/// The headers by which the host tells the route, and who greets.
fn told(request: &Request) -> Answer {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map_or("-", |value| value.to_str().unwrap_or("?")).to_owned()
    };
    let greeting = std::env::var("GREETING").unwrap_or_default();
    let lines = [
        format!("{greeting} {} {}", request.method(), request.uri().path()),
        format!("route {}", header("spin-matched-route")),
        format!("rest {}", header("spin-path-info")),
        format!("name {}", header("spin-path-match-name")),
        format!("stamp {}", header("x-stamp")),
    ];
    text(lines.join("\n"))
}

fn body(request: Request) -> Answer {
    let (mut sender, body) = http::body::stream::<Bytes>();
    let mut chunks = request.into_body().stream();
    wasip3::spawn(async move {
        while let Some(Ok(chunk)) = chunks.next().await {
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
    });
    http::Response::new(box_body(body))
}

async fn length(request: Request) -> Answer {
    match request.into_body().bytes().await {
        Ok(bytes) => text(bytes.len().to_string()),
        Err(error) => text(format!("{error:?}")),
    }
}

fn trailers() -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("42"));
    let frames = [
        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from("counted"))),
        Ok(Frame::trailers(trailers)),
    ];
    let body = StreamBody::new(futures::stream::iter(frames));
    let mut response = http::Response::new(box_body(body));
    // Over HTTP/1.1 only trailers that are announced are sent (RFC 9110 section 6.6.2).
    let announced = HeaderValue::from_static("x-checksum");
    response.headers_mut().insert("trailer", announced);
    response
}

/// What came as trailers, behind the body.
async fn request_trailers(request: Request) -> Answer {
    match request.into_body().collect().await {
        Ok(whole) => {
            let trailers = whole.trailers().cloned().unwrap_or_default();
            let body = whole.to_bytes();
            text(format!("{} {trailers:?}", String::from_utf8_lossy(&body)))
        }
        Err(error) => text(format!("{error:?}")),
    }
}

fn headers(request: &Request) -> Answer {
    let line = |(name, value): (&http::HeaderName, &HeaderValue)| {
        format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
    };
    text(request.headers().iter().map(line).collect())
}

/// An empty answer with the status that is asked for.
fn status(code: &str) -> Answer {
    let mut response = http::Response::new(box_body(EmptyBody::new()));
    if let Ok(status) = code.parse() {
        *response.status_mut() = status;
    }
    response.headers_mut().insert("x-asked", HeaderValue::from_static("yes"));
    response
}

/// That many letters, streamed.
fn big(bytes: &str) -> Answer {
    let mut left: usize = bytes.parse().unwrap_or(0);
    let (mut sender, body) = http::body::stream::<Bytes>();
    wasip3::spawn(async move {
        while left > 0 {
            let chunk = left.min(1 << 16);
            left -= chunk;
            if sender.send(Bytes::from(vec![b'x'; chunk])).await.is_err() {
                break;
            }
        }
    });
    http::Response::new(box_body(body))
}

fn lines_and_trap() -> Answer {
    let (mut sender, body) = http::body::stream::<Bytes>();
    wasip3::spawn(async move {
        let _ = sender.send(Bytes::from("one line\n")).await;
        // By then the line is on its way.
        wasip3::clocks::monotonic_clock::wait_for(100_000_000).await;
        panic!("told to");
    });
    http::Response::new(box_body(body))
}

async fn fetch(url: &str) -> Answer {
    let request = Request::get(url).body(EmptyBody::new());
    let Ok(request) = request else {
        return text("no URL".to_owned());
    };
    match http::send(request).await {
        Ok(response) => match response.into_body().bytes().await {
            Ok(bytes) => text(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => text(format!("{error:?}")),
        },
        Err(error) => text(format!("{error:?}")),
    }
}
