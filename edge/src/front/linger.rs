//! A connection that is closed the polite way: after the last answer it is read a little
//! longer, so that a client which is still writing gets the answer and not a reset
//! (RFC 9112 §9.6).
//!
//! It does NOT look into what it reads then.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a closed connection is read.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);
/// How much of it: a client that writes a whole body before it reads has sent more than is
/// taken before it sees that.
const LINGER_BYTES_MAX: usize = 64 << 20;

pub(super) struct Lingering<S> {
    inner: S,
    state: State,
}

enum State {
    Open,
    Lingering { end: Pin<Box<Sleep>>, bytes: usize },
    Closed,
}

impl<S> Lingering<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            state: State::Open,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Open => {
                    ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                    let end = Box::pin(tokio::time::sleep(LINGER_TIME_MAX));
                    this.state = State::Lingering { end, bytes: 0 };
                }
                State::Lingering { end, bytes } => {
                    let mut scratch = [0; 8 << 10];
                    let mut buffer = ReadBuf::new(&mut scratch);
                    match Pin::new(&mut this.inner).poll_read(cx, &mut buffer) {
                        Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                            *bytes += buffer.filled().len();
                            if *bytes > LINGER_BYTES_MAX {
                                this.state = State::Closed;
                            }
                        }
                        Poll::Ready(_) => this.state = State::Closed,
                        Poll::Pending => {
                            ready!(end.as_mut().poll(cx));
                            this.state = State::Closed;
                        }
                    }
                }
                State::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}
