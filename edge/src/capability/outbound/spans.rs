//! A call's part in the trace of the request on whose behalf it is made.
//!
//! It does NOT know where the call goes.

use crate::trace::{Span, Tracer};
use edge_bindings::port::CallContext;
use std::sync::Arc;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

/// Lets the trace of the caller go on with `request`; the span of the call, if it is recorded.
pub(crate) fn call_out(
    tracer: Option<&Arc<Tracer>>,
    context: Option<&CallContext>,
    request: &mut http::Request<WasiBody>,
) -> Option<Span> {
    let context = context?;
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let span =
        tracer.and_then(|tracer| tracer.client(&method, &uri, context, request.headers_mut()));
    if let (None, Some(trace)) = (&span, &context.traceparent) {
        let headers = request.headers_mut();
        headers.entry("traceparent").or_insert(trace.clone());
    }
    span
}

/// The error's name in `wasi:http`; its details are not for a trace.
pub(super) fn fail(span: Option<&Span>, error: &HttpError) {
    if let Some(span) = span {
        let name = format!("{error:?}");
        let name = name.split(|c: char| !c.is_alphanumeric()).next();
        span.failed(name.unwrap_or_default().to_owned());
    }
}
