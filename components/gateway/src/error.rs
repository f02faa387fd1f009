//! Everything that a client can be told has gone wrong, and the one place that
//! turns it into a status, headers and OpenAI's error object.
//!
//! It does NOT know how a request is carried out: callers say what happened, in
//! the client's words and, apart from them, in the operator's.

use serde::Serialize;
use serde_json::Value;

use crate::bindings::skerry::chat::auth::AuthError;
use crate::bindings::skerry::chat::rate_limit::{Quantity, RateLimitError, State};
use crate::bindings::skerry::chat::router::RouteError;
use crate::bindings::skerry::chat::session::SessionError;
use crate::headers::limit_headers;
use crate::reply::Reply;

/// Of a backend's message, what a client is shown.
const BACKEND_MESSAGE_CHARS_MAX: usize = 4_000;

/// Of a name that a client wrote, what an error repeats.
const EXCERPT_CHARS_MAX: usize = 64;

/// OpenAI's error kinds: what a client library turns into an exception's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    InvalidRequest,
    Authentication,
    Permission,
    Quota,
    NotFound,
    RateLimit,
    Server,
    Overloaded,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::InvalidRequest | Kind::NotFound => "invalid_request_error",
            Kind::Authentication => "authentication_error",
            Kind::Permission => "permission_error",
            Kind::Quota => "insufficient_quota",
            Kind::RateLimit => "rate_limit_error",
            Kind::Server => "server_error",
            Kind::Overloaded => "overloaded_error",
        }
    }
}

/// One failure. Boxed, because nearly every function here returns one.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Failure>);

/// `message` is for the client, `detail` for the operator's log.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) kind: Kind,
    pub(crate) code: Option<String>,
    pub(crate) param: Option<String>,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    /// Milliseconds after which a retry can help.
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) limits: Option<State>,
    /// The methods that the route has, for 405.
    pub(crate) allow: Option<&'static str>,
}

/// OpenAI's error object; all four keys are always there.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: ErrorObject,
}

#[derive(Debug, Serialize)]
pub(crate) struct ErrorObject {
    message: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    param: Option<String>,
    code: Option<String>,
}

/// An error that a backend reports in its stream, for the log: its kind and code, and of its
/// message, which may quote the prompt, no more than its length.
pub(crate) fn of_backend(error: &Value) -> String {
    let name = |text: &str| -> String {
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.chars().take(64).filter(|c| named(*c)).collect()
    };
    let kind = error["type"].as_str().map(name).unwrap_or_default();
    let code = match &error["code"] {
        Value::String(code) => name(code),
        Value::Number(code) => code.to_string(),
        _ => String::new(),
    };
    let length = message(error).map_or(0, |message| message.len());
    format!("the backend reported an error of type {kind:?}, code {code:?}, {length} bytes")
}

/// The message of an error's JSON, whatever its shape: OpenAI's object, vLLM's older
/// `{"object": "error"}`, Ollama's `{"error": "…"}`, FastAPI's `{"detail": …}`.
fn message(error: &Value) -> Option<String> {
    match error {
        Value::String(text) => Some(text.clone()),
        Value::Array(entries) => {
            let messages: Vec<String> = entries.iter().filter_map(message).collect();
            (!messages.is_empty()).then(|| messages.join("; "))
        }
        Value::Object(object) => {
            let found = ["error", "message", "detail", "msg", "reason"]
                .iter()
                .find_map(|key| message(object.get(*key)?))?;
            // FastAPI says where the field stands.
            let place = object.get("loc").and_then(Value::as_array).map(|loc| {
                let part = |part: &Value| part.as_str().map_or(part.to_string(), str::to_owned);
                loc.iter().map(part).collect::<Vec<_>>().join(".")
            });
            Some(match place {
                Some(place) => format!("{place}: {found}"),
                None => found,
            })
        }
        _ => None,
    }
}

/// A name of the client's, as far as an error repeats it: its beginning, on one line.
pub(crate) fn excerpt(name: &str) -> String {
    let mut excerpt = String::new();
    for c in name.chars().take(EXCERPT_CHARS_MAX) {
        match c.is_control() {
            true => excerpt.extend(c.escape_default()),
            false => excerpt.push(c),
        }
    }
    excerpt
}

impl std::ops::Deref for ApiError {
    type Target = Failure;

    fn deref(&self) -> &Failure {
        &self.0
    }
}

