//! A request's body on its way in, bounded in bytes and in pauses.
//!
//! It does NOT answer: whoever reads too much gets an error, and the dispatch answers 413.

use crate::limits::Limits;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::Error as HttpError;

/// Why a body broke off, whatever it came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// Its client left, or sent something else than it had declared.
    #[error("the body is not what was declared")]
    Malformed,
    /// More came than any body may have.
    #[error("the body is larger than its maximum")]
    TooLarge,
}

impl From<hyper::Error> for Broken {
    fn from(_: hyper::Error) -> Self {
        Self::Malformed
    }
}

pin_project! {
    pub(super) struct LimitedBody<B> {
        #[pin]
        inner: B,
        #[pin]
        pause: Sleep,
        pause_max: Duration,
        bytes_left: u64,
        bytes_max: u64,
        too_large: Arc<AtomicBool>,
    }
}

impl<B> LimitedBody<B> {
    pub(super) fn new(inner: B, limits: &Limits, too_large: Arc<AtomicBool>) -> Self {
        Self {
            inner,
            pause: tokio::time::sleep(limits.body_pause_max),
            pause_max: limits.body_pause_max,
            bytes_left: limits.body_bytes_max,
            bytes_max: limits.body_bytes_max,
            too_large,
        }
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Broken>,
{
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let mut this = self.project();
        let frame = match this.inner.poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(this.pause.as_mut().poll(cx));
                return Poll::Ready(Some(Err(HttpError::ConnectionReadTimeout)));
            }
        };
        this.pause.as_mut().reset(Instant::now() + *this.pause_max);
        let frame = match frame.map(|frame| frame.map_err(Into::into)) {
            None => return Poll::Ready(None),
            Some(Err(Broken::Malformed)) => {
                return Poll::Ready(Some(Err(HttpError::ConnectionTerminated)));
            }
            Some(Err(Broken::TooLarge)) => None,
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                let left = this.bytes_left.checked_sub(bytes);
                left.map(|left| (frame, left))
            }
        };
        let Some((frame, left)) = frame else {
            this.too_large.store(true, Relaxed);
            let error = HttpError::HttpRequestBodySize(Some(*this.bytes_max));
            return Poll::Ready(Some(Err(error)));
        };
        *this.bytes_left = left;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
