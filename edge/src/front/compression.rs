//! Which answers are compressed, and how: what the client takes (RFC 9110 §12.5.3) and what
//! the answer is.
//!
//! It does NOT encode.

use crate::dispatch::answer::Answer;
use crate::dispatch::answer::encoding::{Coding, Encoding};
use crate::dispatch::has_body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A shorter answer fits a packet as it is.
const ANSWER_BYTES_MIN: u64 = 1 << 10;
/// Parts of `Accept-Encoding` that are looked at; clients send some five.
const PARTS_MAX: usize = 32;
/// What speaks of the bytes as they were.
const OF_THE_BYTES: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];
/// Types besides `text/…`, `…+json` and `…+xml` that shrink.
const TYPES: [&str; 8] = [
    "application/json",
    "application/javascript",
    "application/x-javascript",
    "application/xml",
    "application/wasm",
    "application/x-ndjson",
    "application/manifest+json",
    "image/svg+xml",
];

/// What the operator wants compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compressed {
    /// Nothing.
    #[default]
    Off,
    /// Texts and the like, but no event streams.
    On,
    /// Event streams too.
    All,
}

/// How the front door compresses.
#[derive(Debug)]
pub(super) struct Compression {
    what: Compressed,
    places: Arc<Semaphore>,
}

/// What a request says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    coding: Option<Coding>,
    is_head: bool,
}

