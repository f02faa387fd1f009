//! A request's body on its way in, bounded in bytes, in time and in memory.
//!
//! Its client has so much time as its bytes are worth, beside a grace, and so much in all; what
//! its component needs to take it is nobody's fault. Most of a larger body is read once there is
//! memory for it. It does NOT answer: whoever reads too much gets an error, and the dispatch
//! answers 413; whose time is over is answered by the front.

use super::seats::{BODY_BYTES_FREE, Ending, Seat, Seats, Sitter};
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

/// How often a body without memory looks whether somebody gives way.
const HUNGRY_LOOK: Duration = Duration::from_millis(500);

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

/// How fast a body has to come.
#[derive(Debug, Clone, Copy)]
struct Pace {
    pause_max: Duration,
    grace: Duration,
    bytes_per_second: u64,
    time_max: Duration,
}

impl Pace {
    /// The time that so many bytes are worth.
    fn worth(&self, bytes: u64) -> Duration {
        Duration::from_millis(bytes.saturating_mul(1_000) / self.bytes_per_second.max(1))
    }

    /// How much longer is waited for more than `bytes`, after `waited` in all.
    fn left(&self, bytes: u64, waited: Duration) -> Duration {
        let in_all = (self.grace + self.worth(bytes)).min(self.time_max);
        in_all.saturating_sub(waited).min(self.pause_max)
    }
}

pin_project! {
    pub(super) struct LimitedBody<B> {
        #[pin]
        inner: B,
        #[pin]
        timer: Sleep,
        pace: Pace,
        sitter: Arc<Sitter>,
        seats: Arc<Seats>,
        // Since when the client is waited for, and how long it was in all.
        since: Option<Instant>,
        waited: Duration,
        // Since when the body waits for memory, which it asks for once.
        hungry_since: Option<Instant>,
        is_fed: bool,
        bytes: u64,
        bytes_max: u64,
        too_large: Arc<AtomicBool>,
    }
}

impl<B> LimitedBody<B> {
    pub(super) fn new(inner: B, limits: &Limits, seat: &Seat, too_large: Arc<AtomicBool>) -> Self {
        Self {
            inner,
            timer: tokio::time::sleep(limits.body_pause_max),
            pace: Pace {
                pause_max: limits.body_pause_max,
                grace: limits.body_grace,
                bytes_per_second: limits.body_bytes_per_second,
                time_max: limits.body_time_max,
            },
            sitter: Arc::clone(seat.sitter()),
            seats: Arc::clone(seat.seats()),
            since: None,
            waited: Duration::ZERO,
            hungry_since: None,
            is_fed: false,
            bytes: 0,
            bytes_max: limits.body_bytes_max,
            too_large,
        }
    }
}

impl<B: Body> LimitedBody<B> {
    /// Waits for memory for all of the body, before it is taken; an error says that there was
    /// none for too long.
    fn poll_fed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        let mut this = self.project();
        if *this.is_fed || *this.bytes < BODY_BYTES_FREE {
            return Poll::Ready(Ok(()));
        }
        let rest = this.inner.size_hint().exact().unwrap_or(*this.bytes_max);
        let all = this.bytes.saturating_add(rest).min(*this.bytes_max);
        loop {
            if this.seats.feed(this.sitter, all, cx.waker()) {
                *this.is_fed = true;
                return Poll::Ready(Ok(()));
            }
            let now = Instant::now();
            let since = *this.hungry_since.get_or_insert(now);
            if now - since >= this.pace.pause_max {
                this.sitter.end_for_body(Ending::NoMemory);
                return Poll::Ready(Err(HttpError::ConnectionReadTimeout));
            }
            this.timer
                .as_mut()
                .reset(now + HUNGRY_LOOK.min(this.pace.pause_max));
            ready!(this.timer.as_mut().poll(cx));
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
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Err(error) = ready!(self.as_mut().poll_fed(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        let mut this = self.project();
        let Poll::Ready(frame) = this.inner.poll_frame(cx) else {
            if this.since.is_none() {
                let now = Instant::now();
                *this.since = Some(now);
                this.sitter.body_waits();
                let left = this.pace.left(*this.bytes, *this.waited);
                this.timer.as_mut().reset(now + left);
            }
            ready!(this.timer.as_mut().poll(cx));
            this.sitter.end_for_body(Ending::SlowBody);
            return Poll::Ready(Some(Err(HttpError::ConnectionReadTimeout)));
        };
        let frame = frame.map(|frame| frame.map_err(Into::into));
        let bytes = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        if let Some(since) = this.since.take() {
            *this.waited += since.elapsed();
            this.sitter.body_came(this.pace.worth(bytes));
        }
        *this.bytes = this.bytes.saturating_add(bytes);
        match frame {
            None => {
                if *this.is_fed {
                    this.seats.fed(this.sitter, *this.bytes);
                }
                Poll::Ready(None)
            }
            Some(Err(Broken::Malformed)) => Poll::Ready(Some(Err(HttpError::ConnectionTerminated))),
            Some(Ok(frame)) if *this.bytes <= *this.bytes_max => Poll::Ready(Some(Ok(frame))),
            Some(Ok(_) | Err(Broken::TooLarge)) => {
                this.too_large.store(true, Relaxed);
                let error = HttpError::HttpRequestBodySize(Some(*this.bytes_max));
                Poll::Ready(Some(Err(error)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bodys_time_is_its_bytes_worth() {
        let seconds = Duration::from_secs;
        let pace = Pace {
            pause_max: seconds(30),
            grace: seconds(10),
            bytes_per_second: 1 << 10,
            time_max: seconds(600),
        };
        let left = |bytes, waited| pace.left(bytes, seconds(waited));
        assert_eq!(left(0, 0), seconds(10), "the grace");
        assert_eq!(
            left(9, 9),
            Duration::from_millis(1_008),
            "a byte a second is not worth it"
        );
        assert_eq!(left(9, 10), Duration::from_millis(8));
        assert_eq!(left(100 << 10, 10), seconds(30), "a pause");
        assert_eq!(left(100 << 10, 100), seconds(10));
        assert_eq!(left(4 << 20, 590), seconds(10), "in all");
        assert_eq!(left(4 << 20, 601), Duration::ZERO);
    }
}
