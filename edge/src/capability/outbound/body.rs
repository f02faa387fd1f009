//! The body of an answer from the network, with a bound on its pauses. Parts that have come
//! already are handed on together, so that who lags behind catches up at less cost.
//!
//! Dropping it closes the connection, or over HTTP/2 the stream, which is how a client's
//! leaving reaches the backend. It does NOT look into the bytes.

use super::Held;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::Error as HttpError;

/// Nothing is added to so much: a component of the SDK reads no more at once.
const TOGETHER_BYTES_MAX: usize = 16 << 10;
/// Parts that are put together: empty ones add nothing, and may come without end.
const TOGETHER_MAX: usize = 128;

/// A part of a body, or why none came.
type Part = Result<Frame<Bytes>, HttpError>;

pin_project! {
    pub(super) struct TimedBody<B = Incoming> {
        #[pin]
        inner: B,
        // What came behind data, and is no data: trailers, an error, the end.
        after: Option<Option<Part>>,
        #[pin]
        pause: Sleep,
        pause_max: Duration,
        came: Instant,
        held: Held,
    }
}

impl<B> TimedBody<B> {
    pub(super) fn new(inner: B, pause_max: Duration, held: Held) -> Self {
        Self {
            held,
            inner,
            after: None,
            pause: tokio::time::sleep(pause_max),
            pause_max,
            came: Instant::now(),
        }
    }
}

impl<B: Body<Data = Bytes>> TimedBody<B> {
    fn poll_inner(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        let polled = self.project().inner.poll_frame(cx);
        polled.map(|frame| frame.map(|frame| frame.map_err(|_| HttpError::ConnectionTerminated)))
    }

    /// Nothing has come: for how long? The timer is moved only when it goes off.
    fn poll_pause(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HttpError> {
        let mut this = self.project();
        while this.pause.as_mut().poll(cx).is_ready() {
            let end = *this.came + *this.pause_max;
            if Instant::now() >= end {
                return Poll::Ready(HttpError::ConnectionReadTimeout);
            }
            this.pause.as_mut().reset(end);
        }
        Poll::Pending
    }

    /// `first` with the data that is there behind it.
    fn together(mut self: Pin<&mut Self>, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        let mut whole = BytesMut::new();
        for _ in 1..TOGETHER_MAX {
            if first.len().max(whole.len()) >= TOGETHER_BYTES_MAX {
                break;
            }
            let Poll::Ready(polled) = self.as_mut().poll_inner(cx) else {
                break;
            };
            match data_of(polled) {
                Ok(data) => {
                    if whole.is_empty() {
                        whole.extend_from_slice(&first);
                    }
                    whole.extend_from_slice(&data);
                }
                Err(other) => {
                    *self.as_mut().project().after = Some(other);
                    break;
                }
            }
        }
        match whole.is_empty() {
            true => first,
            false => whole.freeze(),
        }
    }
}

/// A part's data, or the part if it is none.
fn data_of(part: Option<Part>) -> Result<Bytes, Option<Part>> {
    match part {
        Some(Ok(frame)) => frame.into_data().map_err(|frame| Some(Ok(frame))),
        other => Err(other),
    }
}

impl<B: Body<Data = Bytes>> Body for TimedBody<B> {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        if let Some(after) = self.as_mut().project().after.take() {
            return Poll::Ready(after);
        }
        match self.as_mut().poll_inner(cx) {
            Poll::Ready(part) => {
                *self.as_mut().project().came = Instant::now();
                Poll::Ready(match data_of(part) {
                    Ok(data) => Some(Ok(Frame::data(self.together(data, cx)))),
                    Err(other) => other,
                })
            }
            Poll::Pending => self.poll_pause(cx).map(|error| Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.after {
            Some(after) => after.is_none(),
            None => self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::mpsc::{UnboundedSender, unbounded};
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, StreamBody};
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    const PAUSE: Duration = Duration::from_millis(300);

    type Sent = Result<Frame<Bytes>, &'static str>;

    fn body() -> (
        UnboundedSender<Sent>,
        impl Body<Data = Bytes, Error = HttpError> + Unpin,
    ) {
        let (sender, parts) = unbounded();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let held = Held {
            _permit: permit,
            _place: None,
        };
        let body = TimedBody::new(StreamBody::new(parts), PAUSE, held);
        (sender, Box::pin(body))
    }

    fn data(text: &'static str) -> Sent {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    async fn next(body: &mut (impl Body<Data = Bytes, Error = HttpError> + Unpin)) -> Bytes {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn what_has_come_is_handed_on_together_and_nothing_waits_for_more() {
        let (sender, mut body) = body();
        sender.unbounded_send(data("one ")).unwrap();
        assert_eq!(next(&mut body).await, "one ");
        for text in ["two ", "", "three"] {
            sender.unbounded_send(data(text)).unwrap();
        }
        assert_eq!(next(&mut body).await, "two three");
        assert!(futures::FutureExt::now_or_never(body.frame()).is_none());
        drop(sender);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn what_comes_behind_data_keeps_its_place() {
        let (sender, mut body) = self::body();
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", http::HeaderValue::from_static("1"));
        sender.unbounded_send(data("a")).unwrap();
        sender.unbounded_send(data("b")).unwrap();
        sender
            .unbounded_send(Ok(Frame::trailers(trailers.clone())))
            .unwrap();
        drop(sender);
        assert_eq!(next(&mut body).await, "ab");
        assert!(!body.is_end_stream());
        let last = body.frame().await.unwrap().unwrap();
        assert_eq!(last.into_trailers().unwrap(), trailers);
        assert!(body.frame().await.is_none());

        let (sender, mut body) = self::body();
        sender.unbounded_send(data("a")).unwrap();
        sender.unbounded_send(Err("broken")).unwrap();
        assert_eq!(next(&mut body).await, "a");
        assert!(body.frame().await.unwrap().is_err());

        let (sender, mut body) = self::body();
        sender.unbounded_send(data("a")).unwrap();
        drop(sender);
        assert_eq!(next(&mut body).await, "a");
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn no_more_is_put_together_than_its_maximum() {
        let (sender, mut body) = body();
        let part = Bytes::from(vec![0; 1 << 10]);
        for _ in 0..40 {
            sender
                .unbounded_send(Ok(Frame::data(part.clone())))
                .unwrap();
        }
        for expect in [16, 16, 8] {
            assert_eq!(next(&mut body).await.len(), expect << 10);
        }
        // Of empty parts one poll takes some, and the next the others.
        for _ in 0..2 * TOGETHER_MAX {
            sender.unbounded_send(data("")).unwrap();
        }
        for _ in 0..2 {
            assert!(next(&mut body).await.is_empty());
        }
        assert!(futures::FutureExt::now_or_never(body.frame()).is_none());
    }

    #[tokio::test]
    async fn a_pause_is_counted_from_what_came_last() {
        let (sender, mut body) = body();
        let mut sent = Instant::now();
        for _ in 0..3 {
            tokio::time::sleep(PAUSE * 2 / 3).await;
            sent = Instant::now();
            sender.unbounded_send(data("on")).unwrap();
            assert_eq!(next(&mut body).await, "on");
        }
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(
            matches!(error, HttpError::ConnectionReadTimeout),
            "{error:?}"
        );
        assert!(sent.elapsed() >= PAUSE);
    }
}
