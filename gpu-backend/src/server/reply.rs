//! Answers in OpenAI's form: one JSON object, or a stream of server-sent events.
//! The wire types of responses live here and nowhere else: what the routes share in this
//! file, each route's own form beside it.
//! Knows nothing of how an answer is made.

pub(super) mod chat;
pub(super) mod completion;
pub(super) mod encoding;
mod sse;

use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::error::ApiError;
use crate::chat::answer::{Finish, StopReason, Usage};

/// Any response's body.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}

pub(super) fn json_response(
    status: StatusCode,
    value: &impl Serialize,
) -> Result<Response<Body>, ApiError> {
    let bytes = serde_json::to_vec(value).map_err(|e| ApiError::Internal(e.to_string()))?;
    let mut response = Response::new(full(Bytes::from(bytes)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// An identifier that nobody else has.
pub(super) fn random_id(prefix: &str) -> String {
    format!("{prefix}{:032x}", rand::random::<u128>())
}

/// What all parts of one answer carry.
#[derive(Debug)]
pub(super) struct Meta {
    id: String,
    created: u64,
    model: String,
}

impl Meta {
    /// `prefix` says what kind of answer the identifier belongs to.
    pub(super) fn new(prefix: &str, model: String) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            id: random_id(prefix),
            created: now.as_secs(),
            model,
        }
    }

    /// An object of this kind with the fields that all of them have.
    fn object(&self, kind: &str, choices: Json) -> Json {
        json!({
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

fn finish_word(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

/// vLLM's `stop_reason`: the stop string, or the stop token's id.
fn stop_reason_json(reason: Option<StopReason>) -> Json {
    match reason {
        None => Json::Null,
        Some(StopReason::Text(text)) => text.into(),
        Some(StopReason::Token(token)) => token.into(),
    }
}

fn usage_json(usage: Usage) -> Json {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    })
}
