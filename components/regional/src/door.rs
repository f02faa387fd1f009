//! The leaves and the host: reads a request, lets it in, sends the answer.
//!
//! It converts and does IO. It does not know a half's routes or records.

use crate::asked::BODY_BYTES_MAX;
use crate::bindings::skerry::chat::auth::{self, AuthError};
use crate::bindings::skerry::chat::rate_limit::{self, Quantity, RateLimitError};
use crate::bindings::skerry::chat::types;
use crate::limits::{State, Window, duration};
use crate::{Answer, ApiError, Asked, Principal, Role};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use spin_sdk::http::{FullBody, HeaderValue, Request, Response, StatusCode};
use std::time::{SystemTime, UNIX_EPOCH};

/// Somebody who was let in.
pub struct Visitor {
    /// Who it is.
    pub principal: Principal,
    state: State,
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Fills a buffer with random bytes that nobody can guess.
pub fn random(bytes: &mut [u8]) -> Result<(), ApiError> {
    getrandom::fill(bytes).map_err(|error| ApiError::internal(error.to_string()))
}

/// Reads a request whole, within bounds.
pub async fn read(request: Request) -> Result<Asked, ApiError> {
    let (head, body) = request.into_parts();
    // Of two, this and another server might read another one.
    if head.headers.get_all("authorization").iter().count() > 1 {
        return Err(ApiError::two_authorizations());
    }
    let authorization = match head.headers.get("authorization").map(HeaderValue::to_str) {
        None => None,
        Some(Ok(text)) => Some(text.to_owned()),
        // Not text, so no key: `auth` says so.
        Some(Err(_)) => Some(String::new()),
    };
    let body = Limited::new(body, BODY_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| match error.is::<LengthLimitError>() {
            true => ApiError::too_large(BODY_BYTES_MAX),
            false => ApiError::not_json("The body could not be read to its end."),
        })?;
    Ok(Asked {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        authorization,
        body: body.to_bytes().into(),
    })
}

/// Who asks, and may they now?
pub async fn enter(asked: &Asked) -> Result<Visitor, ApiError> {
    let who = auth::authenticate(asked.authorization.clone())
        .await
        .map_err(nobody)?;
    let principal = principal(&who);
    match rate_limit::admit(who, 0).await {
        // Nothing to settle: no tokens were taken, and a request is not given back.
        Ok(admission) => Ok(Visitor {
            principal,
            state: state(&admission.state),
        }),
        Err(error) => Err(not_now(error)),
    }
}

impl Visitor {
    /// Adds what is left of the visitor's ceilings.
    pub fn tell_limits(&self, mut answer: Answer) -> Answer {
        answer.headers.extend(self.state.headers());
        answer
    }
}

/// The host's response. `half` names the component in the operator's log.
pub fn respond(half: &str, answer: Result<Answer, ApiError>) -> Response<FullBody<Bytes>> {
    let answer = answer.unwrap_or_else(Answer::from);
    let request_id = request_id();
    if let Some(detail) = &answer.log {
        log(half, &request_id, answer.status, detail);
    }
    let body = answer
        .body
        .as_ref()
        .map_or_else(Bytes::new, |body| body.to_string().into());
    let empty = body.is_empty();
    let mut response = Response::new(FullBody::new(body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if !empty {
        headers.insert("content-type", HeaderValue::from_static("application/json"));
    }
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    let answered = answer
        .headers
        .into_iter()
        .chain([("x-request-id", request_id)]);
    for (name, value) in answered {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

fn request_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness the request still gets its answer; only the id is no help.
    let _random = getrandom::fill(&mut bytes);
    format!("req_{:032x}", u128::from_be_bytes(bytes))
}

#[expect(
    clippy::print_stderr,
    reason = "a component's standard error is its log"
)]
fn log(half: &str, request_id: &str, status: u16, detail: &str) {
    let line = serde_json::json!({
        "level": "error", "component": half, "request_id": request_id, "status": status,
        "detail": detail,
    });
    eprintln!("{line}");
}

fn nobody(error: AuthError) -> ApiError {
    match error {
        AuthError::Missing => ApiError::unauthorized(
            "You didn't provide an API key. Send it as a header: Authorization: Bearer sk-…",
        ),
        AuthError::Malformed(expected) => {
            ApiError::unauthorized(format!("Incorrect API key provided: {expected}."))
        }
        AuthError::Unknown => ApiError::unauthorized("Incorrect API key provided."),
        AuthError::Expired => ApiError::unauthorized("This API key has expired."),
        AuthError::Unavailable(detail) => ApiError::unavailable("The key directory", detail),
    }
}

fn not_now(error: RateLimitError) -> ApiError {
    let rejection = match error {
        RateLimitError::Rejected(rejection) => rejection,
        RateLimitError::Unavailable(detail) => {
            return ApiError::unavailable("The rate limiter", detail);
        }
    };
    let (quantity, limit) = match rejection.quantity {
        Quantity::Requests => ("requests", rejection.state.requests.limit),
        Quantity::Tokens => ("tokens", rejection.state.tokens.limit),
    };
    let retry = match rejection.retry_after_ms {
        Some(wait_ms) => format!(" Please try again in {}.", duration(wait_ms)),
        None => String::new(),
    };
    let message = format!("Rate limit reached: {limit} {quantity} per minute.{retry}");
    ApiError::rate_limited(message, rejection.retry_after_ms, &state(&rejection.state))
}

fn principal(who: &types::Principal) -> Principal {
    let role = |role: &types::Role| match role {
        types::Role::Owner => Role::Owner,
        types::Role::Member => Role::Member,
        types::Role::Reader => Role::Reader,
    };
    Principal {
        organization_id: who.organization_id.clone(),
        project_id: who.project_id.clone(),
        user_id: who.user_id.clone(),
        key_id: who.key_id.clone(),
        roles: who.roles.iter().map(role).collect(),
    }
}

fn state(state: &rate_limit::State) -> State {
    let window = |window: &rate_limit::Window| Window {
        limit: window.limit,
        remaining: window.remaining,
        reset_ms: window.reset_ms,
    };
    State {
        requests: window(&state.requests),
        tokens: window(&state.tokens),
    }
}
