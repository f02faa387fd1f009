//! Server-sent events, both ways: what a backend sends is taken apart here, what
//! a client gets is put together here (WHATWG HTML, "Server-sent events").
//!
//! It does NOT know what the data says.

use serde::Serialize;

/// The longest line that a backend may send: a whole answer in one chunk fits.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;

/// What the end of a stream looks like.
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// A comment: keeps the connection alive and shows whether the client is there.
pub(crate) const COMMENT: &[u8] = b":\n\n";

/// Adds one event as a client reads it.
pub(crate) fn write_event(bytes: &mut Vec<u8>, data: &impl Serialize) {
    let start = bytes.len();
    bytes.extend_from_slice(b"data: ");
    if serde_json::to_writer(&mut *bytes, data).is_ok() {
        bytes.extend_from_slice(b"\n\n");
    } else {
        bytes.truncate(start);
        bytes.extend_from_slice(COMMENT);
    }
}

/// A line was longer than `LINE_BYTES_MAX`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineTooLong;

/// Takes a stream apart into the data of its events. Bytes may be cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    /// Where the first unread line starts in `buffer`.
    start: usize,
    /// Up to where `buffer` has been searched for a line's end.
    searched: usize,
    /// Of the event that is being read, or of the one that was handed out last.
    data: Vec<u8>,
    has_data: bool,
}

impl Parser {
    /// Takes in the next bytes, then hands out events by [`Parser::next_event`].
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), LineTooLong> {
        self.forget_handed_out();
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        if self.buffer.len() + self.data.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(LineTooLong);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The data of the next complete event, or None until more bytes come.
    pub(crate) fn next_event(&mut self) -> Option<&[u8]> {
        self.forget_handed_out();
        while let Some(line) = self.next_line() {
            let line = &self.buffer[line.0..line.1];
            if line.is_empty() {
                if self.has_data {
                    self.has_data = false;
                    return Some(&self.data);
                }
            } else if let Some(value) = line.strip_prefix(b"data:") {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data
                    .extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            }
            // Comments and other fields (`event`, `id`, `retry`) say nothing here.
        }
        None
    }

    fn forget_handed_out(&mut self) {
        if !self.has_data {
            self.data.clear();
        }
    }

    /// Start and end of the next line; `\n`, `\r\n` and `\r` end one.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        let rest = self.buffer.get(self.searched..)?;
        let Some(at) = memchr::memchr2(b'\n', b'\r', rest) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + at;
        let mut next = end + 1;
        if self.buffer[end] == b'\r' {
            match self.buffer.get(next) {
                Some(b'\n') => next += 1,
                Some(_) => {}
                // The `\n` of a `\r\n` may be in the next bytes.
                None => {
                    self.searched = end;
                    return None;
                }
            }
        }
        let line = (self.start, end);
        self.start = next;
        self.searched = next;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for chunk in chunks {
            parser.push(chunk).unwrap();
            while let Some(event) = parser.next_event() {
                events.push(String::from_utf8(event.to_vec()).unwrap());
            }
        }
        events
    }

    #[test]
    fn a_stream_cut_at_any_byte_gives_the_same_events() {
        let stream = ": hello\r\n\r\ndata: {\"a\":\"é\"}\n\nevent: x\ndata: one\ndata:two\n\n\
                      data: three\r\n\r\ndata: [DONE]\n\n"
            .as_bytes();
        let whole = parse(&[stream]);
        assert_eq!(whole, ["{\"a\":\"é\"}", "one\ntwo", "three", "[DONE]"]);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let cut = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(parse(&cut), whole, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn an_event_that_never_ends_is_refused() {
        let mut parser = Parser::default();
        let line = vec![b'x'; LINE_BYTES_MAX / 2];
        assert_eq!(parser.push(&line), Ok(()));
        assert_eq!(parser.next_event(), None);
        assert_eq!(parser.push(&line), Ok(()));
        assert_eq!(parser.push(b"x"), Err(LineTooLong));
    }

    #[test]
    fn an_unfinished_event_is_not_handed_out() {
        assert!(parse(&[b"data: half\n"]).is_empty());
    }
}
