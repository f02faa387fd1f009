//! Which path is what, and the life of a chat request around its [`Exchange`].
//!
//! It does NOT know the host's types; `host.rs` converts.

use crate::bindings::skerry::chat::types::{Principal, Role};
use crate::body::{Body, Encoded};
use crate::error::ApiError;
use crate::exchange::{Exchange, Interrupt};
use crate::headers::limit_headers;
use crate::models;
use crate::output::{Collected, Gone, Sink, Streamed};
use crate::platform::Platform;
use crate::reply::Reply;
use crate::request::ChatRequest;
use crate::settings;
use crate::timing::Timing;

const CHAT: &str = "/v1/chat/completions";
const MODELS: &str = "/v1/models";
/// Only the host can reach it: no public route leads here.
const TICK: &str = "/internal/tick";
/// Likewise: asked once, before anything is served.
const CHECK: &str = "/internal/check";
/// No further delivery begins after so much time of one tick; the next tick goes on.
const TICK_NS_MAX: u64 = 10_000_000_000;

/// What the host hands in. The body is read only once the caller is known.
pub(crate) struct Incoming<B> {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Each of the fields of that name.
    pub(crate) authorization: Vec<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) body: B,
}

/// A whole answer, or the head of one that [`stream`] continues.
pub(crate) enum Handled<P: Platform> {
    Reply(Reply),
    Stream(Reply, Box<Exchange<P>>),
}

pub(crate) async fn handle<P: Platform>(platform: P, incoming: Incoming<impl Body>) -> Handled<P> {
    let request_id = format!("req_{:032x}", platform.random());
    let mut handled = match dispatch(platform, incoming, &request_id).await {
        Ok(handled) => handled,
        Err(error) => Handled::Reply(error.into_reply()),
    };
    let (Handled::Reply(reply) | Handled::Stream(reply, _)) = &mut handled;
    reply.header("x-request-id", request_id);
    handled
}

async fn dispatch<P: Platform>(
    platform: P,
    incoming: Incoming<impl Body>,
    request_id: &str,
) -> Result<Handled<P>, ApiError> {
    let Incoming {
        method,
        path,
        authorization,
        content_encoding,
        body,
    } = incoming;
    let authorization = only(authorization)?;
    // Clients build their paths with a slash at the end.
    let path = path.trim_end_matches('/');
    let model = path
        .strip_prefix(MODELS)
        .and_then(|rest| rest.strip_prefix('/'))
        .map(percent_decoded);
    // RFC 9110 §9.3.2: HEAD is GET without the content.
    let is_head = method == "HEAD";
    let read_method = if is_head { "GET" } else { method.as_str() };
    match (path, read_method) {
        (CHAT, "POST") => {
            let body = Encoded::new(content_encoding, body);
            chat(platform, authorization, body, request_id).await
        }
        (MODELS, "GET") => {
            let reply = models(&platform, authorization, None).await?;
            Ok(Handled::Reply(reply.of(is_head)))
        }
        (_, "GET") if model.is_some() => {
            let reply = models(&platform, authorization, model.as_deref()).await?;
            Ok(Handled::Reply(reply.of(is_head)))
        }
        (TICK, "POST") => {
            let delivered = drain(&platform).await.map_err(ApiError::internal)?;
            Ok(Handled::Reply(Reply::json(
                200,
                &serde_json::json!({"delivered": delivered}),
            )))
        }
        (CHECK, "POST") => {
            settings::check(&platform).await?;
            Ok(Handled::Reply(Reply::json(200, &serde_json::json!({}))))
        }
        (CHAT, _) => Err(ApiError::method_not_allowed(&method, path, "POST")),
        (MODELS, _) => Err(ApiError::method_not_allowed(&method, path, "GET")),
        _ if model.is_some() => Err(ApiError::method_not_allowed(&method, path, "GET")),
        _ => Err(ApiError::unknown_route(&method, path)),
    }
}

/// The one `Authorization` field: of two, this and another server might read another one.
fn only(mut authorization: Vec<String>) -> Result<Option<String>, ApiError> {
    match authorization.len() {
        0 | 1 => Ok(authorization.pop()),
        _ => Err(ApiError::two_authorizations()),
    }
}

/// All models, or one; a request like any other.
async fn models<P: Platform>(
    platform: &P,
    authorization: Option<String>,
    id: Option<&str>,
) -> Result<Reply, ApiError> {
    let who = platform.authenticate(authorization).await?;
    let admission = platform.admit(&who, 0).await?;
    let answered = models::answer(platform, id).await;
    // Nothing is settled: no tokens were taken, and a request is not given back.
    let mut reply = answered.map_err(|mut error| {
        error.limits.get_or_insert(admission.state);
        error
    })?;
    reply.headers.extend(limit_headers(&admission.state));
    Ok(reply)
}

