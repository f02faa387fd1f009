//! A socket whose client has to take what it is sent: one that takes nothing for a while is
//! given up, and so is whatever was waiting to be written.
//!
//! It lies below TLS, so that a byte counts when the client's machine has it and not when a
//! buffer here does. It does NOT know what is written.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How often a client that takes nothing is looked at before it is given up.
const LOOKS: u32 = 6;

pub(super) struct Unstalled {
    stream: TcpStream,
    stall_max: Duration,
    /// While a write waits for the client.
    stall: Option<Stall>,
}

struct Stall {
    /// Until the kernel is asked whether the client takes anything.
    look: Pin<Box<Sleep>>,
    /// When it was last seen to.
    since: Instant,
    /// Bytes that its machine had not acknowledged then.
    untaken: Option<usize>,
}

impl Unstalled {
    pub(super) fn new(stream: TcpStream, stall_max: Duration) -> Self {
        Self {
            stream,
            stall_max,
            stall: None,
        }
    }

    /// Passes on what a write came to, unless it has waited too long.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall_max = self.stall_max;
        let stream = &self.stream;
        let stall = self.stall.get_or_insert_with(|| Stall {
            look: Box::pin(tokio::time::sleep(stall_max / LOOKS)),
            since: Instant::now(),
            untaken: untaken(stream),
        });
        loop {
            ready!(stall.look.as_mut().poll(cx));
            // The kernel asks for more only when much of its buffer is free: a slow client
            // may have taken some of it all the same.
            let (now, untaken) = (Instant::now(), untaken(stream));
            if untaken.is_some_and(|bytes| stall.untaken.is_some_and(|before| bytes < before)) {
                stall.since = now;
                stall.untaken = untaken;
            } else if now - stall.since >= stall_max {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            stall.look.as_mut().reset(now + stall_max / LOOKS);
        }
    }
}

/// Bytes that were handed to the kernel and that the client's machine has not acknowledged.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the kernel's queue is asked for by a system call"
)]
fn untaken(stream: &TcpStream) -> Option<usize> {
    use std::os::fd::AsRawFd as _;
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (tcp(7); TIOCOUTQ is the same number) writes one int, and the
    // descriptor is open as long as the stream is borrowed.
    let failed = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } != 0;
    if failed {
        return None;
    }
    usize::try_from(bytes).ok()
}

#[cfg(not(target_os = "linux"))]
fn untaken(_: &TcpStream) -> Option<usize> {
    None
}

impl AsyncRead for Unstalled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Unstalled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const STALL_MAX: Duration = Duration::from_millis(200);
    /// More than the buffers of both kernels hold.
    const MUCH: usize = 64 << 20;

    async fn pair() -> (Unstalled, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, client) = tokio::join!(listener.accept(), client);
        (
            Unstalled::new(accepted.unwrap().0, STALL_MAX),
            client.unwrap(),
        )
    }

    async fn write(mut server: Unstalled) -> io::Result<()> {
        let chunk = vec![0; 1 << 20];
        for _ in 0..MUCH / chunk.len() {
            server.write_all(&chunk).await?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (server, client) = pair().await;
        let start = std::time::Instant::now();
        let error = write(server).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // It fills the buffers first, and is looked at now and then.
        let took = start.elapsed();
        assert!(took >= STALL_MAX && took < 10 * STALL_MAX, "{took:?}");
        drop(client);
    }

    #[tokio::test]
    async fn a_client_that_reads_is_not_however_slow_and_however_idle_the_stream() {
        let (server, mut client) = pair().await;
        let reader = tokio::spawn(async move {
            let mut chunk = vec![0; 128 << 10];
            let mut slow = 40;
            let mut taken = 0;
            while let Ok(bytes @ 1..) = client.read(&mut chunk).await {
                taken += bytes;
                if slow > 0 {
                    slow -= 1;
                    tokio::time::sleep(STALL_MAX / 4).await;
                }
            }
            taken
        });
        let mut server = server;
        server.write_all(b"a word").await.unwrap();
        tokio::time::sleep(2 * STALL_MAX).await;
        write(server).await.unwrap();
        assert_eq!(reader.await.unwrap(), MUCH + "a word".len());
    }
}
