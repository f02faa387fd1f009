//! HTTP/2 streams whose client has to take what it is sent: one that grants its stream no
//! more bytes for a while is given up, and its connection lives on.
//!
//! On such a stream nothing ever waits in the socket, which other streams share. So each
//! stream notes for whom it waits: for the component, as an idle one does for hours, or for
//! its client. It does NOT look into the bytes.

use super::seats::Sitter;
use crate::thread_time;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// What an HTTP/2 stream is given at once. The next portion is asked for when the client
/// takes this one, so it must be able to within the limit.
const PORTION_BYTES_MAX: usize = 16 << 10;

tokio::task_local! {
    /// The turn of the HTTP/2 stream that the task serves.
    static TURN: Arc<Turn>;
}

/// For whom a stream waits, as far as its task was told while it was polled.
#[derive(Debug, Default)]
struct Turn {
    whose: AtomicU8,
    /// The request that the stream is for.
    sitter: OnceLock<Arc<Sitter>>,
}

/// Nothing was polled: whatever the client was given before, it has not taken.
const UNCHANGED: u8 = 0;
/// The client was given something.
const GIVEN: u8 = 1;
/// The component has to go on.
const COMPONENTS: u8 = 2;

/// Says whether the task serves an HTTP/2 stream. HTTP/1 has no such task, and needs none:
/// its client is watched in the socket.
fn note(turn: u8) -> bool {
    TURN.try_with(|current| current.whose.store(turn, Relaxed))
        .is_ok()
}

/// Says which request the stream of this task is for, if it is one of HTTP/2.
pub(super) fn serves(sitter: &Arc<Sitter>) {
    let _ = TURN.try_with(|turn| turn.sitter.set(Arc::clone(sitter)));
}

/// Spawns the streams of HTTP/2 connections, each with an eye on its client.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) stall_max: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let turn = Arc::<Turn>::default();
        tokio::spawn(Watched {
            stream: TURN.scope(Arc::clone(&turn), thread_time::host(stream)),
            turn,
            stall: None,
            stall_max: self.stall_max,
            ended: None,
        });
    }
}

pin_project! {
    struct Watched<F> {
        #[pin]
        stream: tokio::task::futures::TaskLocalFuture<Arc<Turn>, F>,
        turn: Arc<Turn>,
        #[pin]
        stall: Option<Sleep>,
        stall_max: Duration,
        // While the client is waited for: until its request has to end.
        ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        this.turn.whose.store(UNCHANGED, Relaxed);
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match this.turn.whose.load(Relaxed) {
            COMPONENTS => this.stall.set(None),
            UNCHANGED if this.stall.is_some() => {}
            _ => this.stall.set(Some(tokio::time::sleep(*this.stall_max))),
        }
        let sitter = this.turn.sitter.get();
        let waits = this.stall.is_some();
        if let Some(sitter) = sitter {
            sitter.answer_waits(waits);
        }
        if !waits {
            *this.ended = None;
        }
        if let Some(stall) = this.stall.as_pin_mut() {
            let token = |sitter: &Arc<Sitter>| Box::pin(sitter.token().cancelled_owned());
            if this.ended.is_none() {
                *this.ended = sitter.map(token);
            }
            let ended = this.ended.as_mut().map(|ended| ended.as_mut().poll(cx));
            if ended.is_some_and(|ended| ended.is_ready()) {
                return Poll::Ready(());
            }
            ready!(stall.poll(cx));
            // Dropping the stream resets it.
            tracing::debug!("an HTTP/2 stream was given up: its client takes nothing");
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

pin_project! {
    /// A future that is the component's turn.
    pub(super) struct Answering<F> {
        #[pin]
        answer: F,
    }
}

impl<F> Answering<F> {
    pub(super) fn new(answer: F) -> Self {
        Self { answer }
    }
}

impl<F: Future> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let answer = self.project().answer.poll(cx);
        if answer.is_pending() {
            note(COMPONENTS);
        }
        answer
    }
}

/// A body that notes whose turn it is, and gives no more at once than a client can take.
pub(super) struct Portions<B> {
    inner: B,
    /// What of the last frame is not given yet.
    rest: Bytes,
}

impl<B> Portions<B> {
    pub(super) fn new(inner: B) -> Self {
        Self {
            inner,
            rest: Bytes::new(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Portions<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
                note(COMPONENTS);
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => this.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let bytes = match note(GIVEN) {
            true => this.rest.len().min(PORTION_BYTES_MAX),
            false => this.rest.len(),
        };
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
