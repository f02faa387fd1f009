//! Frames of HTTP/2 that cost the server something and the client next to nothing: who sends
//! too many of them is told to be calm (RFC 9113 §7, ENHANCE_YOUR_CALM) and closed.
//!
//! A connection has a budget of them that fills again over time, and more for what it is
//! sent: a client may say of every frame of an answer, twice, that it has taken it. h2 itself
//! bounds resets and what continues a head; it answers every PING and SETTINGS. It is made
//! to end the connection by a head that it knows to be too long. This file does NOT know
//! streams, and HTTP/1 passes.

use crate::limits::Limits;
use crate::metrics::Metrics;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;
/// What a frame carries at most, as long as no other maximum was agreed on.
const FRAME_BYTES_MAX: usize = 16 << 10;

// RFC 9113 §6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;

/// A frame of data with fewer bytes is one that costs.
const SMALL_BYTES: usize = 64;
/// Frames that a client may send for each frame of data that it was sent: the stream's window,
/// the connection's, and one more.
const EARNED_BY_DATA: f64 = 3.0;
/// What comes back with the head of an answer: the request's head, an empty frame that ends
/// it, and a reset.
const BACK_WITH_HEAD: f64 = 3.0;

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
}

impl Head {
    /// Is it a frame that a client pays for?
    fn costs(self) -> bool {
        self.kind != DATA || self.length < SMALL_BYTES || self.flags & PADDED != 0
    }
}

/// Follows the frames of one direction.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_BYTES],
    have: usize,
    /// Bytes of a frame that are still to come.
    left: usize,
}

impl Frames {
    /// Takes some of what came next: how many bytes, and the head that they completed.
    fn take(&mut self, bytes: &[u8]) -> (usize, Option<Head>) {
        if self.left > 0 {
            let taken = self.left.min(bytes.len());
            self.left -= taken;
            return (taken, None);
        }
        let taken = (HEAD_BYTES - self.have).min(bytes.len());
        self.head[self.have..][..taken].copy_from_slice(&bytes[..taken]);
        self.have += taken;
        if self.have < HEAD_BYTES {
            return (taken, None);
        }
        let [a, b, c, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        (self.have, self.left) = (0, length);
        let head = Head {
            length,
            kind,
            flags,
        };
        (taken, Some(head))
    }

    /// Does a frame begin with the next byte?
    fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    fn each(&mut self, mut bytes: &[u8], mut head: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let (taken, complete) = self.take(bytes);
            bytes = &bytes[taken..];
            if let Some(complete) = complete {
                head(complete);
            }
        }
    }
}

/// How many frames a client may still send.
#[derive(Debug)]
struct Budget {
    left: f64,
    left_max: f64,
    per_second: f64,
    /// For windows alone: frames of data that the client was sent.
    earned: f64,
    seen: Instant,
}

impl Budget {
    fn new(limits: &Limits, now: Instant) -> Self {
        // A client may open all of its streams at once, and break all of them off.
        let left_max = f64::from(limits.control_frames_max)
            .max(BACK_WITH_HEAD * f64::from(limits.streams_per_connection_max));
        Self {
            left: left_max,
            left_max,
            per_second: f64::from(limits.control_frames_per_second),
            earned: 0.0,
            seen: now,
        }
    }

    fn fill(&mut self, frames: f64) {
        self.left = (self.left + frames).min(self.left_max);
    }

    /// Counts one that the client sent, and says whether it was still within the budget.
    fn pays(&mut self, head: Head, now: Instant) -> bool {
        if !head.costs() {
            return true;
        }
        let passed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.seen = now;
        self.fill(passed * self.per_second);
        if head.kind == WINDOW_UPDATE && self.earned >= 1.0 {
            self.earned -= 1.0;
            return true;
        }
        self.left -= 1.0;
        self.left >= 0.0
    }

    /// Counts one that the client was sent.
    fn earns(&mut self, head: Head) {
        match head.kind {
            DATA => self.earned += EARNED_BY_DATA,
            HEADERS => self.fill(BACK_WITH_HEAD),
            _ => {}
        }
    }
}

/// What is known of a connection.
#[derive(Debug)]
enum State {
    /// So many bytes of the preface have come.
    Opening(usize),
    /// Another protocol.
    Elsewhere,
    Counting,
    /// The budget is spent: h2 is told so where the next frame would begin.
    Spent,
    /// So many bytes of that were said.
    Ending(usize),
}

/// A connection that sends no more frames than its budget has.
pub(super) struct Calm<S> {
    inner: S,
    state: State,
    received: Frames,
    sent: Frames,
    budget: Budget,
    /// Bytes after which h2 must have ended the connection.
    verdict_bytes: usize,
    metrics: Arc<Metrics>,
}

impl<S> Calm<S> {
    pub(super) fn new(inner: S, limits: &Limits, metrics: &Arc<Metrics>) -> Self {
        // As many frames as a head of the greatest length needs, and many more.
        let frames = 64 + 2 * (limits.header_bytes_max / FRAME_BYTES_MAX);
        Self {
            inner,
            state: State::Opening(0),
            received: Frames::default(),
            sent: Frames::default(),
            budget: Budget::new(limits, Instant::now()),
            verdict_bytes: frames * HEAD_BYTES,
            metrics: Arc::clone(metrics),
        }
    }

