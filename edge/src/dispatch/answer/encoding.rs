//! An answer's body, encoded on its way out.
//!
//! A stream is never held: when its component rests, what was taken so far is flushed. Each
//! encoder has a small window, so that many streams fit in memory. It does NOT choose.

use async_compression::Level;
use async_compression::brotli::EncoderParams;
use async_compression::codecs::{
    BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder, flate::params::FlateEncoderParams,
};
use async_compression::core::util::{PartialBuffer, WriteBuffer};
use async_compression::zstd::CParameter;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use std::io;
use std::task::Poll;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::Error as HttpError;

/// What is sent at once, where the body does not rest before.
const PORTION_BYTES: usize = 8 << 10;
/// What is read before something is sent, however little comes of it.
const READ_BYTES_MAX: usize = 128 << 10;
/// What an encoder is given at once.
const INPUT_BYTES: usize = 16 << 10;
/// What an encoder writes in one step.
const STEP_BYTES: usize = 4 << 10;
/// Low levels: an answer is encoded once, while somebody waits for it.
const ZSTD_LEVEL: i32 = 2;
const BROTLI_LEVEL: i32 = 4;
const GZIP_LEVEL: i32 = 5;
/// 128 KiB, and tables to match, where the level's own window would take several MB for a
/// stream. RFC 9659 allows 8 MB.
const ZSTD_WINDOW_LOG: u32 = 17;
const ZSTD_TABLE_LOG: u32 = 15;
const BROTLI_WINDOW_LOG: i32 = 17;

/// A content coding (RFC 9110 §8.4.1), in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    pub(crate) const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    pub(crate) fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    fn encoder(self) -> Box<dyn EncodeV2 + Send> {
        match self {
            Self::Zstd => Box::new(ZstdEncoder::new_with_params(
                ZSTD_LEVEL,
                &[
                    CParameter::window_log(ZSTD_WINDOW_LOG),
                    CParameter::hash_log(ZSTD_TABLE_LOG),
                    CParameter::chain_log(ZSTD_TABLE_LOG),
                ],
            )),
            Self::Brotli => {
                let params = EncoderParams::default().quality(Level::Precise(BROTLI_LEVEL));
                Box::new(BrotliEncoder::new(params.window_size(BROTLI_WINDOW_LOG)))
            }
            Self::Gzip => {
                let params = FlateEncoderParams::from(Level::Precise(GZIP_LEVEL));
                Box::new(GzipEncoder::new(params))
            }
        }
    }
}

/// One body's encoder, and its place among those that there may be.
pub(crate) struct Encoding {
    encoder: Box<dyn EncodeV2 + Send>,
    /// What is not given to the encoder yet.
    input: Bytes,
    out: BytesMut,
    /// Bytes that the encoder was given since it was flushed.
    unflushed: usize,
    is_finished: bool,
    trailers: Option<HeaderMap>,
    sent: u64,
    _place: OwnedSemaphorePermit,
}

impl Encoding {
    pub(crate) fn new(coding: Coding, place: OwnedSemaphorePermit) -> Self {
        Self {
            encoder: coding.encoder(),
            input: Bytes::new(),
            out: BytesMut::new(),
            unflushed: 0,
            is_finished: false,
            trailers: None,
            sent: 0,
            _place: place,
        }
    }

