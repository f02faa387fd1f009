//! The body of an answer on its way out: it holds the request's place until its last byte,
//! reports progress, and writes the request's one line in the log.
//!
//! Dropping it tells everybody behind it that the client is gone. It does NOT look into the
//! bytes.

pub(crate) mod encoding;

use super::Origin;
use crate::instance::Ticket;
use crate::log;
use crate::metrics::Metrics;
use crate::trace::Span;
use bytes::Bytes;
use edge_bindings::port::CallContext;
use encoding::Encoding;
use http::Request;
use http::uri::Authority;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

/// The longest path that is logged.
const PATH_CHARS_MAX: usize = 256;

/// How much of a body is taken in before its head goes out.
const AHEAD_BYTES_MAX: u64 = 16 << 10;
/// How often everybody else may go first while that is done: a component that has answered
/// writes its body's beginning in its next turn, and the end in the one after.
const AHEAD_TURNS_MAX: u32 = 2;

/// What the log says of one request: no query, no body, no secret.
pub(crate) struct LogLine {
    method: http::Method,
    path: String,
    version: http::Version,
    client: std::net::SocketAddr,
    trace: Option<http::HeaderValue>,
    start: Instant,
    pub(crate) component: String,
    pub(crate) route: String,
    pub(crate) status: u16,
    pub(crate) request_id: Option<String>,
    span: Option<Span>,
}

impl LogLine {
    pub(crate) fn new<B>(
        request: &Request<B>,
        origin: &Origin,
        context: &CallContext,
        span: Option<Span>,
    ) -> Self {
        Self {
            method: request.method().clone(),
            path: log::beginning(request.uri().path(), PATH_CHARS_MAX).to_owned(),
            version: request.version(),
            client: origin.client,
            trace: context.traceparent.clone(),
            start: Instant::now(),
            component: "host".to_owned(),
            route: String::new(),
            status: 0,
            request_id: None,
            span,
        }
    }

    /// The request took `route`, and is for `host`.
    pub(crate) fn routed(&mut self, route: &str, host: Option<&Authority>) {
        self.route = route.to_owned();
        if let Some(span) = &mut self.span {
            span.routed(route, host);
        }
    }

    /// Since the request came.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The answer has ended: so does the span.
    fn end(mut self, bytes: u64, end: End) {
        if let Some(mut span) = self.span.take() {
            span.answered(self.status);
            if end == End::Broken {
                span.failed("body");
            }
        }
        self.write(bytes, end);
    }

    fn write(&self, bytes: u64, end: End) {
        let trace = self
            .trace
            .as_ref()
            .and_then(|trace| trace.to_str().ok())
            .unwrap_or("");
        tracing::info!(
            target: "access",
            client = %self.client,
            method = %self.method.as_str(),
            path = self.path,
            version = ?self.version,
            component = self.component,
            route = self.route,
            status = self.status,
            bytes,
            ms = self.start.elapsed().as_secs_f64() * 1e3,
            end = ?end,
            request_id = self.request_id.as_deref().unwrap_or(""),
            trace,
            "request"
        );
    }
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// At its last byte.
    Whole,
    /// The component failed in mid-stream.
    Broken,
    /// The client went away.
    Left,
}

/// An answer's body.
pub(crate) struct Answer {
    inner: WasiBody,
    /// What `inner` gave before the head went out; `None` is its end.
    ahead: VecDeque<Option<Result<Frame<Bytes>, HttpError>>>,
    encoding: Option<Box<Encoding>>,
    ticket: Option<Arc<Ticket>>,
    permit: Option<OwnedSemaphorePermit>,
    line: Option<LogLine>,
    metrics: Arc<Metrics>,
    bytes: u64,
    end: End,
}

impl Answer {
    pub(crate) fn new(
        inner: WasiBody,
        ticket: Option<Arc<Ticket>>,
        permit: Option<OwnedSemaphorePermit>,
        line: Option<LogLine>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        metrics.in_flight.fetch_add(1, Relaxed);
        let end = if inner.is_end_stream() {
            End::Whole
        } else {
            End::Left
        };
        Self {
            inner,
            ahead: VecDeque::new(),
            encoding: None,
            ticket,
            permit,
            line,
            metrics: Arc::clone(metrics),
            bytes: 0,
            end,
        }
    }
}

