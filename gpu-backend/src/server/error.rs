//! Every error a client can meet, and the one function that gives it a status and
//! OpenAI's body.
//! Knows nothing of how a request is carried out.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::BODY_BYTES_MAX;
use super::reply::{Body, full};
use crate::chat::ChatError;
use crate::chat::answer::Failed;
use crate::chat_template::TemplateError;
use crate::constraint::compiler::CompileError;
use crate::encoder::EncodeError;
use crate::handle::Rejected;

/// When a client may come again to an engine that is starting or stopping: no measured
/// time is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A field of a request that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) param: Option<String>,
    pub(super) message: String,
    pub(super) code: Option<&'static str>,
}

/// Why a request's body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    Timeout,
    /// It ended too early, or is not in the coding that it claims.
    Broken,
    /// Its `Content-Encoding` is not read.
    Coding,
}

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("invalid request")]
    Invalid(Invalid),
    /// The server's key is not in the request.
    #[error("unauthorized")]
    Unauthorized,
    #[error("unknown model")]
    UnknownModel(String),
    #[error("unknown route")]
    UnknownRoute {
        path: String,
        /// The path that was probably meant.
        right: Option<&'static str>,
    },
    #[error("method not allowed")]
    Method { allowed: &'static str },
    /// The route is for another kind of model.
    #[error("wrong kind of model")]
    WrongModel(&'static str),
    /// Of an input that stood in this field.
    #[error("{error}")]
    Encode {
        error: EncodeError,
        param: &'static str,
    },
    #[error("body cannot be read")]
    Body(BodyError),
    #[error("loading")]
    Loading,
    /// Of the prompt that stood in this field.
    #[error("{error}")]
    Chat {
        error: ChatError,
        param: &'static str,
    },
    #[error(transparent)]
    Failed(#[from] Failed),
    #[error("internal")]
    Internal(String),
}

impl ApiError {
    /// What became of an encoder's input; `param` is the field that it stood in.
    pub(super) fn of_input(error: EncodeError, param: &'static str) -> Self {
        match error {
            EncodeError::WrongTask(what) => Self::WrongModel(what),
            EncodeError::Failed(detail) => Self::Internal(detail),
            error => Self::Encode { error, param },
        }
    }

    /// What became of a prompt; `param` is the field that it stood in.
    pub(super) fn of_prompt(error: ChatError, param: &'static str) -> Self {
        Self::Chat { error, param }
    }
}

/// OpenAI's error object, and what HTTP says with it.
#[derive(Debug)]
struct Told {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    header: Option<(header::HeaderName, HeaderValue)>,
}

/// The response to an error; logs what only the operator should know.
pub(super) fn respond(error: ApiError) -> Response<Body> {
    if let ApiError::Internal(detail) | ApiError::Failed(Failed::Engine(detail)) = &error {
        tracing::error!(detail, "request failed");
    }
    let told = tell(error);
    let mut response = Response::new(full(body(&told)));
    *response.status_mut() = told.status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some((name, value)) = told.header {
        headers.insert(name, value);
    }
    response
}

/// The error object for a stream whose head is already sent.
pub(super) fn stream_body(error: ApiError) -> Bytes {
    if let ApiError::Failed(Failed::Engine(detail)) = &error {
        tracing::error!(detail, "stream failed");
    }
    body(&tell(error))
}

fn body(told: &Told) -> Bytes {
    let object = json!({"error": {
        "message": told.message,
        "type": told.kind,
        "param": told.param,
        "code": told.code,
    }});
    Bytes::from(object.to_string())
}

fn invalid(status: StatusCode, message: impl Into<String>, code: Option<&'static str>) -> Told {
    let kind = "invalid_request_error";
    Told {
        status,
        kind,
        message: message.into(),
        param: None,
        code,
        header: None,
    }
}

fn of_model(status: StatusCode, message: String, code: &'static str) -> Told {
    Told {
        param: Some("model".to_owned()),
        ..invalid(status, message, Some(code))
    }
}

fn of_form(field: Option<String>, message: String) -> Told {
    Told {
        param: field,
        ..invalid(StatusCode::BAD_REQUEST, message, Some("invalid_value"))
    }
}

fn server(status: StatusCode, message: &str, code: Option<&'static str>) -> Told {
    let kind = "server_error";
    Told {
        status,
        kind,
        message: message.to_owned(),
        param: None,
        code,
        header: None,
    }
}

/// The one place that knows which status and words belong to an error.
fn tell(error: ApiError) -> Told {
    match error {
        ApiError::Invalid(Invalid {
            param,
            message,
            code,
        }) => Told {
            param,
            ..invalid(StatusCode::BAD_REQUEST, message, code)
        },
        ApiError::Unauthorized => {
            let message = "This engine asks for its key, as `Authorization: Bearer KEY`.";
            let scheme = HeaderValue::from_static("Bearer");
            Told {
                header: Some((header::WWW_AUTHENTICATE, scheme)),
                ..invalid(StatusCode::UNAUTHORIZED, message, Some("invalid_api_key"))
            }
        }
        ApiError::UnknownModel(name) => of_model(
            StatusCode::NOT_FOUND,
            format!("The model `{name}` does not exist."),
            "model_not_found",
        ),
        ApiError::UnknownRoute { path, right } => {
            let hint = right.map(|right| format!(" Did you mean {right}?"));
            let message = format!("Unknown route: {path}.{}", hint.unwrap_or_default());
            invalid(StatusCode::NOT_FOUND, message, Some("unknown_url"))
        }
        ApiError::Method { allowed } => Told {
            header: Some((header::ALLOW, HeaderValue::from_static(allowed))),
            ..invalid(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("Method not allowed; allowed: {allowed}"),
                Some("method_not_allowed"),
            )
        },
        ApiError::Body(error) => tell_body(error),
        ApiError::Loading => retry(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "The model is loading.",
            "model_loading",
            RETRY_AFTER,
        ),
        ApiError::WrongModel(what) => of_model(
            StatusCode::BAD_REQUEST,
            format!("This model {what}."),
            "model_not_supported",
        ),
        ApiError::Encode { error, param } => tell_encode(error, param),
        ApiError::Chat { error, param } => tell_chat(error, param),
        ApiError::Failed(Failed::DeadlineExceeded) => server(
            StatusCode::GATEWAY_TIMEOUT,
            "The request's deadline passed before the answer was complete.",
            Some("deadline_exceeded"),
        ),
        ApiError::Failed(Failed::Form { field, message }) => of_form(field, message),
        ApiError::Failed(Failed::Engine(_)) | ApiError::Internal(_) => server(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The engine failed while answering.",
            Some("engine_error"),
        ),
    }
}

fn tell_body(error: BodyError) -> Told {
    match error {
        BodyError::TooLarge => invalid(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The body is larger than {BODY_BYTES_MAX} bytes."),
            Some("body_too_large"),
        ),
        BodyError::Timeout => invalid(
            StatusCode::REQUEST_TIMEOUT,
            "The body took too long.",
            Some("body_timeout"),
        ),
        BodyError::Broken => invalid(
            StatusCode::BAD_REQUEST,
            "The body broke off.",
            Some("invalid_body"),
        ),
        // RFC 9110 §15.5.16: the answer says which coding is taken.
        BodyError::Coding => Told {
            header: Some((header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))),
            ..invalid(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body's Content-Encoding is not supported; supported: gzip.",
                Some("unsupported_content_encoding"),
            )
        },
    }
}

fn tell_chat(error: ChatError, prompt: &str) -> Told {
    let long = Some("context_length_exceeded");
    let on = |param: &str, told: Told| Told {
        param: Some(param.to_owned()),
        ..told
    };
    let bad = StatusCode::BAD_REQUEST;
    match error {
        ChatError::Template(TemplateError::Missing) => of_model(
            bad,
            "This model has no chat template, so it answers no chats; use /v1/completions."
                .to_owned(),
            "chat_template_missing",
        ),
        ChatError::Template(TemplateError::Refused(_) | TemplateError::Endless)
        | ChatError::PromptEmpty
        | ChatError::TokenBeyond { .. } => on(
            prompt,
            invalid(bad, error.to_string(), Some("invalid_value")),
        ),
        ChatError::Form {
            ref field,
            error: ref compile,
        } => tell_form(field, compile, error.to_string()),
        ChatError::PromptTooLong { .. } => on(prompt, invalid(bad, error.to_string(), long)),
        ChatError::AnswerTooLong { .. } => on("max_tokens", invalid(bad, error.to_string(), long)),
        ChatError::Rejected(Rejected::Refused(refused)) => on(
            prompt,
            invalid(bad, format!("The prompt was refused: {refused}."), long),
        ),
        ChatError::Rejected(Rejected::QueueFull { retry_after }) => retry(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "The engine's queue is full. Please try again later.",
            "queue_full",
            retry_after,
        ),
        ChatError::Rejected(Rejected::Draining | Rejected::Dead) => retry(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "The engine is shutting down.",
            "shutting_down",
            RETRY_AFTER,
        ),
        ChatError::Template(_) | ChatError::Tokenizer(_) => {
            tracing::error!(%error, "a file of the model is at fault");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            server(
                status,
                "The model's own files are at fault.",
                Some("model_error"),
            )
        }
    }
}

/// A form that could not be compiled: `message` says why.
fn tell_form(field: &str, error: &CompileError, message: String) -> Told {
    let code = match error {
        CompileError::Busy => {
            return retry(
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "Too many other forms are being compiled. Please try again later.",
                "compiler_busy",
                RETRY_AFTER,
            );
        }
        CompileError::Invalid(_) | CompileError::TooSlow => "invalid_value",
        CompileError::Vocabulary(_) => "unsupported_parameter",
    };
    Told {
        param: Some(field.to_owned()),
        ..invalid(StatusCode::BAD_REQUEST, message, Some(code))
    }
}

fn tell_encode(error: EncodeError, param: &str) -> Told {
    let code = match error {
        EncodeError::TooLong { .. } => Some("context_length_exceeded"),
        _ => Some("invalid_value"),
    };
    match error {
        EncodeError::WrongTask(what) => tell(ApiError::WrongModel(what)),
        EncodeError::TooLong { .. }
        | EncodeError::Empty { .. }
        | EncodeError::UnknownToken { .. } => Told {
            param: Some(param.to_owned()),
            ..invalid(StatusCode::BAD_REQUEST, format!("{error}."), code)
        },
        EncodeError::Tokenizer(error) => tell_chat(ChatError::Tokenizer(error), param),
        EncodeError::Busy => retry(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "The encoder's queue is full. Please try again later.",
            "queue_full",
            RETRY_AFTER,
        ),
        EncodeError::Failed(detail) => tell(ApiError::Internal(detail)),
    }
}

fn retry(
    status: StatusCode,
    kind: &'static str,
    message: &str,
    code: &'static str,
    after: Duration,
) -> Told {
    let header = Some((header::RETRY_AFTER, HeaderValue::from(after.as_secs())));
    Told {
        status,
        kind,
        message: message.to_owned(),
        param: None,
        code: Some(code),
        header,
    }
}
