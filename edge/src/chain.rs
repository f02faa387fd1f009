//! Service chaining: a request from one component to another, within this process.
//!
//! No socket is involved: the request goes straight to the other's instances. It does NOT
//! check grants, which `capability/outbound.rs` has done.

use crate::app::App;
use crate::capability::outbound::asker::{ASKER_GONE, Asker};
use crate::capability::outbound::spans::call_out;
use crate::dispatch::Origin;
use edge_bindings::port::{BoxFuture, CallContext};
use http_body_util::BodyExt as _;
use std::sync::{Arc, OnceLock, Weak};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

/// Leads from a component back to the application that it is part of.
#[derive(Default)]
pub(crate) struct Link(OnceLock<Weak<App>>);

impl Link {
    /// Called once, when the application is complete.
    pub(crate) fn tie(&self, app: &Arc<App>) {
        let _ = self.0.set(Arc::downgrade(app));
    }

    /// The application, for as long as what is returned is kept.
    pub(crate) fn hold(&self) -> Option<Arc<App>> {
        self.0.get().and_then(Weak::upgrade)
    }

    /// Calls component `id`, or without one whatever the path's route leads to.
    pub(crate) fn call(
        &self,
        id: Option<&str>,
        mut request: http::Request<WasiBody>,
        caller: Option<Arc<CallContext>>,
    ) -> BoxFuture<Result<http::Response<WasiBody>, HttpError>> {
        let app = self.hold();
        let id = id.map(str::to_owned);
        let tracer = app.as_ref().and_then(|app| app.tracer());
        let span = call_out(tracer, caller.as_deref(), &mut request);
        // What the callee goes on from: this call, or what its caller does.
        let trace = match &span {
            Some(span) => Some(span.header()),
            None => caller
                .as_ref()
                .and_then(|caller| caller.traceparent.clone()),
        };
        let stages = caller.as_ref().and_then(|caller| caller.stages.clone());
        Box::pin(async move {
            let app = app.ok_or(HttpError::DestinationUnavailable)?;
            // A wrong name is the caller's error, as a host that does not resolve is. A 404
            // would say that somebody was asked.
            if id.as_deref().is_some_and(|id| !app.has(id)) {
                if let Some(span) = &span {
                    span.failed("destination-not-found");
                }
                return Err(HttpError::DestinationNotFound);
            }
            let own = CancellationToken::new();
            let context = CallContext {
                depth: caller.as_ref().map_or(0, |caller| caller.depth) + 1,
                traceparent: trace,
                gone: own.clone(),
                stages,
            };
            // Whoever asked may leave before this answer begins; then it leaves too.
            let leaving = own.drop_guard();
            let asker = Asker::of(caller.as_deref());
            let answer = app.call_inside(id.as_deref(), request, Origin::inside(), context);
            let response = tokio::select! {
                biased;
                gone = asker.left() => {
                    if let Some(span) = &span {
                        span.failed(ASKER_GONE);
                    }
                    return Err(gone);
                }
                response = answer => response,
            };
            leaving.disarm();
            let mut span = span;
            if let Some(span) = &mut span {
                span.began();
                span.answered(response.status().as_u16());
            }
            Ok(response.map(|body| asker.watch(body.boxed_unsync(), span).boxed_unsync()))
        })
    }
}