impl std::ops::DerefMut for ApiError {
    fn deref_mut(&mut self) -> &mut Failure {
        &mut self.0
    }
}

impl ApiError {
    fn new(status: u16, kind: Kind, code: Option<&str>, message: impl Into<String>) -> Self {
        Self(Box::new(Failure {
            status,
            kind,
            code: code.map(str::to_owned),
            param: None,
            message: message.into(),
            detail: None,
            retry_after_ms: None,
            limits: None,
            allow: None,
        }))
    }

    /// 400 for one field of the request, named by its path, such as `messages[0].role`.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::new(400, Kind::InvalidRequest, Some("invalid_value"), message);
        error.param = Some(param.into());
        error
    }

    /// 400 for a field in which something must be masked, and whose form has no place for a mask.
    pub(crate) fn must_be_masked(param: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!(
            "'{param}' contains personal data or a secret where it cannot be masked, such as a \
             name, an enum or a stop sequence. This installation's policy does not let it go to a \
             model."
        );
        let mut error = Self::invalid(param, message);
        error.code = Some("content_filter".into());
        error
    }

    /// 400 for a field that exists in OpenAI's API, or not at all, and is not served.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::invalid(param, message);
        error.code = Some("unsupported_parameter".into());
        error
    }

    /// 400 for a body that is not JSON.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, Kind::InvalidRequest, Some("invalid_json"), message)
    }

    /// 400 for a body that would build too much: too many values, or too deep.
    pub(crate) fn too_complex(message: impl Into<String>) -> Self {
        let code = Some("request_too_complex");
        Self::new(400, Kind::InvalidRequest, code, message)
    }

    pub(crate) fn two_authorizations() -> Self {
        let message = "The request has more than one Authorization header; send one.";
        let code = Some("invalid_header");
        Self::new(400, Kind::InvalidRequest, code, message)
    }

    pub(crate) fn body_too_large(bytes_max: usize) -> Self {
        let message = format!("The request's body is larger than {bytes_max} bytes.");
        Self::new(
            413,
            Kind::InvalidRequest,
            Some("request_too_large"),
            message,
        )
    }

    /// 503: other large requests take the room that there is for them.
    pub(crate) fn too_many_large() -> Self {
        let message = "Too many large requests are served at the moment. Please try again.";
        let mut error = Self::new(503, Kind::Overloaded, Some("overloaded"), message);
        error.retry_after_ms = Some(1_000);
        error
    }

    /// 408, as the last event of a stream: its client has fallen so far behind that no more of the
    /// answer is kept for it.
    pub(crate) fn answer_not_read() -> Self {
        let message = "The answer was read too slowly: there is no room for more of what waits.";
        let code = Some("answer_not_read");
        Self::new(408, Kind::InvalidRequest, code, message)
    }

    /// 400: an answer that does not fit into one object.
    pub(crate) fn answer_too_large(bytes_max: usize) -> Self {
        let message = format!(
            "The answer is larger than {bytes_max} bytes, which is the most that fits into one \
             object. Ask for a stream ('stream': true), or for fewer 'top_logprobs'."
        );
        let code = Some("answer_too_large");
        Self::new(400, Kind::InvalidRequest, code, message)
    }

    /// 415: a coding of the body that is not decoded here (RFC 9110 §15.5.16).
    pub(crate) fn unsupported_encoding() -> Self {
        let message =
            "The request's Content-Encoding is not supported; send gzip, deflate or none.";
        Self::new(
            415,
            Kind::InvalidRequest,
            Some("unsupported_content_encoding"),
            message,
        )
    }

    pub(crate) fn unknown_route(method: &str, path: &str) -> Self {
        let message = format!("Unknown request URL: {method} {}.", excerpt(path));
        Self::new(404, Kind::NotFound, Some("unknown_url"), message)
    }

    pub(crate) fn method_not_allowed(method: &str, path: &str, allow: &'static str) -> Self {
        let path = excerpt(path);
        let message = format!("{method} is not allowed for {path}; use {allow}.");
        let mut error = Self::new(
            405,
            Kind::InvalidRequest,
            Some("method_not_allowed"),
            message,
        );
        error.allow = Some(allow);
        error
    }

    /// 403: the key lacks a role.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(
            403,
            Kind::Permission,
            Some("insufficient_permissions"),
            message,
        )
    }

    /// A turn that was answered and could not be stored.
    pub(crate) fn turn_not_stored(error: SessionError) -> Self {
        match error {
            SessionError::TooLong => {
                let message = "The answer is too long to be stored in the conversation.";
                Self::new(400, Kind::InvalidRequest, Some("turn_too_long"), message)
            }
            other => other.into(),
        }
    }

    /// 503: the turn was answered, and its usage could not be written down: it does not count
    /// as answered.
    pub(crate) fn usage_not_recorded(detail: impl Into<String>) -> Self {
        Self::unavailable("The usage ledger", detail)
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        let model = excerpt(model);
        let message =
            format!("The model `{model}` does not exist or you do not have access to it.");
        let mut error = Self::new(404, Kind::NotFound, Some("model_not_found"), message);
        error.param = Some("model".into());
        error
    }

    /// 503: a part of the platform could not be reached; a retry can help.
    pub(crate) fn unavailable(what: &'static str, detail: impl Into<String>) -> Self {
        let message = format!("{what} cannot be reached right now. Please try again.");
        let mut error = Self::new(503, Kind::Overloaded, Some("service_unavailable"), message);
        error.detail = Some(detail.into());
        error.retry_after_ms = Some(1_000);
        error
    }

    /// 500: a defect of the platform.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        let message = "The server had an error while processing your request. Sorry about that!";
        let mut error = Self::new(500, Kind::Server, Some("internal_error"), message);
        error.detail = Some(detail.into());
        error
    }

    /// 502: every backend failed, or the last one in mid-answer.
    pub(crate) fn backend_failed(detail: impl Into<String>) -> Self {
        let message = "The model's backend failed while it answered. Please try again.";
        let mut error = Self::new(502, Kind::Server, Some("backend_error"), message);
        error.detail = Some(detail.into());
        error
    }

    /// 499, for the log: the client left before its answer began, and nobody reads this. (No
    /// status is registered for that; this one is nginx's.)
    pub(crate) fn client_gone() -> Self {
        let message = "The client left before the answer began.";
        Self::new(499, Kind::InvalidRequest, Some("client_gone"), message)
    }

    /// 500: a variable of this component, or of a leaf, means nothing. The host asks before
    /// it serves, so the words are the operator's.
    pub(crate) fn misconfigured(message: impl Into<String>) -> Self {
        Self::new(500, Kind::Server, Some("misconfigured"), message)
    }

    /// 503: every backend is busy.
    pub(crate) fn backend_busy(retry_after_ms: u64) -> Self {
        let message = "The model is overloaded right now. Please try again.";
        let mut error = Self::new(503, Kind::Overloaded, Some("overloaded"), message);
        error.retry_after_ms = Some(retry_after_ms);
        error
    }

    /// A backend's own refusal of the request (4xx), in its words.
    pub(crate) fn refused_by_backend(status: u16, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let object = match &json["error"] {
            Value::Object(_) => &json["error"],
            _ => &json,
        };
        let text = |key: &str| match &object[key] {
            Value::String(text) => Some(excerpt(text)),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let plain = || {
            let text = String::from_utf8_lossy(body);
            let text = text.trim();
            let is_page = text.starts_with('<') || text.starts_with('{');
            (!text.is_empty() && !is_page).then(|| text.to_owned())
        };
        let words = message(&json).or_else(plain);
        let words =
            words.unwrap_or_else(|| format!("The model's backend refused the request ({status})."));
        let words = words
            .chars()
            .take(BACKEND_MESSAGE_CHARS_MAX)
            .collect::<String>();
        let mut error = Self::new(status, Kind::InvalidRequest, None, words);
        error.param = text("param");
        error.code = text("code");
        error
    }

    /// A backend's refusal that comes in its stream: OpenAI's `invalid_request_error`, or vLLM's
    /// status in the place of a code. None of an error that is not the request's.
    pub(crate) fn refused_in_stream(error: &Value) -> Option<Self> {
        let code = error["code"]
            .as_u64()
            .and_then(|code| u16::try_from(code).ok());
        let is_named = error["type"] == "invalid_request_error";
        // Not those that speak of the platform's own key or of the backend's load.
        let status = match code {
            Some(status @ (400 | 413 | 422)) => status,
            None if is_named => 400,
            _ => return None,
        };
        let body = serde_json::json!({ "error": error }).to_string();
        Some(Self::refused_by_backend(status, body.as_bytes()))
    }

    /// The body: OpenAI's error object.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorObject {
                message: self.message.clone(),
                kind: Some(self.kind.name().into()),
                param: self.param.clone(),
                code: self.code.clone(),
            },
        }
    }

    /// The whole answer: the only place where an error becomes a status.
    pub(crate) fn into_reply(self) -> Reply {
        if let Some(detail) = &self.detail {
            crate::log::error(self.code.as_deref().unwrap_or(self.kind.name()), detail);
        }
        let mut reply = Reply::json(self.status, &self.body());
        if let Some(milliseconds) = self.retry_after_ms {
            // RFC 9110 §10.2.3: whole seconds. `retry-after-ms` is OpenAI's finer form.
            reply.header(
                "retry-after",
                milliseconds.div_ceil(1_000).max(1).to_string(),
            );
            reply.header("retry-after-ms", milliseconds.to_string());
        }
        if let Some(limits) = &self.limits {
            reply.headers.extend(limit_headers(limits));
        }
        if let Some(allow) = self.allow {
            reply.header("allow", allow.to_owned());
        }
        if self.status == 401 {
            // RFC 9110 §11.6.1: a 401 names its scheme.
            reply.header("www-authenticate", "Bearer".to_owned());
        }
        reply
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let refused = |message: String| {
            Self::new(401, Kind::Authentication, Some("invalid_api_key"), message)
        };
        match error {
            AuthError::Missing => refused(
                "You didn't provide an API key. Send it as a header: Authorization: Bearer sk-…"
                    .into(),
            ),
            AuthError::Malformed(expected) => {
                refused(format!("Incorrect API key provided: {expected}."))
            }
            AuthError::Unknown => refused("Incorrect API key provided.".into()),
            AuthError::Expired => refused("This API key has expired.".into()),
            AuthError::Unavailable(detail) => Self::unavailable("The key directory", detail),
        }
    }
}

