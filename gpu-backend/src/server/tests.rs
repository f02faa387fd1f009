//! What the server promises without a network: the form of every error.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;

use super::error::{ApiError, BodyError, Invalid, respond};
use crate::chat::ChatError;
use crate::chat::answer::Failed;
use crate::constraint::compiler::CompileError;
use crate::encoder::EncodeError;
use crate::handle::Rejected;
use crate::scheduler::Refused;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[track_caller]
fn check(error: ApiError, status: u16) {
    let response = respond(error);
    assert_eq!(response.status(), StatusCode::from_u16(status).unwrap());
    if matches!(status, 429 | 503) {
        assert!(response.headers().contains_key("retry-after"));
    }
    let body = block_on(response.into_body().collect()).unwrap().to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let error = json["error"].as_object().unwrap();
    let keys: Vec<&str> = error.keys().map(String::as_str).collect();
    assert_eq!(keys, ["message", "type", "param", "code"]);
    assert!(!error["message"].as_str().unwrap().contains("secret"));
}

#[test]
fn a_malformed_request_has_openais_four_keys_and_a_fitting_status() {
    let invalid = Invalid {
        param: Some("n".into()),
        message: "m".into(),
        code: None,
    };
    check(ApiError::Invalid(invalid), 400);
    check(ApiError::Unauthorized, 401);
    check(ApiError::UnknownModel("x".into()), 404);
    check(ApiError::WrongModel("generates text"), 400);
    let unknown = ApiError::UnknownRoute {
        path: "/x".into(),
        right: Some("/v1/models"),
    };
    check(unknown, 404);
    check(ApiError::Method { allowed: "GET" }, 405);
    check(ApiError::Body(BodyError::TooLarge), 413);
    check(ApiError::Body(BodyError::Timeout), 408);
    check(ApiError::Body(BodyError::Broken), 400);
    check(ApiError::Body(BodyError::Coding), 415);
}

#[test]
fn a_prompt_that_is_not_answered_has_openais_four_keys_and_a_fitting_status() {
    let full = Rejected::QueueFull {
        retry_after: Duration::from_secs(7),
    };
    let long = ChatError::PromptTooLong {
        prompt: 9,
        context: 8,
    };
    for (error, status) in [
        (ChatError::Rejected(full), 429),
        (ChatError::Rejected(Rejected::Draining), 503),
        (
            ChatError::Rejected(Rejected::Refused(Refused::TooLong)),
            400,
        ),
        (long, 400),
    ] {
        check(ApiError::of_prompt(error, "messages"), status);
    }
    for (error, status) in [
        (EncodeError::Busy, 429),
        (EncodeError::Empty { index: 1 }, 400),
        (EncodeError::Failed("secret".into()), 500),
    ] {
        check(ApiError::of_input(error, "input"), status);
    }
}

#[test]
fn a_failure_of_the_engine_has_openais_four_keys_and_a_fitting_status() {
    check(ApiError::Loading, 503);
    check(ApiError::Failed(Failed::Engine("secret".into())), 500);
    check(ApiError::Failed(Failed::DeadlineExceeded), 504);
    let (field, message) = (Some("guided_regex".into()), "It met a limit.".into());
    check(ApiError::Failed(Failed::Form { field, message }), 400);
    for (error, status) in [
        (CompileError::Busy, 503),
        (CompileError::TooSlow, 400),
        (CompileError::Invalid("why".into()), 400),
    ] {
        let field = "response_format".to_owned();
        check(
            ApiError::of_prompt(ChatError::Form { field, error }, "messages"),
            status,
        );
    }
}