impl Answer {
    /// Encodes the body from now on; its head has to say so.
    pub(crate) fn encode(&mut self, encoding: Encoding) {
        self.encoding = Some(Box::new(encoding));
    }

    fn instance_failed(&self) -> bool {
        self.ticket
            .as_ref()
            .is_some_and(|ticket| ticket.instance_failed())
    }
}

impl Answer {
    /// Takes in what the component has at hand of its body. A short one then leaves with its
    /// head, in one write, and its length is known; nobody waits for what comes later.
    pub(crate) async fn look_ahead(&mut self) {
        let (mut turns, mut bytes) = (AHEAD_TURNS_MAX, 0);
        poll_fn(|cx| {
            while bytes < AHEAD_BYTES_MAX && !self.has_all() {
                match self.poll_inner(cx) {
                    Poll::Ready(frame) => {
                        bytes += data_bytes(frame.as_ref());
                        self.ahead.push_back(frame);
                    }
                    Poll::Pending if turns > 0 => {
                        turns -= 1;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Poll::Pending => break,
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// The line of a body that breaks within what was taken in. Its head has not gone out, so
    /// the client can be told instead.
    pub(crate) fn line_of_broken(&mut self) -> Option<LogLine> {
        match self.ahead.back() {
            Some(Some(Err(_))) => self.line.take(),
            _ => None,
        }
    }

    /// Is nothing left to ask the component for?
    fn has_all(&self) -> bool {
        match self.ahead.back() {
            Some(None | Some(Err(_))) => true,
            Some(Some(Ok(_))) | None => self.inner.is_end_stream(),
        }
    }

    /// Will no further frame be handed out?
    fn is_over(&self) -> bool {
        match self.ahead.front() {
            Some(frame) => frame.is_none(),
            None => self.inner.is_end_stream(),
        }
    }

    /// What is still to be handed out, if that is known and data alone.
    fn length(&self) -> Option<u64> {
        let mut length = match self.ahead.back() {
            Some(None) => 0,
            _ => self.inner.size_hint().exact()?,
        };
        for frame in self.ahead.iter().flatten() {
            length += frame.as_ref().ok()?.data_ref()?.len() as u64;
        }
        Some(length)
    }

    /// The next frame from the component.
    fn poll_inner(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        // A trap ends the component's streams like an ordinary end does.
        if matches!(polled, Poll::Ready(None)) && self.instance_failed() {
            self.ticket = None;
            return Poll::Ready(Some(Err(HttpError::HttpResponseIncomplete)));
        }
        polled
    }

    /// The next frame as the component wrote it.
    fn poll_plain(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let polled = match self.ahead.pop_front() {
            Some(frame) => Poll::Ready(frame),
            None => self.poll_inner(cx),
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(ticket) = &self.ticket {
                    ticket.progressed();
                }
                if self.is_over() {
                    self.end = End::Whole;
                }
            }
            Poll::Ready(Some(Err(_))) => self.end = End::Broken,
            Poll::Ready(None) => self.end = End::Whole,
            Poll::Pending => {}
        }
        polled
    }
}

fn data_bytes(frame: Option<&Result<Frame<Bytes>, HttpError>>) -> u64 {
    let data = frame.and_then(|frame| frame.as_ref().ok()?.data_ref());
    data.map_or(0, |data| data.len() as u64)
}

impl Body for Answer {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let Some(mut encoding) = self.encoding.take() else {
            return self.poll_plain(cx);
        };
        let polled = encoding.poll(|| self.poll_plain(cx));
        self.encoding = Some(encoding);
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.encoding {
            Some(encoding) => encoding.is_over(),
            None => self.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.encoding {
            Some(_) => SizeHint::default(),
            None => self
                .length()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        drop(self.ticket.take());
        drop(self.permit.take());
        self.metrics.in_flight.fetch_sub(1, Relaxed);
        let sent = self.encoding.as_ref().map_or(self.bytes, |e| e.sent());
        self.metrics.body_bytes_sent.fetch_add(sent, Relaxed);
        // A body whose length is known is not polled again after its last byte.
        if self.end == End::Left && self.length() == Some(0) {
            self.end = End::Whole;
        }
        if let Some(line) = self.line.take() {
            self.metrics.request(&line.component, line.status);
            line.end(sent, self.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, StreamBody};

    /// An answer of so many frames of `bytes` each, between which others go first; then it
    /// ends, or waits for ever.
    fn answer(frames: usize, bytes: usize, ends: bool) -> Answer {
        let frame = move |number: usize| async move {
            if number == frames {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            let data = Bytes::from(vec![b'0' + u8::try_from(number % 10).unwrap(); bytes]);
            Ok::<_, HttpError>(Frame::data(data))
        };
        let numbers = futures::stream::iter(0..frames + usize::from(!ends));
        let body = StreamBody::new(futures::StreamExt::then(numbers, frame));
        Answer::new(body.boxed_unsync(), None, None, None, &Arc::default())
    }

    #[tokio::test]
    async fn a_short_answer_is_known_whole_before_its_head_goes_out() {
        let mut short = answer(2, 3, true);
        assert_eq!(short.size_hint().exact(), None);
        short.look_ahead().await;
        assert_eq!(short.size_hint().exact(), Some(6));
        assert!(!short.is_end_stream());
        assert_eq!(short.collect().await.unwrap().to_bytes(), "000111");
    }

    #[tokio::test]
    async fn nobody_waits_for_what_comes_later() {
        let mut begun = answer(1, 3, false);
        begun.look_ahead().await;
        assert_eq!(begun.size_hint().exact(), None);
        assert_eq!(
            begun.frame().await.unwrap().unwrap().into_data().unwrap(),
            "000"
        );
        assert!(futures::FutureExt::now_or_never(begun.frame()).is_none());
        assert_eq!(begun.end, End::Left);
    }

    #[tokio::test]
    async fn no_more_is_taken_in_than_its_maximum() {
        let frame = Bytes::from_static(&[0; 1 << 10]);
        let endless = futures::stream::repeat_with(move || Ok(Frame::data(frame.clone())));
        let body = StreamBody::new(endless).boxed_unsync();
        let mut endless = Answer::new(body, None, None, None, &Arc::default());
        endless.look_ahead().await;
        assert_eq!(endless.ahead.len(), 16);
        assert_eq!(endless.size_hint().exact(), None);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_has_no_length_and_breaks_where_it_did() {
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"half"))),
            Err(HttpError::HttpResponseIncomplete),
        ];
        let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
        let mut broken = Answer::new(body, None, None, None, &Arc::default());
        broken.look_ahead().await;
        assert_eq!(broken.size_hint().exact(), None);
        assert!(broken.frame().await.unwrap().is_ok());
        assert!(broken.frame().await.unwrap().is_err());
        assert_eq!(broken.end, End::Broken);
    }

    #[tokio::test]
    async fn the_client_can_be_told_of_what_breaks_before_the_head_goes_out() {
        let request = Request::get("/broken").body(()).unwrap();
        let line = || {
            let context = CallContext {
                depth: 0,
                traceparent: None,
                gone: tokio_util::sync::CancellationToken::new(),
                stages: None,
            };
            LogLine::new(&request, &Origin::inside(), &context, None)
        };
        for (last, is_told) in [
            (Err(HttpError::HttpResponseIncomplete), true),
            (Ok(Frame::data(Bytes::from_static(b"half"))), false),
        ] {
            let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), last];
            let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
            let mut answer = Answer::new(body, None, None, Some(line()), &Arc::default());
            answer.look_ahead().await;
            assert_eq!(answer.line_of_broken().is_some(), is_told);
            assert_eq!(answer.line.is_some(), !is_told);
        }
    }

    #[tokio::test]
    async fn an_empty_answer_is_over_at_once() {
        let mut empty = answer(0, 0, true);
        empty.look_ahead().await;
        assert!(empty.is_end_stream());
        assert_eq!(empty.size_hint().exact(), Some(0));
    }
}