    /// Bytes that were made.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_finished && self.out.is_empty() && self.trailers.is_none()
    }

    /// The next frame, of what `plain` gives.
    pub(super) fn poll(
        &mut self,
        mut plain: impl FnMut() -> Poll<Option<Result<Frame<Bytes>, HttpError>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        while !self.is_finished && self.out.len() < PORTION_BYTES {
            let mut rests = false;
            let done = if !self.input.is_empty() {
                self.encode()
            } else {
                match plain() {
                    Poll::Pending => {
                        rests = true;
                        self.flush()
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Some(Ok(frame))) => self.take(frame),
                    Poll::Ready(None) => self.finish(),
                }
            };
            if let Err(error) = done {
                self.is_finished = true;
                self.out.clear();
                let text = format!("the body could not be encoded: {error}");
                return Poll::Ready(Some(Err(HttpError::InternalError(Some(text)))));
            }
            // Nothing is held of a body that rests, nor of one that shrinks to little.
            let is_flushed = self.unflushed == 0 && !self.out.is_empty();
            match (rests, is_flushed) {
                (true, false) => return Poll::Pending,
                (_, true) => break,
                (false, false) => {}
            }
        }
        if !self.out.is_empty() {
            let portion = self.out.split().freeze();
            self.sent += portion.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(portion))));
        }
        let trailers = self.trailers.take();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn take(&mut self, frame: Frame<Bytes>) -> io::Result<()> {
        match frame.into_data() {
            Ok(data) => {
                self.input = data;
                Ok(())
            }
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                self.finish()
            }
        }
    }

    /// Gives the encoder a part of what is there.
    fn encode(&mut self) -> io::Result<()> {
        let part = self.input.split_to(self.input.len().min(INPUT_BYTES));
        let mut input = PartialBuffer::new(part.as_ref());
        self.steps(|encoder, output| {
            encoder.encode(&mut input, output)?;
            Ok(input.unwritten().is_empty())
        })?;
        self.unflushed += part.len();
        match self.unflushed >= READ_BYTES_MAX {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.unflushed) {
            0 => Ok(()),
            _ => self.steps(|encoder, output| encoder.flush(output)),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.is_finished = true;
        self.steps(|encoder, output| encoder.finish(output))
    }

    /// Takes what the encoder writes, until it has written all.
    fn steps(
        &mut self,
        mut step: impl FnMut(&mut dyn EncodeV2, &mut WriteBuffer<'_>) -> io::Result<bool>,
    ) -> io::Result<()> {
        let mut space = [0; STEP_BYTES];
        loop {
            let mut output = WriteBuffer::new_initialized(&mut space);
            let is_done = step(self.encoder.as_mut(), &mut output)?;
            self.out.extend_from_slice(output.written());
            if is_done {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Arc;
    use tokio::io::AsyncReadExt as _;
    use tokio::sync::Semaphore;

    type Polled = Poll<Option<Result<Frame<Bytes>, HttpError>>>;

    fn data(bytes: impl Into<Bytes>) -> Polled {
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }

    fn encoding(coding: Coding) -> Encoding {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Encoding::new(coding, place)
    }

    async fn decoded(coding: Coding, body: &[u8]) -> Vec<u8> {
        use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
        let mut out = Vec::new();
        let read = match coding {
            Coding::Zstd => ZstdDecoder::new(body).read_to_end(&mut out).await,
            Coding::Brotli => BrotliDecoder::new(body).read_to_end(&mut out).await,
            Coding::Gzip => GzipDecoder::new(body).read_to_end(&mut out).await,
        };
        read.unwrap();
        out
    }

    #[tokio::test]
    async fn a_body_comes_out_equal_and_nothing_of_it_is_held() {
        for coding in Coding::ALL {
            let noise: Vec<u8> = (0..300_000_u32)
                .map(|n| (n.wrapping_mul(n) >> 7) as u8)
                .collect();
            let zeros = vec![0; 5 << 20];
            let mut trailers = HeaderMap::new();
            trailers.insert("a", HeaderValue::from_static("b"));
            let mut frames = VecDeque::from([
                Poll::Pending,
                data("first"),
                Poll::Pending,
                data(""),
                data(zeros.clone()),
                data(noise.clone()),
                Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            ]);
            let mut encoding = encoding(coding);
            let (mut out, mut ended) = (Vec::new(), false);
            let mut pending = 0;
            while !ended {
                match encoding.poll(|| frames.pop_front().unwrap()) {
                    Poll::Pending => pending += 1,
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(part) => {
                            assert!(!part.is_empty() && part.len() < 256 << 10, "{}", part.len());
                            out.extend_from_slice(&part);
                        }
                        Err(frame) => {
                            assert_eq!(frame.into_trailers().unwrap()["a"], "b");
                            assert!(encoding.is_over());
                            ended = true;
                        }
                    },
                    other => panic!("{other:?}"),
                }
                if frames.len() == 4 {
                    // Brotli and gzip end what they flushed with an empty block.
                    assert!(out.len() >= 5, "{coding:?}: the first frame is held");
                }
            }
            assert_eq!(pending, 1, "the second rest gave what was held");
            assert_eq!(encoding.sent(), out.len() as u64);
            let whole = [b"first".as_slice(), &zeros, &noise].concat();
            assert!(decoded(coding, &out).await == whole, "{coding:?}");
        }
    }

    #[tokio::test]
    async fn an_empty_body_and_a_broken_one_stay_what_they_are() {
        for coding in Coding::ALL {
            let mut empty = encoding(coding);
            let Poll::Ready(Some(Ok(frame))) = empty.poll(|| Poll::Ready(None)) else {
                panic!("no frame");
            };
            let body = frame.into_data().unwrap();
            assert!(decoded(coding, &body).await.is_empty());
            assert!(matches!(empty.poll(|| Poll::Pending), Poll::Ready(None)));
            let mut broken = encoding(coding);
            let error = || Poll::Ready(Some(Err(HttpError::ConnectionTerminated)));
            assert!(matches!(broken.poll(error), Poll::Ready(Some(Err(_)))));
        }
    }
}
