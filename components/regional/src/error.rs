//! What went wrong, and the one place that turns it into a status and OpenAI's error object.
//!
//! It stands at a half's way out. The client's words and the operator's are two fields.

use crate::Answer;
use crate::limits::State;
use records::DatabaseError;
use serde_json::json;

/// One failure. Boxed, because every function here returns one.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError(Box<Failure>);

#[derive(Debug, Clone, PartialEq)]
struct Failure {
    status: u16,
    kind: &'static str,
    code: &'static str,
    param: Option<String>,
    message: String,
    detail: Option<String>,
    retry_after_ms: Option<u64>,
    headers: Vec<(&'static str, String)>,
}

const INVALID: &str = "invalid_request_error";

impl ApiError {
    fn new(
        status: u16,
        kind: &'static str,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self(Box::new(Failure {
            status,
            kind,
            code,
            param: None,
            message: message.into(),
            detail: None,
            retry_after_ms: None,
            headers: Vec::new(),
        }))
    }

    /// 400: a field or a parameter, by its name, has a wrong value.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::new(400, INVALID, "invalid_value", message);
        error.0.param = Some(param.into());
        error
    }

    /// 400: a field or a parameter, by its name, is missing.
    pub fn missing(param: &str) -> Self {
        let message = format!("Missing required parameter: '{param}'.");
        let mut error = Self::invalid(param, message);
        error.0.code = "missing_required_parameter";
        error
    }

    /// 400: a field or a parameter, by its name, is not known here.
    pub fn unknown_parameter(param: &str) -> Self {
        let shown: String = param.chars().take(100).collect();
        let message = format!("Unknown parameter: '{shown}'.");
        let mut error = Self::invalid(shown, message);
        error.0.code = "unknown_parameter";
        error
    }

    /// 400: the body is no JSON object.
    pub fn not_json(message: impl Into<String>) -> Self {
        Self::new(400, INVALID, "invalid_json", message)
    }

    /// 400: more than one `Authorization` header.
    pub fn two_authorizations() -> Self {
        let message = "The request has more than one Authorization header; send one.";
        Self::new(400, INVALID, "invalid_header", message)
    }

    /// 401: nobody was established.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        let mut error = Self::new(401, "authentication_error", "invalid_api_key", message);
        // RFC 9110 §11.6.1: a 401 names its scheme.
        error
            .0
            .headers
            .push(("www-authenticate", "Bearer".to_owned()));
        error
    }

    /// 403: the key lacks a role.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "permission_error", "insufficient_permissions", message)
    }

    /// 404: no such thing for this principal.
    pub fn not_found(what: &str) -> Self {
        Self::new(404, INVALID, "not_found", format!("No such {what}."))
    }

    /// 404: no such route.
    pub fn unknown_route(method: &str, path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        let message = format!("Unknown request URL: {method} {path}.");
        Self::new(404, INVALID, "unknown_url", message)
    }

    /// 405: the route has other methods.
    pub fn method_not_allowed(method: &str, path: &str, allow: &'static str) -> Self {
        let message = format!("{method} is not allowed for {path}; use {allow}.");
        let mut error = Self::new(405, INVALID, "method_not_allowed", message);
        error.0.headers.push(("allow", allow.to_owned()));
        error
    }

    /// 409: it cannot be done as things are.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(409, INVALID, code, message)
    }

    /// 410: its time is over.
    pub fn gone(what: &str) -> Self {
        Self::new(
            410,
            INVALID,
            "gone",
            format!("This {what} is no longer there."),
        )
    }

    /// 413: the body is too long.
    pub fn too_large(bytes_max: usize) -> Self {
        let message = format!("The request's body is larger than {bytes_max} bytes.");
        Self::new(413, INVALID, "request_too_large", message)
    }

    /// 429: too much; `retry_after_ms` is none where a retry never helps.
    pub fn rate_limited(
        message: impl Into<String>,
        retry_after_ms: Option<u64>,
        state: &State,
    ) -> Self {
        let mut error = Self::new(429, "rate_limit_error", "rate_limit_exceeded", message);
        error.0.retry_after_ms = retry_after_ms;
        error.0.headers = state.headers();
        error
    }

    /// 500: a defect of the platform. The detail is for the operator.
    pub fn internal(detail: impl Into<String>) -> Self {
        let message = "The server had an error while processing your request. Sorry about that!";
        let mut error = Self::new(500, "server_error", "internal_error", message);
        error.0.detail = Some(detail.into());
        error
    }

    /// 503: a retry can help. The detail is for the operator.
    pub fn unavailable(what: &str, detail: impl Into<String>) -> Self {
        let message = format!("{what} cannot be reached right now. Please try again.");
        let mut error = Self::new(503, "overloaded_error", "service_unavailable", message);
        error.0.detail = Some(detail.into());
        error.0.retry_after_ms = Some(1_000);
        error
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.0.status
    }
}

impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(_) => Self::unavailable("The database", error.to_string()),
            DatabaseError::Statement(_) | DatabaseError::Shape { .. } => {
                Self::internal(error.to_string())
            }
        }
    }
}

impl From<ApiError> for Answer {
    fn from(ApiError(error): ApiError) -> Self {
        let mut headers = error.headers;
        if let Some(ms) = error.retry_after_ms {
            // RFC 9110 §10.2.3: whole seconds. `retry-after-ms` is OpenAI's finer form.
            headers.push(("retry-after", ms.div_ceil(1_000).max(1).to_string()));
            headers.push(("retry-after-ms", ms.to_string()));
        }
        let body = json!({ "error": {
            "message": error.message,
            "type": error.kind,
            "param": error.param,
            "code": error.code,
        }});
        Self {
            status: error.status,
            headers,
            body: Some(body),
            log: error.detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: ApiError, status: u16, body: &str) {
        let answer = Answer::from(error);
        assert_eq!(answer.status, status);
        let expected: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(answer.body.unwrap(), expected);
    }

    #[test]
    fn an_error_has_four_keys() {
        check(
            ApiError::unknown_parameter("colour"),
            400,
            r#"{"error":{"code":"unknown_parameter","message":"Unknown parameter: 'colour'.","param":"colour","type":"invalid_request_error"}}"#,
        );
        check(
            ApiError::not_found("project"),
            404,
            r#"{"error":{"code":"not_found","message":"No such project.","param":null,"type":"invalid_request_error"}}"#,
        );
    }

    #[test]
    fn the_operators_words_are_not_the_clients() {
        let answer = Answer::from(ApiError::from(DatabaseError::Statement("secret.db".into())));
        assert_eq!(answer.status, 500);
        assert!(!answer.body.unwrap().to_string().contains("secret"));
        assert!(answer.log.unwrap().contains("secret.db"));
    }

    #[test]
    fn a_retry_is_told_in_whole_seconds_and_in_milliseconds() {
        let answer = Answer::from(ApiError::rate_limited(
            "slow",
            Some(1_001),
            &State::default(),
        ));
        let header = |name| {
            answer
                .headers
                .iter()
                .find(|header| header.0 == name)
                .unwrap()
        };
        assert_eq!(header("retry-after").1, "2");
        assert_eq!(header("retry-after-ms").1, "1001");
        let never = Answer::from(ApiError::rate_limited("slow", None, &State::default()));
        assert!(never.headers.iter().all(|header| header.0 != "retry-after"));
    }
}
