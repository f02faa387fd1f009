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

impl<B: Body<Data = Bytes>> Body for LimitedBody<B> {
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
        let Some(frame) = frame else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(|_| HttpError::ConnectionTerminated);
        if let Ok(data) = frame
            .as_ref()
            .map(|f| f.data_ref().map_or(0, |d| d.len() as u64))
        {
            match this.bytes_left.checked_sub(data) {
                Some(left) => *this.bytes_left = left,
                None => {
                    this.too_large.store(true, Relaxed);
                    let error = HttpError::HttpRequestBodySize(Some(*this.bytes_max));
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
