//! Answers that the host gives by itself: the one place that maps a failure to a status and
//! to OpenAI's error object.
//!
//! It does NOT log; the operator's words go to the log where the failure is seen.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use wasmtime_wasi_http::WasiBody;

/// Why the host answers instead of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No route takes the path.
    NoRoute,
    /// The request names no host, or two.
    BadHost,
    /// The request has fields that its version of HTTP forbids.
    Malformed,
    /// The body is larger than is taken.
    BodyTooLarge { bytes_max: u64 },
    /// The body, or the taking of the answer, is too slow.
    SlowBody,
    /// Too many credentials were refused to the client's address.
    UnknownCredentials { retry_after_s: u32 },
    /// There is no room for the request now.
    Busy,
    /// The component could not be built or loaded.
    Unavailable { component: String },
    /// The component failed: a trap, a spent budget, no answer.
    Failed,
    /// The component took too long to begin its answer.
    TooSlow,
}

/// How long a client is asked to wait when there is no room.
const RETRY_AFTER_S: u32 = 1;

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::BadHost | Self::Malformed => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownCredentials { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Busy => Some(RETRY_AFTER_S),
            Self::UnknownCredentials { retry_after_s } => Some(*retry_after_s),
            _ => None,
        }
    }

    fn words(&self) -> (String, &'static str) {
        match self {
            Self::NoRoute => ("There is nothing at this path.".to_owned(), "not_found"),
            Self::BadHost => (
                "The request must name exactly one valid host.".to_owned(),
                "invalid_host",
            ),
            Self::Malformed => (
                "The request has fields that its version of HTTP forbids.".to_owned(),
                "malformed_request",
            ),
            Self::BodyTooLarge { bytes_max } => (
                format!("The body may have at most {bytes_max} bytes."),
                "body_too_large",
            ),
            Self::SlowBody => (
                "The request's body came too slowly.".to_owned(),
                "request_timeout",
            ),
            Self::UnknownCredentials { .. } => (
                "Too many unknown credentials came from this address; try again later.".to_owned(),
                "too_many_unknown_credentials",
            ),
            Self::Busy => (
                "The server is busy; try again shortly.".to_owned(),
                "server_busy",
            ),
            Self::Unavailable { component } => (
                format!("The component {component:?} is not available."),
                "component_unavailable",
            ),
            Self::Failed => (
                "The server failed to answer.".to_owned(),
                "component_failed",
            ),
            Self::TooSlow => ("The server took too long to answer.".to_owned(), "timeout"),
        }
    }

    /// The answer itself.
    pub(crate) fn response(&self) -> Response<WasiBody> {
        let status = self.status();
        let (message, code) = self.words();
        let kind = if status == StatusCode::TOO_MANY_REQUESTS {
            "rate_limit_error"
        } else if status.is_client_error() {
            "invalid_request_error"
        } else {
            "server_error"
        };
        let object = serde_json::json!({
            "error": { "message": message, "type": kind, "param": null, "code": code }
        });
        let body = Full::new(Bytes::from(object.to_string())).map_err(|never| match never {});
        let mut response = Response::new(body.boxed_unsync());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_error_object_has_all_four_keys() {
        for (refusal, status) in [
            (Refusal::NoRoute, 404),
            (Refusal::BadHost, 400),
            (Refusal::BodyTooLarge { bytes_max: 3 }, 413),
            (Refusal::SlowBody, 408),
            (Refusal::UnknownCredentials { retry_after_s: 2 }, 429),
            (Refusal::Busy, 503),
            (
                Refusal::Unavailable {
                    component: "web".to_owned(),
                },
                503,
            ),
            (Refusal::Failed, 500),
            (Refusal::TooSlow, 504),
        ] {
            let response = refusal.response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(
                response.headers().contains_key("retry-after"),
                refusal.retry_after_s().is_some()
            );
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            let object: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let error = object["error"].as_object().unwrap();
            let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
            keys.sort_unstable();
            assert_eq!(keys, ["code", "message", "param", "type"]);
        }
    }
}
