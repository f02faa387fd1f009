//! Whoever a component calls out for, and the end of the call when that client leaves.
//!
//! A client that leaves before its answer begins has no stream whose end would tell the
//! component; so the calls that are made for it are cut, here. It does NOT know what is
//! called.

use crate::trace::Span;
use bytes::Bytes;
use edge_bindings::port::CallContext;
use http_body::{Body, Frame, SizeHint};
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

/// The text of the `internal-error` by which a component learns that its client left.
/// `wasi:http` has no error of its own for that, and every other one would blame the server
/// that was called.
pub(crate) const ASKER_GONE: &str = "asker-gone";

/// Who asked, if that matters to the call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asker(Option<CancellationToken>);

impl Asker {
    /// The asker of a call that begins now. One that has left already does not matter: what
    /// a component does afterwards, such as settling a bill, is done.
    pub(crate) fn of(context: Option<&CallContext>) -> Self {
        let gone = context.map(|context| &context.gone);
        Self(gone.filter(|gone| !gone.is_cancelled()).cloned())
    }

    /// Waits until the asker leaves before its answer has begun.
    pub(crate) async fn left(&self) -> HttpError {
        match &self.0 {
            Some(gone) => gone.cancelled().await,
            None => std::future::pending().await,
        }
        error()
    }

    /// `body`, until then; `span` ends with it.
    pub(crate) fn watch(self, body: WasiBody, span: Option<Span>) -> AskedBody {
        AskedBody {
            inner: Some(body),
            span,
            gone: self.0.map(|gone| Box::pin(gone.cancelled_owned())),
        }
    }
}

fn error() -> HttpError {
    HttpError::InternalError(Some(ASKER_GONE.to_owned()))
}

/// A body that ends with an error when the asker leaves. What is behind it is dropped then,
/// which is how the server that sends it learns of it.
pub(crate) struct AskedBody {
    inner: Option<WasiBody>,
    span: Option<Span>,
    gone: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl AskedBody {
    /// Ends the span with an error.
    fn fail(&mut self, error: &'static str) {
        if let Some(span) = self.span.take() {
            span.failed(error);
        }
    }
}

impl Body for AskedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        if let Some(gone) = &mut this.gone
            && gone.as_mut().poll(cx).is_ready()
        {
            this.inner = None;
            this.fail(ASKER_GONE);
            return Poll::Ready(Some(Err(error())));
        }
        let polled = Pin::new(inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Err(_))) => this.fail("body"),
            Poll::Ready(None) => this.span = None,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
