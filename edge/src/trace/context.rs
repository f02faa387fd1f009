//! `traceparent`: which trace a request belongs to, which span it comes from, and whether the
//! trace is recorded (W3C Trace Context §3.2).
//!
//! It does NOT decide whether it is.

use crate::dispatch::headers::{is_traceparent, random};
use edge_bindings::port::CallContext;
use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanId, TraceId};

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) is_sampled: bool,
}

impl TraceContext {
    /// Reads a header's value, if it is one.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        if !is_traceparent(value) {
            return None;
        }
        let text = std::str::from_utf8(value).ok()?;
        Some(Self {
            trace: TraceId::from_hex(&text[3..35]).ok()?,
            span: SpanId::from_hex(&text[36..52]).ok()?,
            is_sampled: u8::from_str_radix(&text[53..55], 16).ok()? & SAMPLED != 0,
        })
    }

    /// The place that a request is made from.
    pub(crate) fn of(context: &CallContext) -> Option<Self> {
        Self::parse(context.traceparent.as_ref()?.as_bytes())
    }

    /// A new place below this one.
    pub(crate) fn child(self) -> Self {
        Self {
            span: SpanId::from(random()),
            ..self
        }
    }

    /// The header's value.
    pub(crate) fn header(self) -> HeaderValue {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        let text = format!("00-{}-{}-{flags:02x}", self.trace, self.span);
        // Hexadecimal digits and hyphens are a value.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Goes on from here: what the request of `headers` calls comes from this place.
    pub(crate) fn put(self, context: &mut CallContext, headers: &mut HeaderMap) {
        let value = self.header();
        headers.insert("traceparent", value.clone());
        context.traceparent = Some(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_written() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let place = TraceContext::parse(text.as_bytes()).unwrap();
        assert!(place.is_sampled);
        assert_eq!(place.header(), text);
        let child = place.child();
        assert_eq!(child.trace, place.trace);
        assert_ne!(child.span, place.span);
        let off = text.replace("-01", "-00");
        let place = TraceContext::parse(off.as_bytes()).unwrap();
        assert!(!place.is_sampled);
        assert_eq!(place.child().header().as_bytes()[53..], *b"00");
        assert_eq!(TraceContext::parse(b"00-1-2-01"), None);
        // A flag that nobody knows yet does not hide the one that is known.
        let more = text.replace("-01", "-03");
        assert!(TraceContext::parse(more.as_bytes()).unwrap().is_sampled);
    }
}
