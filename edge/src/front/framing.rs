//! HTTP/1 framing, strictly: what two readers could take to end at two places is refused
//! before hyper sees it (RFC 9112 §2.2, §5.2, §6, §7.1, §11.2). hyper follows the RFC's
//! leniency: it lets `Transfer-Encoding` win over `Content-Length`, ends lines with a bare
//! LF, passes over chunk extensions. Behind or before another server each of these is a way
//! to smuggle a request.
//!
//! In place of what is ambiguous hyper reads a byte that is valid nowhere, answers 400 and
//! closes. It knows where heads and bodies end, and nothing else of HTTP; HTTP/2 passes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is kept of a line: enough for every field that frames. The rest of a longer one is
/// looked at for its end only.
const LINE_BYTES_KEPT: usize = 256;
/// The most digits that a length in bytes may have.
const LENGTH_DIGITS_MAX: usize = 18;
/// The most digits of a chunk's size.
const CHUNK_DIGITS_MAX: usize = 8;
/// The first line of an HTTP/2 connection.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0";
/// No method, field name or chunk size has it.
const NOWHERE_VALID: &[u8] = b"\0\r\n\r\n";

/// Where in the stream of requests the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a request, or in its first line.
    Start,
    Fields,
    /// So many bytes of a body are still to come.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    /// The end of line after a chunk.
    ChunkEnd,
    Trailers,
    /// Another protocol.
    Elsewhere,
}

/// The framing can be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// Follows the requests of one connection, byte by byte.
#[derive(Debug)]
pub(crate) struct Framing {
    at: At,
    line: Vec<u8>,
    /// The byte before was a CR.
    after_cr: bool,
    is_1_0: bool,
    length: Option<u64>,
    is_chunked: bool,
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Start,
            line: Vec::new(),
            after_cr: false,
            is_1_0: false,
            length: None,
            is_chunked: false,
        }
    }

    /// Takes what came next. On an error nothing of these bytes' last line counts: the first
    /// number says how many bytes were taken before it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), (usize, Ambiguous)> {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            match &mut self.at {
                At::Elsewhere => return Ok(()),
                At::Body(left) | At::Chunk(left) => {
                    let here = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= here as u64;
                    taken += here;
                    if *left == 0 {
                        let in_chunk = matches!(self.at, At::Chunk(_));
                        self.at = if in_chunk { At::ChunkEnd } else { At::Start };
                    }
                }
                _ => {
                    taken += self.take_line(rest).map_err(|error| (taken, error))?;
                }
            }
        }
        Ok(())
    }

    /// Takes the rest of a line, or all if its end has not come: how many bytes that were.
    fn take_line(&mut self, rest: &[u8]) -> Result<usize, Ambiguous> {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let part = &rest[..end.unwrap_or(rest.len())];
        // A CR stands nowhere but before an LF.
        let cr = part.iter().position(|byte| *byte == b'\r');
        let is_last = cr.is_some_and(|at| at + 1 == part.len());
        if (self.after_cr && !part.is_empty()) || (cr.is_some() && !is_last) {
            return Err(Ambiguous);
        }
        let text = part.strip_suffix(b"\r").unwrap_or(part);
        let room = LINE_BYTES_KEPT.saturating_sub(self.line.len());
        self.line.extend_from_slice(&text[..text.len().min(room)]);
        self.after_cr = self.after_cr || is_last;
        let Some(end) = end else {
            return Ok(rest.len());
        };
        if !std::mem::take(&mut self.after_cr) {
            return Err(Ambiguous);
        }
        let line = std::mem::take(&mut self.line);
        self.line_ended(&line)?;
        self.line = line;
        self.line.clear();
        Ok(end + 1)
    }

    fn line_ended(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        match self.at {
            // Empty lines before a request are passed over (RFC 9112 §2.2).
            At::Start if line.is_empty() => {}
            At::Start if line == HTTP_2 => self.at = At::Elsewhere,
            At::Start => {
                self.is_1_0 = line.ends_with(b"HTTP/1.0");
                (self.length, self.is_chunked) = (None, false);
                self.at = At::Fields;
            }
            At::Fields if line.is_empty() => self.at = self.body()?,
            At::Fields => self.field(line)?,
            At::ChunkSize => {
                let size = hexadecimal(line)?;
                self.at = match size {
                    0 => At::Trailers,
                    size => At::Chunk(size),
                };
            }
            At::ChunkEnd if line.is_empty() => self.at = At::ChunkSize,
            At::ChunkEnd => return Err(Ambiguous),
            At::Trailers if line.is_empty() => self.at = At::Start,
            At::Trailers => whole_field(line).map(drop)?,
            At::Body(_) | At::Chunk(_) | At::Elsewhere => {}
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        let (name, value) = whole_field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let twice = self.length.replace(decimal(value)?).is_some();
            return if twice { Err(Ambiguous) } else { Ok(()) };
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let twice = std::mem::replace(&mut self.is_chunked, true);
            let only = value.eq_ignore_ascii_case(b"chunked");
            return if twice || !only {
                Err(Ambiguous)
            } else {
                Ok(())
            };
        }
        Ok(())
    }

    /// What comes after a head.
    fn body(&self) -> Result<At, Ambiguous> {
        match (self.is_chunked, self.length) {
            (true, Some(_)) => Err(Ambiguous),
            (true, None) if self.is_1_0 => Err(Ambiguous),
            (true, None) => Ok(At::ChunkSize),
            (false, None | Some(0)) => Ok(At::Start),
            (false, Some(bytes)) => Ok(At::Body(bytes)),
        }
    }
}

