//! Paths, methods and bodies as clients of other servers send them.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value as Json, json};

use crate::check_error;
use crate::harness::{Server, chat, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_found_by_its_name_however_its_slash_is_written() {
    let server = Server::start(&["--served-model-name", "org/model-1.5"]);
    for name in [
        "org/model-1.5",
        "org%2Fmodel-1.5",
        "org%2fmodel%2D1.5",
        "org/model-1.5/",
    ] {
        let (status, body) = server.get(&format!("/v1/models/{name}")).await;
        let body: Json = serde_json::from_str(&body).unwrap();
        let got = (status, &body["id"], &body["object"]);
        assert_eq!(
            got,
            (StatusCode::OK, &json!("org/model-1.5"), &json!("model"))
        );
    }
    for name in ["org", "org%252Fmodel-1.5", "model-1.5", "%ff"] {
        let (status, body) = server.get(&format!("/v1/models/{name}")).await;
        let body = serde_json::from_str(&body).unwrap();
        check_error((status, body), 404, json!("model"), "model_not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_its_body() {
    let server = Server::start(&[]);
    let http2 = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    for path in [
        "/health",
        "/v1/models",
        "/v1/models/tiny",
        "/load",
        "/v1/models/none",
        "/x",
    ] {
        let request = |method: Method| {
            let request = Request::builder().method(method);
            let request = request.uri(format!("{}{path}", server.url));
            request.body(Full::<Bytes>::default()).unwrap()
        };
        let get = server.send(request(Method::GET)).await;
        for head in [
            server.send(request(Method::HEAD)).await,
            http2.request(request(Method::HEAD)).await.unwrap(),
        ] {
            assert_eq!(head.status(), get.status(), "{path}");
            for name in ["content-type", "content-length"] {
                assert!(get.headers().contains_key(name), "{path}");
                assert_eq!(head.headers().get(name), get.headers().get(name), "{path}");
            }
            let body = head.into_body().collect().await.unwrap().to_bytes();
            assert!(body.is_empty(), "{path}: {body:?}");
        }
    }
    let request = Request::head(format!("{}/v1/completions", server.url));
    let head = server.send(request.body(Full::default()).unwrap()).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_at_the_end_of_a_path_means_nothing() {
    let server = Server::start(&[]);
    for path in ["/health/", "/v1/models/", "/metrics/"] {
        assert_eq!(server.get(path).await.0, StatusCode::OK, "{path}");
    }
    let asked = chat(json!({"max_tokens": 2}));
    let (status, answer) = server.ask("/v1/chat/completions/", asked).await;
    assert_eq!(
        (status, &answer["object"]),
        (StatusCode::OK, &json!("chat.completion"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guessed_path_gets_openais_error_with_the_right_one() {
    let server = Server::start(&[]);
    for (path, right) in [
        ("/chat/completions", "/v1/chat/completions"),
        ("/api/chat", "/v1/chat/completions"),
        ("/api/generate", "/v1/completions"),
        ("/v1", "/v1/models"),
        ("/", "/v1/models"),
    ] {
        let (status, body) = server.ask(path, chat(json!({}))).await;
        let message = body["error"]["message"].as_str().unwrap().to_owned();
        assert!(
            message.contains(&format!("Did you mean {right}?")),
            "{message}"
        );
        check_error((status, body), 404, Json::Null, "unknown_url");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_come_compressed() {
    let server = Server::start(&[]);
    let send = async |coding: &str, body: Vec<u8>| {
        let mut request = server.post(body);
        let headers = request.headers_mut();
        headers.insert("content-encoding", coding.parse().unwrap());
        let response = server.send(request).await;
        let accepted = response.headers().get("accept-encoding").cloned();
        let (status, body) = text(response).await;
        (
            status,
            serde_json::from_str::<Json>(&body).unwrap(),
            accepted,
        )
    };
    let gzip = |text: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let asked = chat(json!({"max_tokens": 2})).to_string().into_bytes();
    for (coding, body) in [
        ("gzip", gzip(&asked)),
        ("x-gzip", gzip(&asked)),
        ("identity", asked.clone()),
    ] {
        let (status, body, _) = send(coding, body).await;
        assert_eq!(
            (status, &body["object"]),
            (StatusCode::OK, &json!("chat.completion"))
        );
    }
    for (coding, body, status, code) in [
        ("br", asked.clone(), 415, "unsupported_content_encoding"),
        (
            "gzip, gzip",
            gzip(&gzip(&asked)),
            415,
            "unsupported_content_encoding",
        ),
        ("gzip", asked.clone(), 400, "invalid_body"),
        ("gzip", gzip(&vec![b' '; 5 << 20]), 413, "body_too_large"),
    ] {
        let (got, body, accepted) = send(coding, body).await;
        assert_eq!(
            accepted.is_some_and(|a| a == "gzip"),
            status == 415,
            "{coding}"
        );
        check_error((got, body), status, Json::Null, code);
    }
}
