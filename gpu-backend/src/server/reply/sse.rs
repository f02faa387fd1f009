//! Server-sent events: the parts of all answers of a request, in the form that a route
//! gives them, one event a part.
//!
//! Invariant: dropping the body drops the answers, which cancels their generations.
//! Knows nothing of a route's form.

use std::collections::VecDeque;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value as Json, json};

use super::super::error::{ApiError, stream_body};
use super::super::request::StreamOptions;
use super::{Body, Meta, usage_json};
use crate::chat::answer::{Failed, Part, Usage};
use crate::chat::answers::{Answers, Parts};

/// A route's form of a stream: which choices an event carries.
pub(super) trait Form: Send + 'static {
    /// The events' `object`.
    const KIND: &'static str;

    /// What stands before the first part of an answer.
    fn begin(&mut self, index: usize) -> Vec<Json>;

    /// The choices of a part, an event each.
    fn part(&mut self, index: usize, part: Part) -> Vec<Json>;
}

/// The stream of all answers.
pub(super) fn respond(
    answers: Answers,
    form: impl Form,
    meta: Meta,
    options: StreamOptions,
) -> Response<Body> {
    let events = Events::new(answers, form, meta, options);
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

/// The events of one stream.
struct Events<F> {
    /// Absent after the end.
    parts: Option<Parts>,
    form: F,
    meta: Meta,
    options: StreamOptions,
    /// Answers to each prompt.
    n: usize,
    /// What each answer has used so far.
    usages: Vec<Usage>,
    /// Ready to be sent.
    ready: VecDeque<Bytes>,
}

impl<F: Form> Events<F> {
    fn new(answers: Answers, form: F, meta: Meta, options: StreamOptions) -> Self {
        let prompts = answers.prompt_tokens().into_iter();
        let usages = prompts.map(|prompt_tokens| Usage {
            prompt_tokens,
            ..Usage::default()
        });
        let mut events = Self {
            usages: usages.collect(),
            n: answers.n(),
            parts: Some(answers.parts()),
            form,
            meta,
            options,
            ready: VecDeque::new(),
        };
        for index in 0..events.usages.len() {
            let choices = events.form.begin(index);
            events.choices(index, choices);
        }
        events
    }

    async fn next(&mut self) -> Option<Bytes> {
        while self.ready.is_empty() {
            match self.parts.as_mut()?.next().await {
                Some((_, Part::Failed(failed))) => self.fail(failed),
                Some((index, part)) => self.add(index, part),
                None => self.end(),
            }
        }
        self.ready.pop_front()
    }

    fn add(&mut self, index: usize, part: Part) {
        match &part {
            Part::End(end) => self.usages[index] = end.usage,
            Part::Delta { .. } => self.usages[index].completion_tokens += 1,
            Part::Prompt(_) | Part::Failed(_) => {}
        }
        let choices = self.form.part(index, part);
        self.choices(index, choices);
    }

    fn choices(&mut self, index: usize, choices: Vec<Json>) {
        for choice in choices {
            let usage = self.options.continuous_usage;
            let usage = usage.then(|| usage_json(self.usages[index]));
            self.send(json!([choice]), usage);
        }
    }

    /// One answer failed: the error is the last event, and the others are cancelled.
    fn fail(&mut self, failed: Failed) {
        self.parts = None;
        let body = stream_body(ApiError::Failed(failed));
        self.event(&body);
    }

    fn end(&mut self) {
        self.parts = None;
        if self.options.include_usage {
            let total = Usage::total(self.usages.iter().copied(), self.n);
            self.send(json!([]), Some(usage_json(total)));
        }
        self.event(b"[DONE]");
    }

    fn send(&mut self, choices: Json, usage: Option<Json>) {
        let mut chunk = self.meta.object(F::KIND, choices);
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