impl From<RateLimitError> for ApiError {
    fn from(error: RateLimitError) -> Self {
        let rejection = match error {
            RateLimitError::Rejected(rejection) => rejection,
            RateLimitError::Unavailable(detail) => {
                return Self::unavailable("The rate limiter", detail);
            }
        };
        let (quantity, limit) = match rejection.quantity {
            Quantity::Requests => ("requests", rejection.state.requests.limit),
            Quantity::Tokens => ("tokens", rejection.state.tokens.limit),
        };
        let message = match rejection.retry_after_ms {
            Some(wait) => format!(
                "Rate limit reached: {limit} {quantity} per minute. Please try again in {}.",
                crate::headers::duration(wait)
            ),
            None => format!(
                "Request too large: it may use more than the limit of {limit} {quantity} per \
                 minute. Shorten the prompt or lower max_completion_tokens."
            ),
        };
        let mut error = Self::new(429, Kind::RateLimit, Some("rate_limit_exceeded"), message);
        error.retry_after_ms = rejection.retry_after_ms;
        error.limits = Some(rejection.state);
        error
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::NotFound => {
                let message = "No such conversation in this project.";
                let mut error =
                    Self::new(404, Kind::NotFound, Some("conversation_not_found"), message);
                error.param = Some("conversation".into());
                error
            }
            SessionError::TooLong => {
                let message = "The newest messages alone are longer than the model's context.";
                let mut error = Self::new(
                    400,
                    Kind::InvalidRequest,
                    Some("context_length_exceeded"),
                    message,
                );
                error.param = Some("messages".into());
                error
            }
            // Not 429, after which clients try again by themselves: only a deletion makes room.
            SessionError::Full => {
                let message = "The project's stored conversations are at their quota, so this \
                               turn could not be stored. Delete conversations to make room.";
                let mut error = Self::new(403, Kind::Quota, Some("quota_exceeded"), message);
                error.param = Some("conversation".into());
                error
            }
            SessionError::Unavailable(detail) => Self::unavailable("The conversation", detail),
        }
    }
}

impl ApiError {
    /// A route that could not be had for `model`.
    pub(crate) fn no_route(error: RouteError, model: &str) -> Self {
        match error {
            RouteError::UnknownModel => Self::unknown_model(model),
            RouteError::NoBackend(retry_after_ms) => {
                let mut error = Self::unavailable("The model's backend", "no healthy backend");
                error.retry_after_ms = Some(retry_after_ms);
                error
            }
            RouteError::Misconfigured(detail) => Self::internal(detail),
        }
    }
}
