//! A connection whose client has to begin: one that says nothing, or not enough to tell
//! which HTTP it speaks, is closed after a while.
//!
//! From then on the timers of that HTTP count. It knows HTTP/2's first bytes and nothing
//! else of HTTP.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What every HTTP/2 connection begins with (RFC 9113 §3.4). hyper waits for all of it, or
/// for the first byte that differs, without a timer.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) struct Opening<S> {
    inner: S,
    /// Until it is known which HTTP the client speaks.
    unknown: Option<Unknown>,
}

struct Unknown {
    end: Pin<Box<Sleep>>,
    /// Bytes of the preface that have come.
    matched: usize,
}

impl<S> Opening<S> {
    pub(super) fn new(inner: S, time_max: Duration) -> Self {
        let unknown = Some(Unknown {
            end: Box::pin(tokio::time::sleep(time_max)),
            matched: 0,
        });
        Self { inner, unknown }
    }
}

impl Unknown {
    /// Do the bytes that came next leave it open which HTTP this is?
    fn stays(&mut self, bytes: &[u8]) -> bool {
        let expected = &PREFACE[self.matched..];
        self.matched += bytes.len();
        self.matched < PREFACE.len() && expected.starts_with(bytes)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        let Some(unknown) = &mut this.unknown else {
            return read;
        };
        if read.is_pending() {
            ready!(unknown.end.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !unknown.stays(&buffer.filled()[before..]) {
            this.unknown = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
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
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const TIME_MAX: Duration = Duration::from_millis(100);

    /// Reads what a client sends, and is told how the next read ends if nothing follows.
    async fn check(sent: &[&[u8]], is_timed: bool) {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut server = Opening::new(server, TIME_MAX);
        for bytes in sent {
            client.write_all(bytes).await.unwrap();
            let mut taken = vec![0; bytes.len()];
            server.read_exact(&mut taken).await.unwrap();
        }
        let next = tokio::time::timeout(4 * TIME_MAX, server.read_u8()).await;
        match next {
            Ok(next) => assert!(is_timed && next.unwrap_err().kind() == io::ErrorKind::TimedOut),
            Err(_) => assert!(!is_timed, "{sent:?}"),
        }
    }

    #[tokio::test]
    async fn it_is_timed_until_the_protocol_is_known() {
        check(&[], true).await;
        check(&[b"P"], true).await;
        check(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"], true).await;
        check(&[b"PRI * ", b"HTTP/2.0\r\n"], true).await;
        check(&[b"G"], false).await;
        check(&[b"POST / HTTP/1.1\r\n"], false).await;
        check(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], false).await;
        check(&[PREFACE, b"and more"], false).await;
    }
}