impl Compression {
    pub(super) fn new(what: Compressed, answers_max: usize) -> Self {
        Self {
            what,
            places: Arc::new(Semaphore::new(answers_max.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// `None` where nothing is compressed.
    pub(super) fn asked<B>(&self, request: &Request<B>) -> Option<Asked> {
        (self.what != Compressed::Off).then(|| Asked {
            coding: chosen(request.headers()),
            is_head: request.method() == Method::HEAD,
        })
    }

    /// Compresses an answer, if it suits and there is a place.
    pub(super) fn apply(&self, asked: Option<Asked>, answer: &mut Response<Answer>) {
        let Some(asked) = asked else { return };
        let length = answer.body().size_hint().exact();
        if !self.suits(answer.status(), answer.headers(), length) {
            return;
        }
        let vary = HeaderValue::from_static("accept-encoding");
        answer.headers_mut().append(header::VARY, vary);
        let (Some(coding), false) = (asked.coding, asked.is_head) else {
            return;
        };
        // Without a place an answer goes out as it is.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return;
        };
        let headers = answer.headers_mut();
        for name in OF_THE_BYTES {
            headers.remove(name);
        }
        headers.insert(header::CONTENT_ENCODING, coding.value());
        if let Some(weak) = headers.get(header::ETAG).and_then(weakened) {
            headers.insert(header::ETAG, weak);
        }
        answer.body_mut().encode(Encoding::new(coding, place));
    }

    fn suits(&self, status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> bool {
        let without_body = !has_body(status) || status == StatusCode::PARTIAL_CONTENT;
        let as_it_is = headers.contains_key(header::CONTENT_ENCODING)
            || headers.contains_key(header::CONTENT_RANGE)
            || forbids_change(headers);
        if without_body || as_it_is {
            return false;
        }
        let declared = headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
        let is_short = |bytes: u64| bytes < ANSWER_BYTES_MIN;
        if length.or(declared).is_some_and(is_short) {
            return false;
        }
        let kind = headers.get(header::CONTENT_TYPE);
        kind.and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| self.shrinks(kind))
    }

    fn shrinks(&self, kind: &str) -> bool {
        let kind = kind.split(';').next().unwrap_or(kind);
        let kind = kind.trim().to_ascii_lowercase();
        if kind == "text/event-stream" {
            return self.what == Compressed::All;
        }
        kind.starts_with("text/")
            || kind.ends_with("+json")
            || kind.ends_with("+xml")
            || TYPES.contains(&kind.as_str())
    }
}

/// `Cache-Control: no-transform` (RFC 9111 §5.2.2.6).
fn forbids_change(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// The bytes differ from those that a strong tag was given for (RFC 9110 §8.8.1).
fn weakened(tag: &HeaderValue) -> Option<HeaderValue> {
    match tag.as_bytes().starts_with(b"W/") {
        true => None,
        false => HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok(),
    }
}

/// The coding that the client likes best, and of several the first of ours.
fn chosen(headers: &HeaderMap) -> Option<Coding> {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let parts: Vec<(&str, u16)> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .take(PARTS_MAX)
        .filter_map(weighed)
        .collect();
    let weight = |names: &[&str]| {
        let named = |(name, _): &&(&str, u16)| names.iter().any(|n| n.eq_ignore_ascii_case(name));
        parts.iter().find(named).map(|(_, weight)| *weight)
    };
    let others = weight(&["*"]);
    let plain = weight(&["identity"]).unwrap_or(0);
    let mut best = None;
    let mut most = plain.max(1);
    for coding in Coding::ALL {
        let own = match coding {
            Coding::Gzip => weight(&["gzip", "x-gzip"]),
            _ => weight(&[coding.name()]),
        };
        let own = own.or(others).unwrap_or(0);
        if own > most || (own == most && best.is_none()) {
            (best, most) = (Some(coding), own);
        }
    }
    best
}

/// `NAME` or `NAME;q=0.5`, with the weight in thousandths.
fn weighed(part: &str) -> Option<(&str, u16)> {
    let mut pieces = part.split(';').map(str::trim);
    let name = pieces.next().filter(|name| !name.is_empty())?;
    let Some(weight) = pieces.next() else {
        return Some((name, 1_000));
    };
    let weight = weight
        .strip_prefix("q=")
        .or_else(|| weight.strip_prefix("Q="))?;
    let (whole, rest) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = rest.len() <= 3 && rest.bytes().all(|digit| digit.is_ascii_digit());
    let thousandths = format!("{rest:0<3}")
        .parse::<u16>()
        .ok()
        .filter(|_| digits)?;
    match whole {
        "0" => Some((name, thousandths)),
        "1" if thousandths == 0 => Some((name, 1_000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_says_what_it_takes() {
        let check = |accepts: &str, expect: Option<Coding>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accepts.parse().unwrap());
            assert_eq!(chosen(&headers), expect, "{accepts:?}");
        };
        check("gzip, deflate, br, zstd", Some(Coding::Zstd));
        check("gzip, deflate, br", Some(Coding::Brotli));
        check("GZIP", Some(Coding::Gzip));
        check("x-gzip", Some(Coding::Gzip));
        check("gzip;q=1.0, br;q=0.9, zstd;q=0", Some(Coding::Gzip));
        check("*", Some(Coding::Zstd));
        check("*;q=0.5, zstd;q=0", Some(Coding::Brotli));
        check("*;q=0", None);
        check("identity;q=0, gzip;q=0.001", Some(Coding::Gzip));
        check("identity, gzip;q=0.5", None);
        check("identity;q=0.5, gzip", Some(Coding::Gzip));
        check("deflate", None);
        check("", None);
        check("gzip;q=2, br;q=0.1234, zstd;q=x", None);
        check(&format!("{}gzip", "a,".repeat(PARTS_MAX)), None);
        assert_eq!(chosen(&HeaderMap::new()), None);
    }

    #[test]
    fn only_what_shrinks_and_may_be_changed_is_compressed() {
        let on = Compression::new(Compressed::On, 1);
        let suits = |status: u16, fields: &[(&str, &str)], length| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                let name: HeaderName = name.parse().unwrap();
                headers.insert(name, value.parse().unwrap());
            }
            on.suits(StatusCode::from_u16(status).unwrap(), &headers, length)
        };
        let json = ("content-type", "application/json; charset=utf-8");
        assert!(suits(200, &[json], None));
        assert!(suits(404, &[json], Some(1_024)));
        assert!(suits(200, &[("content-type", "text/html")], None));
        assert!(suits(
            200,
            &[("content-type", "application/problem+json")],
            None
        ));
        assert!(!suits(200, &[json], Some(1_023)));
        assert!(!suits(200, &[json, ("content-length", "10")], None));
        for status in [204, 206, 304] {
            assert!(!suits(status, &[json], None), "{status}");
        }
        for field in [
            ("content-encoding", "gzip"),
            ("content-range", "bytes 0-1/2"),
            ("cache-control", "max-age=1, No-Transform"),
        ] {
            assert!(!suits(200, &[json, field], None), "{field:?}");
        }
        for kind in ["image/png", "text/event-stream", "application/octet-stream"] {
            assert!(!suits(200, &[("content-type", kind)], None), "{kind}");
        }
        assert!(!suits(200, &[], None));
        let all = Compression::new(Compressed::All, 1);
        assert!(all.shrinks("text/event-stream"));
    }

    #[test]
    fn a_tag_is_weakened_once() {
        let weak = |tag: &'static str| weakened(&HeaderValue::from_static(tag));
        assert_eq!(weak("\"a\"").unwrap(), "W/\"a\"");
        assert_eq!(weak("W/\"a\""), None);
    }
}
