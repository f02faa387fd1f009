//! quinn's connection as the transport of an HTTP/3 server, with two things that the
//! ready-made one lacks: what a client may send before it is looked at has a bound (an
//! HTTP/3 frame that is no body is gathered whole, however long it says it is), and a
//! client that leaves is noticed while nothing is sent.
//!
//! A stream that is dropped before its end is reset: it never looks whole. It does NOT know
//! HTTP.

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt as _, unfold};
use h3::error::{Code, StreamError};
use h3::quic::{
    self, BidiStream, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream,
    StreamErrorIncoming, StreamId, WriteBuf,
};
use quinn::{ConnectionError, VarInt, WriteError};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio_util::io::poll_read_buf;

/// What is read at once.
const READ_BYTES: usize = 16 << 10;
/// Framing around a head, and fields as they are compressed.
const FRAMING_BYTES: usize = 4 << 10;

type Accepting<T> = BoxStream<'static, Result<T, ConnectionError>>;
type Opening = Pin<Box<dyn Future<Output = Result<quinn::SendStream, ConnectionError>> + Send>>;
type Pair = (quinn::SendStream, quinn::RecvStream);

/// A connection of one client.
pub(super) struct Transport<B> {
    connection: quinn::Connection,
    requests: Accepting<Pair>,
    controls: Accepting<quinn::RecvStream>,
    opening: Option<Opening>,
    head_bytes_max: usize,
    watches: Watches,
    _frames: std::marker::PhantomData<fn(B)>,
}

/// The watch of the stream that was accepted last.
#[derive(Clone, Default)]
pub(super) struct Watches(Arc<Mutex<Option<Watch>>>);

impl Watches {
    pub(super) fn take(&self) -> Option<Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An eye on one request's stream.
pub(super) struct Watch {
    allowance: Arc<AtomicUsize>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Watch {
    /// The client may send so many bytes more.
    pub(super) fn allow(&self, bytes: usize) {
        self.allowance.store(bytes, Relaxed);
    }

    /// Until the client wants no more of the stream, or has all of it.
    pub(super) async fn left(&mut self) {
        self.stopped.as_mut().await;
    }
}

impl<B> Transport<B> {
    /// `head_bytes_max`: what a stream may bring before its head is whole, and a control
    /// stream in all.
    pub(super) fn new(connection: quinn::Connection, head_bytes_max: usize) -> (Self, Watches) {
        let watches = Watches::default();
        let requests = unfold(connection.clone(), |connection| async {
            Some((connection.accept_bi().await, connection))
        });
        let controls = unfold(connection.clone(), |connection| async {
            Some((connection.accept_uni().await, connection))
        });
        let transport = Self {
            requests: requests.boxed(),
            controls: controls.boxed(),
            opening: None,
            connection,
            head_bytes_max: head_bytes_max + FRAMING_BYTES,
            watches: watches.clone(),
            _frames: std::marker::PhantomData,
        };
        (transport, watches)
    }
}

impl<B: Buf> quic::Connection<B> for Transport<B> {
    type RecvStream = Receiving;
    type OpenStreams = NoStreams;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Receiving, ConnectionErrorIncoming>> {
        let stream = ready!(self.controls.poll_next_unpin(cx)).unwrap_or(Err(closed()));
        let allowance = Arc::new(AtomicUsize::new(self.head_bytes_max));
        Poll::Ready(match stream {
            Ok(stream) => Ok(Receiving { stream, allowance }),
            Err(error) => Err(of_connection(error)),
        })
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Both<B>, ConnectionErrorIncoming>> {
        let pair = ready!(self.requests.poll_next_unpin(cx)).unwrap_or(Err(closed()));
        let (sending, receiving) = match pair {
            Ok(pair) => pair,
            Err(error) => return Poll::Ready(Err(of_connection(error))),
        };
        let allowance = Arc::new(AtomicUsize::new(self.head_bytes_max));
        let stopped = sending.stopped();
        let watch = Watch {
            allowance: Arc::clone(&allowance),
            stopped: Box::pin(async {
                let _ = stopped.await;
            }),
        };
        let mut last = self
            .watches
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(watch);
        Poll::Ready(Ok(Both {
            sending: Sending::new(sending),
            receiving: Receiving {
                stream: receiving,
                allowance,
            },
        }))
    }

    fn opener(&self) -> NoStreams {
        NoStreams(self.connection.clone())
    }
}

impl<B: Buf> OpenStreams<B> for Transport<B> {
    type BidiStream = Both<B>;
    type SendStream = Sending<B>;

