//! Which pages of other sites may read answers here (Fetch standard §3.2): those whose
//! origin the operator names. Without any, what components say of it is passed on.
//!
//! It answers preflights itself. It does NOT decide who is served: a browser asks on behalf
//! of its page, and everybody else may ask as before.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use std::str::FromStr;

/// How long a browser may remember what it was told: the longest that one of them takes.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// A page may read every field of an answer. No credentials are allowed, so that the star
/// means just that.
const EXPOSED: HeaderValue = HeaderValue::from_static("*");
const ANY: HeaderValue = HeaderValue::from_static("*");
const VARIES: HeaderValue = HeaderValue::from_static(
    "origin, access-control-request-method, access-control-request-headers",
);

/// An origin whose pages may read answers, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedOrigin(HeaderValue);

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected https://HOST, http://HOST:PORT or *".to_owned();
        if text == "*" {
            return Ok(Self(ANY));
        }
        // As a browser writes it: no path, not even a slash, in lower case.
        let (scheme, host) = text.split_once("://").ok_or_else(expected)?;
        let authority = host.parse::<http::uri::Authority>();
        let is_bare = authority.is_ok_and(|a| !a.as_str().contains('@') && !a.host().is_empty());
        if !matches!(scheme, "http" | "https") || !is_bare {
            return Err(expected());
        }
        HeaderValue::try_from(text.to_ascii_lowercase())
            .map(Self)
            .map_err(|_| expected())
    }
}

/// What the operator allows.
#[derive(Debug, Clone, Default)]
pub(super) struct Cors {
    origins: Vec<AllowedOrigin>,
}

impl Cors {
    pub(super) fn new(origins: Vec<AllowedOrigin>) -> Self {
        Self { origins }
    }

    /// The field that lets the page read the answer, if its origin is allowed.
    pub(super) fn allows<B>(&self, request: &Request<B>) -> Option<HeaderValue> {
        let origin = request.headers().get(ORIGIN)?;
        let has = |origin: &HeaderValue| self.origins.iter().any(|each| each.0 == origin);
        if has(&ANY) {
            return Some(ANY);
        }
        has(origin).then(|| origin.clone())
    }

    /// The answer to a preflight that is the host's to give.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<()>> {
        let asked = request.headers();
        let method = asked.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if self.origins.is_empty() || request.method() != Method::OPTIONS {
            return None;
        }
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        headers.insert(VARY, VARIES);
        // One that is not allowed gets an answer that allows nothing.
        if let Some(origin) = self.allows(request) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
            if let Some(fields) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, fields.clone());
            }
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        Some(answer)
    }

    /// Marks an answer for the page that may read it, or for none.
    pub(super) fn mark(&self, allowed: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        headers.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "https://chat.example";

    fn cors(origins: &[&str]) -> Cors {
        Cors::new(origins.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn preflight(origin: &str) -> Request<()> {
        Request::options("/v1/models")
            .header(ORIGIN, origin)
            .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type")
            .body(())
            .unwrap()
    }

    #[test]
    fn a_preflight_is_answered_as_its_origin_may() {
        let allowing = cors(&[PAGE, "http://localhost:5173"]);
        let answer = allowing.preflight(&preflight(PAGE)).unwrap();
        assert_eq!(answer.status(), 204);
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_METHODS], "POST");
        let fields = &answer.headers()[ACCESS_CONTROL_ALLOW_HEADERS];
        assert_eq!(fields, "authorization,content-type");
        for other in ["https://chat.example.evil", "http://chat.example", "null"] {
            let answer = allowing.preflight(&preflight(other)).unwrap();
            let allowed = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
            assert!(allowed.is_none(), "{other}");
        }
        assert!(cors(&[]).preflight(&preflight(PAGE)).is_none());
        let no_preflight = Request::options("/").header(ORIGIN, PAGE).body(()).unwrap();
        assert!(allowing.preflight(&no_preflight).is_none());
    }

    #[test]
    fn an_answer_says_who_may_read_it() {
        let request = Request::get("/").header(ORIGIN, PAGE).body(()).unwrap();
        for (origins, says) in [
            (&[PAGE][..], Some(PAGE)),
            (&["*"], Some("*")),
            (&["https://other.example"], None),
        ] {
            let cors = cors(origins);
            let mut headers = HeaderMap::new();
            cors.mark(cors.allows(&request), &mut headers);
            let said = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(said.map(|value| value.to_str().unwrap()), says);
            assert_eq!(headers[VARY], "origin");
        }
        let mut headers = HeaderMap::new();
        cors(&[]).mark(None, &mut headers);
        assert!(headers.is_empty(), "what the component says is left alone");
    }

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        let parse = |text: &str| text.parse::<AllowedOrigin>();
        assert_eq!(
            parse("HTTPS://Chat.Example").unwrap_err(),
            parse("x").unwrap_err()
        );
        assert_eq!(parse("https://Chat.Example").unwrap(), parse(PAGE).unwrap());
        for wrong in [
            "chat.example",
            "https://",
            "https://a/",
            "ftp://a",
            "https://u@a",
            "",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
