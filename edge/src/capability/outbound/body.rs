//! The body of an answer from the network, with a bound on its pauses.
//!
//! Dropping it closes the connection, or over HTTP/2 the stream, which is how a client's
//! leaving reaches the backend. It does NOT look into the bytes.

use super::Held;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::Error as HttpError;

pin_project! {
    pub(super) struct TimedBody {
        #[pin]
        inner: Incoming,
        #[pin]
        pause: Sleep,
        pause_max: Duration,
        held: Held,
    }
}

impl TimedBody {
    pub(super) fn new(inner: Incoming, pause_max: Duration, held: Held) -> Self {
        Self {
            held,
            inner,
            pause: tokio::time::sleep(pause_max),
            pause_max,
        }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let mut this = self.project();
        match this.inner.poll_frame(cx) {
            Poll::Ready(frame) => {
                this.pause.as_mut().reset(Instant::now() + *this.pause_max);
                Poll::Ready(frame.map(|f| f.map_err(|_| HttpError::ConnectionTerminated)))
            }
            Poll::Pending => {
                ready!(this.pause.as_mut().poll(cx));
                Poll::Ready(Some(Err(HttpError::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
