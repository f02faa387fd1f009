//! Spin's request headers, and the trace that a request belongs to.
//!
//! What a client sends under Spin's names is removed: a component trusts them. It does NOT
//! know components.

use super::route::RouteMatch;
use crate::log;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, header};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Headers with this prefix are the host's to set.
const SPIN_PREFIX: &str = "spin-";
/// The longest request id that is logged.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The route that a request took.
#[derive(Debug, Clone)]
pub(crate) struct Matched {
    pub(crate) raw_route: String,
    /// The route without its wildcard.
    pub(crate) prefix: String,
    pub(crate) taken: RouteMatch,
}

/// Removes what only this host may say, and what concerns one connection only.
pub(crate) fn strip_foreign(headers: &mut HeaderMap) {
    let foreign: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(SPIN_PREFIX))
        .cloned()
        .collect();
    for name in foreign {
        headers.remove(name);
    }
    headers.remove(header::CONNECTION);
}

/// Adds Spin's headers to a request whose URI is absolute.
pub(crate) fn add_spin<B>(request: &mut Request<B>, matched: &Matched, client: SocketAddr) {
    let full_url = request.uri().to_string();
    let fixed: [(&'static str, &str); 7] = [
        ("spin-full-url", &full_url),
        ("spin-path-info", &matched.taken.path_info),
        ("spin-matched-route", &matched.raw_route),
        ("spin-base-path", "/"),
        ("spin-raw-component-route", &matched.raw_route),
        ("spin-component-route", &matched.prefix),
        ("spin-client-addr", &client.to_string()),
    ];
    let headers = request.headers_mut();
    for (name, value) in fixed {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    for (name, value) in &matched.taken.parameters {
        // As Spin writes a header's name: lower case, and `-` where the parameter has `_`.
        let name = name.to_ascii_lowercase().replace('_', "-");
        let name = format!("spin-path-match-{name}");
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
}

/// The trace of a request: the caller's, if it is valid (W3C Trace Context §3.2), or a new one.
pub(crate) fn traceparent(headers: &mut HeaderMap) -> HeaderValue {
    if let Some(given) = headers.get("traceparent")
        && is_traced(headers)
    {
        return given.clone();
    }
    let (a, b, c) = (random(), random(), random());
    let text = format!("00-{a:016x}{b:016x}-{c:016x}-01");
    let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(
        "00-00000000000000000000000000000001-0000000000000001-00",
    ));
    headers.insert("traceparent", value.clone());
    value
}

/// Does the request belong to a trace of its caller's?
pub(crate) fn is_traced(headers: &HeaderMap) -> bool {
    let given = headers.get("traceparent");
    given.is_some_and(|given| is_traceparent(given.as_bytes()))
}

pub(crate) fn is_traceparent(text: &[u8]) -> bool {
    text.len() == 55
        && text.iter().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => *byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        })
        && &text[..2] != b"ff"
        && text[3..35].iter().any(|byte| *byte != b'0')
        && text[36..52].iter().any(|byte| *byte != b'0')
}

/// A number that is unlikely to come twice. It names traces; it keeps no secret.
pub(crate) fn random() -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = KEYS.build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Relaxed));
    hasher.finish().max(1)
}

/// The id that the component gave the request, for the log.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    Some(log::beginning(id, REQUEST_ID_CHARS_MAX).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_spin_headers_are_removed() {
        let mut headers = HeaderMap::new();
        headers.insert("spin-client-addr", HeaderValue::from_static("1.2.3.4:5"));
        headers.append("spin-anything", HeaderValue::from_static("x"));
        headers.insert("connection", HeaderValue::from_static("close"));
        headers.insert("x-spin", HeaderValue::from_static("stays"));
        strip_foreign(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-spin"]
        );
    }

    #[test]
    fn spins_headers_are_those_of_spin() {
        let mut request = Request::get("https://localhost:8443/v1/7/rest?q=1")
            .body(())
            .unwrap();
        let matched = Matched {
            raw_route: "/v1/:id/...".to_owned(),
            prefix: "/v1/:id".to_owned(),
            taken: RouteMatch {
                path_info: "/rest".to_owned(),
                parameters: vec![("id".to_owned(), "7".to_owned())],
            },
        };
        add_spin(&mut request, &matched, "127.0.0.1:99".parse().unwrap());
        for (name, value) in [
            ("spin-full-url", "https://localhost:8443/v1/7/rest?q=1"),
            ("spin-path-info", "/rest"),
            ("spin-matched-route", "/v1/:id/..."),
            ("spin-base-path", "/"),
            ("spin-raw-component-route", "/v1/:id/..."),
            ("spin-component-route", "/v1/:id"),
            ("spin-client-addr", "127.0.0.1:99"),
            ("spin-path-match-id", "7"),
        ] {
            assert_eq!(request.headers()[name], value, "{name}");
        }
    }

    #[test]
    fn a_valid_trace_is_kept_and_any_other_replaced() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(good));
        assert_eq!(traceparent(&mut headers), good);
        for bad in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            headers.insert("traceparent", HeaderValue::from_static(bad));
            let made = traceparent(&mut headers);
            assert!(is_traceparent(made.as_bytes()), "{bad}");
            assert_eq!(headers["traceparent"], made);
        }
        assert_ne!(
            traceparent(&mut HeaderMap::new()),
            traceparent(&mut HeaderMap::new())
        );
    }
}
