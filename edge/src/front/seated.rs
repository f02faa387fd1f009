//! An answer with its request's seat: the seat is free when the answer is gone, and an answer
//! whose seat was given to somebody else breaks off.
//!
//! It does NOT look into the bytes.

use super::seats::Seat;
use crate::dispatch::answer::Answer;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_util::sync::WaitForCancellationFutureOwned;
use wasmtime_wasi_http::Error as HttpError;

pub(super) struct Seated {
    // In this order they go.
    answer: Answer,
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    seat: Option<Seat>,
    /// Why the answer breaks off, told at the next turn: hyper throws away what it has not sent
    /// yet, and that may be the answer's head.
    broken: Option<HttpError>,
}

impl Seated {
    /// The host's own answers have no seat.
    pub(super) fn new(answer: Answer, seat: Option<Seat>) -> Self {
        if let Some(seat) = &seat {
            seat.is_answered();
        }
        Self {
            answer,
            ended: None,
            seat,
            broken: None,
        }
    }

    pub(super) fn seat(&self) -> Option<&Seat> {
        self.seat.as_ref()
    }

    /// Whether what was given of the answer waits for its client.
    pub(super) fn waits_for_client(&self, waits: bool) {
        if let Some(seat) = &self.seat {
            seat.sitter().answer_waits(waits);
        }
    }
}

impl Body for Seated {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = match Pin::new(&mut this.answer).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                this.broken = Some(error);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            polled => polled,
        };
        if let (Poll::Pending, Some(seat)) = (&polled, &this.seat) {
            let token = || Box::pin(seat.sitter().token().cancelled_owned());
            let ended = this.ended.get_or_insert_with(token);
            if ended.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(Err(HttpError::ConnectionTerminated)));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}
