//! Where an answer comes from: a backend's body, cut into events.
//!
//! It does NOT read an event.

use super::ANSWER_BYTES_MAX;
use crate::memory::{Full, Share};
use crate::platform::{CallError, Upstream};
use crate::sse;

/// A body that can be dropped before its end, which stops the backend.
pub(super) struct Source<U> {
    upstream: Option<U>,
    pub(super) body: Body,
}

impl<U: Upstream> Source<U> {
    pub(super) fn new(upstream: U) -> Self {
        Self {
            upstream: Some(upstream),
            body: Body::default(),
        }
    }

    /// The next bytes. What is given up is taken up again by the next call.
    pub(super) async fn next(&mut self) -> Option<Result<bytes::Bytes, CallError>> {
        self.upstream.as_mut()?.next().await
    }

    /// Nobody wants more: the backend stops.
    pub(super) fn stop(&mut self) {
        self.upstream = None;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.upstream.is_none()
    }
}

/// A backend's answer: a stream of events, or one document where a server does not stream.
#[derive(Default)]
pub(super) enum Body {
    #[default]
    Empty,
    Events(sse::Parser),
    Document(Vec<u8>, Share),
}

/// A document as it is read, its parts, as they are guarded, and as they are written.
const DOCUMENT_COPIES: usize = 4;

/// Why no more is taken in.
pub(super) enum NotTaken {
    /// The body, or a line of it, is longer than its maximum.
    TooLong,
    /// Others take the room that there is for large answers.
    Full,
}

impl From<Full> for NotTaken {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl Body {
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), NotTaken> {
        if matches!(self, Self::Empty) {
            // One byte order mark may stand before the first event (WHATWG HTML, 9.2.5).
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            match bytes.trim_ascii_start().first() {
                None => return Ok(()),
                Some(b'{') => *self = Self::Document(Vec::new(), Share::default()),
                Some(_) => *self = Self::Events(sse::Parser::default()),
            }
        }
        match self {
            Self::Document(document, share) => {
                let length = document.len() + bytes.len();
                if length > ANSWER_BYTES_MAX {
                    return Err(NotTaken::TooLong);
                }
                share.grow_to(length, DOCUMENT_COPIES)?;
                document.extend_from_slice(bytes);
            }
            Self::Events(parser) => parser.push(bytes).map_err(|_| NotTaken::TooLong)?,
            Self::Empty => {}
        }
        Ok(())
    }

    pub(super) fn next_event(&mut self) -> Option<&[u8]> {
        match self {
            Self::Events(parser) => parser.next_event(),
            Self::Empty | Self::Document(..) => None,
        }
    }

    /// The document, and its share as long as it is read.
    pub(super) fn document(self) -> Option<(Vec<u8>, Share)> {
        match self {
            Self::Document(document, share) => Some((document, share)),
            Self::Empty | Self::Events(_) => None,
        }
    }
}