    /// Looks at what was read: how much of it may be passed on.
    fn look(&mut self, bytes: &[u8], now: Instant) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.state {
                State::Opening(matched) => {
                    let rest = &PREFACE[*matched..];
                    let part = rest.len().min(bytes.len() - at);
                    if bytes[at..][..part] != rest[..part] {
                        self.state = State::Elsewhere;
                        return bytes.len();
                    }
                    at += part;
                    *matched += part;
                    if *matched == PREFACE.len() {
                        self.state = State::Counting;
                    }
                }
                State::Elsewhere | State::Ending(_) => return bytes.len(),
                State::Spent if self.received.is_between() => return at,
                State::Counting | State::Spent => {
                    let (taken, head) = self.received.take(&bytes[at..]);
                    at += taken;
                    if head.is_some_and(|head| !self.budget.pays(head, now)) {
                        self.state = State::Spent;
                    }
                }
            }
        }
        at
    }

    /// Says in place of what the client sent a head that never ends. Was there something to
    /// say?
    fn end(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        if matches!(self.state, State::Spent) && self.received.is_between() {
            tracing::debug!("an HTTP/2 connection sends too many frames");
            self.metrics.refused("control-frames");
            self.state = State::Ending(0);
        }
        let State::Ending(said) = &mut self.state else {
            return false;
        };
        let part = buffer.remaining().min(self.verdict_bytes - *said);
        let verdict = (*said..*said + part).map(verdict_byte);
        buffer.put_slice(&verdict.collect::<Vec<u8>>());
        *said += part;
        part > 0
    }
}

/// One byte of a HEADERS frame without an end, and of the CONTINUATION frames after it.
fn verdict_byte(at: usize) -> u8 {
    match (at / HEAD_BYTES, at % HEAD_BYTES) {
        (0, 3) => HEADERS,
        (_, 3) => CONTINUATION,
        (_, 8) => 1,
        _ => 0,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Calm<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.end(buffer) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        if matches!(this.state, State::Elsewhere) {
            return Poll::Ready(Ok(()));
        }
        let passed = this.look(&buffer.filled()[before..], Instant::now());
        let is_cut = before + passed < buffer.filled().len();
        buffer.set_filled(before + passed);
        // Nothing would be the end of the connection.
        if is_cut && passed == 0 {
            this.end(buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Calm<S> {
    /// Counts what the client was sent.
    fn wrote<'a>(&mut self, mut written: usize, parts: impl Iterator<Item = &'a [u8]>) {
        if !matches!(self.state, State::Counting) {
            return;
        }
        let (frames, budget) = (&mut self.sent, &mut self.budget);
        for part in parts {
            let part = &part[..part.len().min(written)];
            written -= part.len();
            frames.each(part, |head| budget.earns(head));
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Calm<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.wrote(written, std::iter::once(bytes));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bytes))?;
        self.wrote(written, bytes.iter().map(|part| &**part));
        Poll::Ready(Ok(written))
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
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const PING: u8 = 6;

    fn limits() -> Limits {
        Limits {
            control_frames_max: 10,
            control_frames_per_second: 1,
            streams_per_connection_max: 1,
            ..Limits::default()
        }
    }

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(7, usize::from(length)));
        frame
    }

    fn head(kind: u8, length: usize) -> Head {
        Head {
            length,
            kind,
            flags: 0,
        }
    }

    #[test]
    fn a_budget_fills_again_and_windows_are_earned() {
        let now = Instant::now();
        let mut budget = Budget::new(&limits(), now);
        assert!((0..10).all(|_| budget.pays(head(PING, 8), now)));
        assert!(!budget.pays(head(PING, 8), now), "the eleventh");
        let later = now + Duration::from_secs(3);
        assert!((0..2).all(|_| budget.pays(head(PING, 8), later)));
        assert!(!budget.pays(head(PING, 8), later));
        // Of each of a thousand frames a client says twice that it has taken it.
        (0..1_000).for_each(|_| budget.earns(head(DATA, 30)));
        assert!((0..2_000).all(|_| budget.pays(head(WINDOW_UPDATE, 4), later)));
        assert!(
            !budget.pays(head(PING, 8), later),
            "earned for windows alone"
        );
        // A long upload costs nothing; one of empty frames does.
        assert!((0..1_000).all(|_| budget.pays(head(DATA, 16 << 10), later)));
        assert!(!budget.pays(head(DATA, 0), later));
    }

    /// What h2 reads of a connection, cut into pieces of one size.
    async fn read(sent: &[u8], piece: usize) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(piece);
        let sent = sent.to_vec();
        let writing = tokio::spawn(async move {
            for part in sent.chunks(piece) {
                client.write_all(part).await.unwrap();
            }
        });
        let mut calm = Calm::new(server, &limits(), &Arc::default());
        let mut read = Vec::new();
        calm.read_to_end(&mut read).await.unwrap();
        writing.await.unwrap();
        read
    }

    #[tokio::test]
    async fn a_flood_ends_where_its_budget_does_however_it_is_cut() {
        let pings = |number| frame(PING, 8).repeat(number);
        let within = [PREFACE, &pings(10), &frame(DATA, 200)].concat();
        for piece in [1, 2, 7, 17, 1_000] {
            assert_eq!(read(&within, piece).await, within);
            let flood = [PREFACE, &pings(50)].concat();
            let taken = read(&flood, piece).await;
            // The one that was too much is passed on whole; a head follows that never ends.
            let passed = [PREFACE, &pings(11)].concat();
            let (before, after) = taken.split_at(passed.len());
            assert_eq!(before, passed);
            assert_eq!(after[..9], [0, 0, 0, HEADERS, 0, 0, 0, 0, 1]);
            let continued = after[9..]
                .chunks(9)
                .take_while(|frame| **frame == [0, 0, 0, CONTINUATION, 0, 0, 0, 0, 1]);
            assert!(continued.count() > 60);
            let plain = [b"GET / HTTP/1.1\r\n", &pings(50)[..]].concat();
            assert_eq!(read(&plain, piece).await, plain, "another protocol");
        }
    }
}