    fn poll_open_bidi(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<Both<B>, StreamErrorIncoming>> {
        Poll::Ready(Err(no_requests()))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sending<B>, StreamErrorIncoming>> {
        let opening = self.opening.get_or_insert_with(|| {
            let connection = self.connection.clone();
            Box::pin(async move { connection.open_uni().await })
        });
        let opened = ready!(opening.as_mut().poll(cx));
        self.opening = None;
        Poll::Ready(opened.map(Sending::new).map_err(of_stream))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(var_int(code.value()), reason);
    }
}

/// A server asks nothing of its client.
pub(super) struct NoStreams(quinn::Connection);

impl<B: Buf> OpenStreams<B> for NoStreams {
    type BidiStream = Both<B>;
    type SendStream = Sending<B>;

    fn poll_open_bidi(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<Both<B>, StreamErrorIncoming>> {
        Poll::Ready(Err(no_requests()))
    }

    fn poll_open_send(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<Sending<B>, StreamErrorIncoming>> {
        Poll::Ready(Err(no_requests()))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.0.close(var_int(code.value()), reason);
    }
}

/// A request's stream in both directions.
pub(super) struct Both<B> {
    sending: Sending<B>,
    receiving: Receiving,
}

impl<B: Buf> BidiStream<B> for Both<B> {
    type SendStream = Sending<B>;
    type RecvStream = Receiving;

    fn split(self) -> (Sending<B>, Receiving) {
        (self.sending, self.receiving)
    }
}

impl<B: Buf> RecvStream for Both<B> {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receiving.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.receiving.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receiving.recv_id()
    }
}

impl<B: Buf> SendStream<B> for Both<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.sending.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.sending.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.sending.send_id()
    }
}

/// How a stream ends that brought more than it may.
const ALLOWANCE_SPENT: Code = Code::H3_EXCESSIVE_LOAD;

/// Did the stream bring more than it may? Frames are read ahead of their data, so that this
/// may be seen before the data is.
pub(super) fn is_allowance_spent(error: &StreamError) -> bool {
    matches!(error, StreamError::RemoteTerminate { code, .. } if *code == ALLOWANCE_SPENT)
}

/// What a client sends, within its allowance.
pub(super) struct Receiving {
    stream: quinn::RecvStream,
    allowance: Arc<AtomicUsize>,
}

impl RecvStream for Receiving {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let mut data = BytesMut::with_capacity(READ_BYTES);
        let stream = Pin::new(&mut self.stream);
        let read = match ready!(poll_read_buf(stream, cx, &mut data)) {
            Ok(read) => read,
            Err(error) => return Poll::Ready(Err(of_read(error))),
        };
        if read == 0 {
            return Poll::Ready(Ok(None));
        }
        // This task alone takes from it; a larger allowance may come at any time.
        let left = self.allowance.load(Relaxed).checked_sub(read);
        let Some(left) = left else {
            let code = ALLOWANCE_SPENT.value();
            self.stop_sending(code);
            return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated {
                error_code: code,
            }));
        };
        self.allowance.store(left, Relaxed);
        Poll::Ready(Ok(Some(data.freeze())))
    }

    fn stop_sending(&mut self, code: u64) {
        // One that has ended need not be stopped.
        let _ = self.stream.stop(var_int(code));
    }

    fn recv_id(&self) -> StreamId {
        id_of(self.stream.id())
    }
}

/// What a client is sent.
pub(super) struct Sending<B> {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<B>>,
    ended: bool,
}

impl<B> Sending<B> {
    fn new(stream: quinn::SendStream) -> Self {
        Self {
            stream,
            writing: None,
            ended: false,
        }
    }
}

impl<B> Drop for Sending<B> {
    fn drop(&mut self) {
        if !self.ended {
            let code = var_int(Code::H3_REQUEST_CANCELLED.value());
            let _ = self.stream.reset(code);
        }
    }
}

impl<B: Buf> SendStream<B> for Sending<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if let Some(data) = &mut self.writing {
            while data.has_remaining() {
                let stream = Pin::new(&mut self.stream);
                match ready!(stream.poll_write(cx, data.chunk())) {
                    Ok(written) => data.advance(written),
                    Err(error) => return Poll::Ready(Err(of_write(error))),
                }
            }
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.ended = true;
        let finished = self.stream.finish();
        Poll::Ready(finished.map_err(|error| StreamErrorIncoming::Unknown(Box::new(error))))
    }

    fn reset(&mut self, code: u64) {
        self.ended = true;
        let _ = self.stream.reset(var_int(code));
    }

    fn send_id(&self) -> StreamId {
        id_of(self.stream.id())
    }
}

/// Every code of HTTP/3 fits.
fn var_int(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

#[expect(clippy::expect_used, reason = "both count streams in 62 bits")]
fn id_of(id: quinn::StreamId) -> StreamId {
    StreamId::try_from(u64::from(id)).expect("a stream's number has 62 bits")
}

fn closed() -> ConnectionError {
    ConnectionError::LocallyClosed
}

fn no_requests() -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: ConnectionErrorIncoming::InternalError(
            "a server opens no such stream".to_owned(),
        ),
    }
}

fn of_connection(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => ConnectionErrorIncoming::ApplicationClose {
            error_code: close.error_code.into(),
        },
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn of_stream(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: of_connection(error),
    }
}

fn of_write(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated {
            error_code: code.into_inner(),
        },
        WriteError::ConnectionLost(error) => of_stream(error),
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}

fn of_read(error: std::io::Error) -> StreamErrorIncoming {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(quinn::ReadError::Reset(code)) => StreamErrorIncoming::StreamTerminated {
            error_code: code.into_inner(),
        },
        Some(quinn::ReadError::ConnectionLost(error)) => of_stream(error.clone()),
        _ => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}