/// The name and value of a field that is neither folded nor has space around its name.
fn whole_field(line: &[u8]) -> Result<(&[u8], &[u8]), Ambiguous> {
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .ok_or(Ambiguous)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || name.iter().any(|byte| byte.is_ascii_whitespace()) {
        return Err(Ambiguous);
    }
    Ok((name, value.trim_ascii()))
}

fn decimal(value: &[u8]) -> Result<u64, Ambiguous> {
    let digits = value.iter().all(u8::is_ascii_digit);
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX || !digits {
        return Err(Ambiguous);
    }
    let more = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
    Ok(value.iter().fold(0, more))
}

fn hexadecimal(line: &[u8]) -> Result<u64, Ambiguous> {
    if line.is_empty() || line.len() > CHUNK_DIGITS_MAX {
        return Err(Ambiguous);
    }
    line.iter().try_fold(0, |sum: u64, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(Ambiguous)?;
        Ok(sum * 16 + u64::from(digit))
    })
}

/// A connection whose HTTP/1 requests have one reading.
pub(super) struct Unambiguous<S> {
    inner: S,
    framing: Framing,
    /// What is said in place of everything that follows.
    verdict: Option<&'static [u8]>,
}

impl<S> Unambiguous<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            framing: Framing::new(),
            verdict: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unambiguous<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.verdict.is_none() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
            let Err((taken, Ambiguous)) = this.framing.take(&buffer.filled()[before..]) else {
                return Poll::Ready(Ok(()));
            };
            buffer.set_filled(before + taken);
            this.verdict = Some(NOWHERE_VALID);
            if taken > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let said = this.verdict.unwrap_or_default();
        let part = said.len().min(buffer.remaining());
        buffer.put_slice(&said[..part]);
        this.verdict = Some(&said[part..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unambiguous<S> {
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

    /// Where a stream of requests ends, cut into pieces of one size.
    fn follow(stream: &str, piece: usize) -> Result<At, Ambiguous> {
        let mut framing = Framing::new();
        for part in stream.as_bytes().chunks(piece) {
            framing.take(part).map_err(|(_, error)| error)?;
        }
        Ok(framing.at)
    }

    /// The same for every way to cut it.
    fn ends(stream: &str) -> Result<At, Ambiguous> {
        let whole = follow(stream, stream.len());
        for piece in 1..stream.len() {
            assert_eq!(
                follow(stream, piece),
                whole,
                "{stream:?} in pieces of {piece}"
            );
        }
        whole
    }

    fn request(fields: &str, body: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}")
    }

    #[test]
    fn plain_requests_pass_one_after_the_other() {
        for stream in [
            request("", ""),
            request("content-length: 3\r\n", "abc"),
            request("Content-Length:3 \r\n", "a\nb"),
            request(
                "transfer-encoding: Chunked\r\n",
                "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
            ),
            request(
                "transfer-encoding: chunked\r\n",
                "1\r\n\n\r\n0\r\nx-sum: 1\r\n\r\n",
            ),
            format!("\r\n{}", request("content-length: 0\r\n", "")),
            request(&format!("x-long: {}\r\n", "y".repeat(1_000)), ""),
        ] {
            assert_eq!(ends(&stream), Ok(At::Start), "{stream:?}");
            assert_eq!(ends(&format!("{stream}{stream}")), Ok(At::Start));
        }
        assert_eq!(
            ends(&request("content-length: 9\r\n", "abc")),
            Ok(At::Body(6))
        );
        assert_eq!(
            ends("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n\r\r"),
            Ok(At::Elsewhere)
        );
    }

    #[test]
    fn what_has_two_readings_does_not() {
        let chunked = "transfer-encoding: chunked\r\n";
        for stream in [
            request("content-length: 3\r\ntransfer-encoding: chunked\r\n", ""),
            request("transfer-encoding: chunked\r\ncontent-length: 3\r\n", ""),
            request("content-length: 3\r\ncontent-length: 3\r\n", ""),
            request("content-length: 3\r\ncontent-length: 4\r\n", ""),
            request("content-length: 3, 3\r\n", ""),
            request("content-length: +3\r\n", ""),
            request("content-length: 0x3\r\n", ""),
            request("content-length:\r\n", ""),
            request("content-length: 99999999999999999999\r\n", ""),
            request(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
                "",
            ),
            request(
                "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
                "",
            ),
            request("transfer-encoding: gzip, chunked\r\n", ""),
            request("transfer-encoding: xchunked\r\n", ""),
            request("transfer-encoding:\r\n", ""),
            request("transfer-encoding : chunked\r\n", ""),
            request(" transfer-encoding: chunked\r\n", ""),
            request("x: a\r\n chunked\r\n", ""),
            request("x: a\ntransfer-encoding: chunked\r\n", ""),
            request("x: a\rb\r\n", ""),
            request("no colon\r\n", ""),
            request(chunked, "3;a=b\r\nabc\r\n0\r\n\r\n"),
            request(chunked, "3 \r\nabc\r\n0\r\n\r\n"),
            request(chunked, "0x3\r\nabc\r\n0\r\n\r\n"),
            request(chunked, "-1\r\n"),
            request(chunked, "\r\n"),
            request(chunked, "3\nabc\r\n0\r\n\r\n"),
            request(chunked, "3\r\nabcd\r\n0\r\n\r\n"),
            request(chunked, "3\r\nabc\n0\r\n\r\n"),
            request(chunked, "fffffffff\r\n"),
            request(chunked, "0\r\nx: 1\n\r\n"),
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\nhost: a\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nhost: a\n\n".to_owned(),
        ] {
            assert_eq!(ends(&stream), Err(Ambiguous), "{stream:?}");
        }
    }
}
