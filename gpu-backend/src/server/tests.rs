//! What the server promises without a network: the form of every error.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;

use super::error::{ApiError, Invalid, respond};
use crate::chat::ChatError;
use crate::chat::answer::Failed;
use crate::encoder::EncodeError;
use crate::handle::Rejected;
use crate::scheduler::Refused;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn every_error_has_openais_four_keys_and_a_fitting_status() {
    let invalid = Invalid {
        param: Some("n".into()),
        message: "m".into(),
        code: None,
    };
    let cases = [
        (ApiError::Invalid(invalid), StatusCode::BAD_REQUEST),
        (ApiError::UnknownModel("x".into()), StatusCode::NOT_FOUND),
        (ApiError::UnknownRoute("/x".into()), StatusCode::NOT_FOUND),
        (
            ApiError::Method { allowed: "GET" },
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (ApiError::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
        (ApiError::BodyTimeout, StatusCode::REQUEST_TIMEOUT),
        (ApiError::BodyBroken, StatusCode::BAD_REQUEST),
        (ApiError::Loading, StatusCode::SERVICE_UNAVAILABLE),
        (
            ApiError::of_prompt(
                ChatError::Rejected(Rejected::QueueFull {
                    retry_after: Duration::from_secs(7),
                }),
                "messages",
            ),
            StatusCode::TOO_MANY_REQUESTS,
        ),
        (
            ApiError::of_prompt(ChatError::Rejected(Rejected::Draining), "messages"),
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (
            ApiError::of_prompt(
                ChatError::PromptTooLong {
                    prompt: 9,
                    context: 8,
                },
                "prompt",
            ),
            StatusCode::BAD_REQUEST,
        ),
        (
            ApiError::of_prompt(
                ChatError::Rejected(Rejected::Refused(Refused::TooLong)),
                "messages",
            ),
            StatusCode::BAD_REQUEST,
        ),
        (
            ApiError::WrongModel("generates text"),
            StatusCode::BAD_REQUEST,
        ),
        (
            ApiError::of_input(EncodeError::Busy, "input"),
            StatusCode::TOO_MANY_REQUESTS,
        ),
        (
            ApiError::of_input(EncodeError::Empty { index: 1 }, "input"),
            StatusCode::BAD_REQUEST,
        ),
        (
            ApiError::of_input(EncodeError::Failed("secret".into()), "input"),
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
        (
            ApiError::Failed(Failed::Engine("secret".into())),
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
        (
            ApiError::Failed(Failed::DeadlineExceeded),
            StatusCode::GATEWAY_TIMEOUT,
        ),
    ];
    for (error, status) in cases {
        let response = respond(error);
        assert_eq!(response.status(), status);
        if matches!(status.as_u16(), 429 | 503) {
            assert!(response.headers().contains_key("retry-after"));
        }
        let body = block_on(response.into_body().collect()).unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let error = json["error"].as_object().unwrap();
        let keys: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(keys, ["message", "type", "param", "code"]);
        assert!(!error["message"].as_str().unwrap().contains("secret"));
    }
}