/// Delivers what waits, until nothing does: what one call delivers has a maximum, and more
/// than that may have come since the last tick.
async fn drain(platform: &impl Platform) -> Result<u32, String> {
    let end_ns = platform.monotonic_ns() + TICK_NS_MAX;
    let mut delivered = 0_u32;
    loop {
        let now_delivered = platform.drain().await?;
        delivered = delivered.saturating_add(now_delivered);
        if now_delivered == 0 || platform.monotonic_ns() > end_ns {
            return Ok(delivered);
        }
    }
}

async fn request(who: &Principal, body: Encoded<impl Body>) -> Result<ChatRequest, ApiError> {
    may_call_models(who)?;
    ChatRequest::parse(body.read().await?)
}

async fn chat<P: Platform>(
    platform: P,
    authorization: Option<String>,
    body: Encoded<impl Body>,
    request_id: &str,
) -> Result<Handled<P>, ApiError> {
    let started_ns = platform.monotonic_ns();
    let mut timing = Timing::new(started_ns);
    let who = platform.authenticate(authorization).await?;
    timing.lap("auth", platform.monotonic_ns());
    let request = match request(&who, body).await {
        Ok(request) => request,
        Err(mut error) => {
            // It counts as a request, and where there are too many of them it is one too many.
            let admission = platform.admit(&who, 0).await?;
            error.limits.get_or_insert(admission.state);
            return Err(error);
        }
    };
    timing.lap("gateway", platform.monotonic_ns());

    let id = request_id.to_owned();
    let mut exchange = Exchange::begin(platform, who, request, id, timing, started_ns).await?;
    if exchange.request().stream {
        let mut head = Reply::event_stream();
        head.headers.extend(answer_headers(&exchange));
        return Ok(Handled::Stream(head, Box::new(exchange)));
    }
    let mut collected = Collected::default();
    let result = exchange.run(&mut collected).await;
    let closed = exchange.close(&result).await;
    let headers = answer_headers(&exchange);
    let mut reply = match (result, closed) {
        (Ok(reason), Ok(())) => {
            let events = exchange.request().events;
            let reasons = exchange.finish_reasons(reason);
            collected.into_reply(&exchange.identity(), &reasons, exchange.usage(), events)
        }
        (Err(Interrupt::Failed(error)), _) | (Ok(_), Err(error)) => error.into_reply(),
        // Of an answer that is collected, either the object is full or its client has left.
        (Err(Interrupt::Gone), _) => {
            let full = collected.take_full();
            full.unwrap_or_else(ApiError::client_gone).into_reply()
        }
    };
    reply.headers.extend(headers);
    Ok(Handled::Reply(reply))
}

/// Continues a stream whose head has been sent, to its end.
pub(crate) async fn stream<P: Platform>(mut exchange: Box<Exchange<P>>, sink: impl Sink) {
    let request = exchange.request();
    let (include_usage, events) = (request.include_usage, request.events);
    let mut out = Streamed::new(sink, exchange.identity(), include_usage, events);
    let result = exchange.run(&mut out).await;
    let closed = exchange.close(&result).await;
    let ended: Result<(), Gone> = match (result, closed) {
        (Ok(reason), Ok(())) => {
            let reasons = exchange.finish_reasons(reason);
            out.finish(&reasons, exchange.usage()).await
        }
        (Err(Interrupt::Failed(error)), _) | (Ok(_), Err(error)) => {
            if let Some(detail) = &error.detail {
                crate::log::error("stream_failed", detail);
            }
            out.error(&error).await
        }
        (Err(Interrupt::Gone), _) => Err(Gone),
    };
    // Nobody is left to be told.
    let _ = ended;
}

fn answer_headers<P: Platform>(exchange: &Exchange<P>) -> Vec<(&'static str, String)> {
    let mut headers = limit_headers(exchange.limits());
    headers.push(("server-timing", exchange.timing.header()));
    headers.push(("openai-processing-ms", exchange.elapsed_ms().to_string()));
    headers
}

/// Owners and members; a reader reads usage (`role` in wit/types.wit).
fn may_call_models(who: &Principal) -> Result<(), ApiError> {
    let calls = |role: &Role| matches!(role, Role::Owner | Role::Member);
    if who.roles.iter().any(calls) {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "This API key may read usage, and not call models.",
    ))
}

/// A path's segment as it was meant; an escape that is none stays as it is.
fn percent_decoded(segment: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8();
    decoded.map_or_else(|_| segment.to_owned(), |decoded| decoded.into_owned())
}

#[cfg(test)]
mod tests;
