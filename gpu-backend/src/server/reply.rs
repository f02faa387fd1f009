//! Answers in OpenAI's form: one JSON object, or a stream of server-sent events.
//! The wire types of responses live here and nowhere else.
//! Knows nothing of how an answer is made.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::error::{ApiError, stream_body};
use super::request::StreamOptions;
use crate::chat::answer::{Answer, Failed, Finish, Part, TokenLogprob, Usage, Whole};
use crate::tool_parser::{Piece, ToolCall};

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
    pub(super) fn new(model: String) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            id: random_id("chatcmpl-"),
            created: now.as_secs(),
            model,
        }
    }
}

fn finish_word(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

fn usage_json(usage: Usage) -> Json {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        // There is no prefix cache yet, so nothing was ever cached.
        "prompt_tokens_details": {"cached_tokens": 0},
    })
}

fn logprobs_json(logprobs: &[TokenLogprob]) -> Json {
    let one = |token: &str, logprob: f32| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    let content: Vec<Json> = logprobs
        .iter()
        .map(|l| {
            let mut object = one(&l.token, l.logprob);
            object["top_logprobs"] = l.top.iter().map(|(t, p)| one(t, *p)).collect();
            object
        })
        .collect();
    json!({"content": content, "refusal": null})
}

fn call_json(call: &ToolCall) -> Json {
    json!({
        "id": random_id("call_"),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    })
}

/// A whole answer as one object.
pub(super) fn whole(answer: Whole, meta: &Meta) -> Result<Response<Body>, ApiError> {
    let mut message = json!({"role": "assistant", "content": answer.text, "refusal": null});
    if !answer.calls.is_empty() {
        if answer.text.is_empty() {
            message["content"] = Json::Null;
        }
        message["tool_calls"] = answer.calls.iter().map(call_json).collect();
    }
    let logprobs = match answer.logprobs.as_slice() {
        [] => Json::Null,
        some => logprobs_json(some),
    };
    json_response(
        StatusCode::OK,
        &json!({
            "id": meta.id,
            "object": "chat.completion",
            "created": meta.created,
            "model": meta.model,
            "choices": [{
                "index": 0,
                "message": message,
                "logprobs": logprobs,
                "finish_reason": finish_word(answer.finish),
            }],
            "usage": usage_json(answer.usage),
        }),
    )
}

/// An answer as server-sent events. Dropping the body cancels the generation.
pub(super) fn stream(answer: Answer, meta: Meta, options: StreamOptions) -> Response<Body> {
    let events = Events::new(answer, meta, options);
    let frames = stream::unfold(events, |mut events| async move {
        let frame = events.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(frame)), events))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The events of one streamed answer.
struct Events {
    answer: Answer,
    meta: Meta,
    options: StreamOptions,
    /// Ready to be sent.
    ready: VecDeque<Bytes>,
    /// Tool calls so far; the next one has this index.
    calls: usize,
}

impl Events {
    fn new(answer: Answer, meta: Meta, options: StreamOptions) -> Self {
        let mut events = Self {
            answer,
            meta,
            options,
            ready: VecDeque::new(),
            calls: 0,
        };
        events.delta(&json!({"role": "assistant", "content": ""}), &[], None);
        events
    }

    async fn next(&mut self) -> Option<Bytes> {
        while self.ready.is_empty() {
            let part = self.answer.next().await?;
            self.add(part);
        }
        self.ready.pop_front()
    }

    fn add(&mut self, part: Part) {
        match part {
            Part::Delta { pieces, logprobs } => self.pieces(pieces, &logprobs),
            Part::End {
                pieces,
                finish,
                usage,
            } => {
                self.pieces(pieces, &[]);
                self.delta(&json!({}), &[], Some(finish_word(finish)));
                if self.options.include_usage {
                    self.send(json!([]), Some(usage_json(usage)));
                }
                self.ready
                    .push_back(Bytes::from_static(b"data: [DONE]\n\n"));
            }
            Part::Failed { message } => {
                let body = stream_body(ApiError::Failed(Failed(message)));
                self.event(&body);
            }
        }
    }

    fn pieces(&mut self, pieces: Vec<Piece>, logprobs: &[TokenLogprob]) {
        let mut logprobs = logprobs;
        for piece in pieces {
            let delta = match piece {
                Piece::Text(text) => json!({"content": text}),
                Piece::Call(call) => {
                    let mut object = call_json(&call);
                    object["index"] = self.calls.into();
                    self.calls += 1;
                    json!({"tool_calls": [object]})
                }
            };
            self.delta(&delta, std::mem::take(&mut logprobs), None);
        }
        if !logprobs.is_empty() {
            // The token's text is still held back; its log-probability need not be.
            self.delta(&json!({"content": ""}), logprobs, None);
        }
    }

    fn delta(&mut self, delta: &Json, logprobs: &[TokenLogprob], finish: Option<&str>) {
        let logprobs = match logprobs {
            [] => Json::Null,
            some => logprobs_json(some),
        };
        let choice =
            json!({"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish});
        self.send(json!([choice]), None);
    }

    fn send(&mut self, choices: Json, usage: Option<Json>) {
        let mut chunk = json!({
            "id": self.meta.id,
            "object": "chat.completion.chunk",
            "created": self.meta.created,
            "model": self.meta.model,
            "choices": choices,
        });
        // With usage asked for, all chunks but the last carry a null (OpenAI's form).
        if self.options.include_usage {
            chunk["usage"] = usage.unwrap_or(Json::Null);
        }
        self.event(chunk.to_string().as_bytes());
    }

    fn event(&mut self, data: &[u8]) {
        self.ready
            .push_back(Bytes::from([b"data: ", data, b"\n\n"].concat()));
    }
}
