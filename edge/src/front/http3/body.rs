//! A request's body over HTTP/3.
//!
//! It knows how a body ends and what was declared of it; limits are `LimitedBody`'s.

use super::super::body::Broken;
use super::transport::{self, Receiving};
use bytes::{Buf as _, Bytes};
use h3::server::RequestStream;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub(super) struct Http3Body {
    stream: RequestStream<Receiving, Bytes>,
    /// Bytes that must still come, where the length was declared.
    declared: Option<u64>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Ended,
}

impl Http3Body {
    pub(super) fn new(stream: RequestStream<Receiving, Bytes>, headers: &HeaderMap) -> Self {
        let declared = headers.get(header::CONTENT_LENGTH);
        Self {
            stream,
            declared: declared.and_then(|length| length.to_str().ok()?.parse().ok()),
            state: State::Data,
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        match ready!(self.stream.poll_recv_data(cx)) {
            Ok(Some(mut data)) => {
                let data = data.copy_to_bytes(data.remaining());
                if let Some(left) = &mut self.declared {
                    match left.checked_sub(data.len() as u64) {
                        Some(rest) => *left = rest,
                        None => return Poll::Ready(Some(Err(Broken::Malformed))),
                    }
                }
                Poll::Ready(Some(Ok(data)))
            }
            Ok(None) if self.declared.is_some_and(|left| left > 0) => {
                Poll::Ready(Some(Err(Broken::Malformed)))
            }
            Ok(None) => Poll::Ready(None),
            Err(error) if transport::is_allowance_spent(&error) => {
                Poll::Ready(Some(Err(Broken::TooLarge)))
            }
            Err(_) => Poll::Ready(Some(Err(Broken::Malformed))),
        }
    }
}

impl Body for Http3Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if this.state == State::Data {
            match ready!(this.poll_data(cx)) {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Err(error)) => {
                    this.state = State::Ended;
                    return Poll::Ready(Some(Err(error)));
                }
                None => this.state = State::Trailers,
            }
        }
        if this.state == State::Ended {
            return Poll::Ready(None);
        }
        let trailers = ready!(this.stream.poll_recv_trailers(cx));
        this.state = State::Ended;
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|fields| Ok(Frame::trailers(fields))),
            Err(_) => Some(Err(Broken::Malformed)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.declared {
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}
