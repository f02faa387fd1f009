//! Compressed answers: over each version of HTTP, whole and as streams.

use crate::harness::{Edge, WAIT_MAX, client, one};
use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::StreamReader;

/// Answers whose bodies are known, and a stream.
fn manifest() -> String {
    let long = "a line of JSON, or so\\n".repeat(500);
    let route = |path: &str, headers: &str, body: &str| {
        format!(
            "[[trigger.http]]\nroute = \"/{path}\"\n\
             static_response = {{ headers = {{ {headers} }}, body = \"{body}\" }}\n"
        )
    };
    let json = "content-type = \"application/json\"";
    let routes = [
        route("long", &format!("{json}, etag = '\"a\"'"), &long),
        route("short", json, "{}"),
        route("image", "content-type = \"image/png\"", &long),
        route(
            "kept",
            &format!("{json}, cache-control = \"no-transform\""),
            &long,
        ),
    ];
    format!("{}{}", one(""), routes.concat())
}

fn plain() -> String {
    "a line of JSON, or so\n".repeat(500)
}

async fn ask(edge: &Edge, method: Method, path: &str, accepts: &str) -> (u16, HeaderMap, Bytes) {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", edge.http))
        .header(header::ACCEPT_ENCODING, accepts)
        .body(Full::default().boxed())
        .unwrap();
    let response = client().request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, body)
}

fn decoder<'a>(
    coding: &str,
    body: impl tokio::io::AsyncBufRead + Send + Unpin + 'a,
) -> Box<dyn AsyncRead + Send + Unpin + 'a> {
    match coding {
        "zstd" => Box::new(ZstdDecoder::new(body)),
        "br" => Box::new(BrotliDecoder::new(body)),
        "gzip" => Box::new(GzipDecoder::new(body)),
        other => panic!("{other}"),
    }
}

async fn decoded(coding: &str, body: &[u8]) -> String {
    let mut text = String::new();
    let mut reader = decoder(coding, body);
    reader.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn what_suits_is_compressed_and_comes_out_equal() {
    let edge = Edge::start_with(&manifest(), &["--compression", "on"]);
    for coding in ["zstd", "br", "gzip"] {
        let (status, headers, body) = ask(&edge, Method::GET, "/long", coding).await;
        assert_eq!(status, 200);
        assert_eq!(headers[header::CONTENT_ENCODING], coding);
        assert_eq!(headers[header::VARY], "accept-encoding");
        assert_eq!(headers[header::ETAG], "W/\"a\"");
        assert!(!headers.contains_key(header::CONTENT_LENGTH));
        assert!(body.len() * 20 < plain().len(), "{coding}: {}", body.len());
        assert_eq!(decoded(coding, &body).await, plain());
    }
    for (path, accepts) in [
        ("/long", "identity"),
        ("/long", "gzip;q=0"),
        ("/short", "gzip"),
        ("/image", "gzip"),
        ("/kept", "gzip"),
        ("/stream?2,1", "gzip"),
    ] {
        let (status, headers, _) = ask(&edge, Method::GET, path, accepts).await;
        assert_eq!(status, 200, "{path}");
        assert!(
            !headers.contains_key(header::CONTENT_ENCODING),
            "{path} {accepts}"
        );
    }
    let (_, headers, body) = ask(&edge, Method::HEAD, "/long", "gzip").await;
    assert!(!headers.contains_key(header::CONTENT_ENCODING) && body.is_empty());
    let (_, headers, _) = ask(&edge, Method::GET, "/long", "identity").await;
    assert_eq!(headers[header::ETAG], "\"a\"");
    assert_eq!(
        headers[header::VARY],
        "accept-encoding",
        "a cache keeps them apart"
    );
    let off = Edge::start(&manifest());
    let (_, headers, body) = ask(&off, Method::GET, "/long", "gzip").await;
    assert!(!headers.contains_key(header::CONTENT_ENCODING));
    assert_eq!(body, plain());
}

#[tokio::test]
async fn an_answer_without_a_place_goes_out_as_it_is() {
    let arguments = ["--compression", "all", "--limit", "compressed-answers=1"];
    let edge = Edge::start_with(&manifest(), &arguments);
    let url = format!("{}/events?20,100", edge.http);
    let request = http::Request::get(url)
        .header(header::ACCEPT_ENCODING, "zstd")
        .body(Full::default().boxed())
        .unwrap();
    let held = client().request(request).await.unwrap();
    assert_eq!(held.headers()[header::CONTENT_ENCODING], "zstd");
    let (_, headers, body) = ask(&edge, Method::GET, "/long", "zstd").await;
    assert!(!headers.contains_key(header::CONTENT_ENCODING));
    assert_eq!(body, plain());
    held.into_body().collect().await.unwrap();
    let (_, headers, _) = ask(&edge, Method::GET, "/long", "zstd").await;
    assert_eq!(headers[header::CONTENT_ENCODING], "zstd");
}

/// Reads so many events of a compressed stream, which are followed by nothing for an hour.
async fn come(response: http::Response<hyper::body::Incoming>, coding: &str, events: u64) {
    assert_eq!(response.headers()[header::CONTENT_ENCODING], coding);
    let frames = response.into_body().into_data_stream();
    let bytes = Box::pin(frames.map(|frame| frame.map_err(std::io::Error::other)));
    let mut reader = decoder(coding, StreamReader::new(bytes));
    for event in 0..events {
        let expected = format!("data: {event}\n\n");
        let mut read = vec![0; expected.len()];
        let reading = tokio::time::timeout(WAIT_MAX, reader.read_exact(&mut read));
        assert!(reading.await.is_ok(), "{coding}: {event} is held back");
        assert_eq!(read, expected.as_bytes());
    }
}

#[tokio::test]
async fn an_event_arrives_before_the_stream_goes_on() {
    let edge = Edge::start_with(&manifest(), &["--compression", "all"]);
    let codings = ["zstd", "br", "gzip"];
    for (coding, is_http2) in codings.into_iter().flat_map(|c| [(c, false), (c, true)]) {
        for events in [1, 3] {
            let client =
                hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                    .http2_only(is_http2)
                    .build_http::<crate::harness::Body>();
            let url = format!("{}/events?{events},10,3600000", edge.http);
            let request = http::Request::get(url)
                .header(header::ACCEPT_ENCODING, coding)
                .body(Full::default().boxed())
                .unwrap();
            come(client.request(request).await.unwrap(), coding, events).await;
        }
    }
}
