//! A request's body, within its limits, as it was before the client compressed it.
//! Knows nothing of what it says.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::super::error::BodyError;
use super::super::{BODY_BYTES_MAX, BODY_TIMEOUT};

/// Bytes of a body that is too large which are read, and not kept, before it is cut off.
const DISCARDED_BYTES_MAX: usize = 64 << 20;

/// The coding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
}

/// Reads a request's body.
///
/// # Errors
/// It is too large, too slow, broken off, or written in a coding that is not read.
pub(super) async fn read(request: Request<Incoming>) -> Result<Bytes, BodyError> {
    let coding = Coding::of(request.headers());
    let body = tokio::time::timeout(BODY_TIMEOUT, collect(request.into_body()))
        .await
        .unwrap_or(Err(BodyError::Timeout))?;
    match coding? {
        Coding::Identity => Ok(body),
        Coding::Gzip => unzipped(&body),
    }
}

impl Coding {
    fn of(headers: &HeaderMap) -> Result<Self, BodyError> {
        let mut coding = Self::Identity;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            let names = value.to_str().map_err(|_| BodyError::Coding)?;
            for name in names.split(',').map(str::trim) {
                let gzip = ["gzip", "x-gzip"]
                    .iter()
                    .any(|g| name.eq_ignore_ascii_case(g));
                match (gzip, coding) {
                    (true, Self::Identity) => coding = Self::Gzip,
                    (false, _) if name.is_empty() || name.eq_ignore_ascii_case("identity") => {}
                    _ => return Err(BodyError::Coding),
                }
            }
        }
        Ok(coding)
    }
}

/// Reads a body to its end, even if it is too large: a client that is still sending
/// would see a broken connection instead of the answer.
async fn collect(mut body: Incoming) -> Result<Bytes, BodyError> {
    let mut bytes = BytesMut::new();
    let mut seen = 0usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        if seen > DISCARDED_BYTES_MAX {
            break;
        }
        if seen <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        }
    }
    if seen > BODY_BYTES_MAX {
        Err(BodyError::TooLarge)
    } else {
        Ok(bytes.freeze())
    }
}

/// The content of a gzip body; no more of it is unpacked than a plain body may have.
fn unzipped(body: &[u8]) -> Result<Bytes, BodyError> {
    let mut bytes = Vec::new();
    let mut limited = MultiGzDecoder::new(body).take(BODY_BYTES_MAX as u64 + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(|_| BodyError::Broken)?;
    if bytes.len() > BODY_BYTES_MAX {
        return Err(BodyError::TooLarge);
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_gzip_body_is_what_it_was_within_the_limit() {
        let two = [gzip(b"{\"a\":"), gzip(b" 1}")].concat();
        assert_eq!(unzipped(&two).unwrap(), "{\"a\": 1}");
        let most = vec![b' '; BODY_BYTES_MAX];
        assert_eq!(unzipped(&gzip(&most)).unwrap().len(), BODY_BYTES_MAX);
        let bomb = gzip(&vec![0; BODY_BYTES_MAX + 1]);
        assert!(bomb.len() < 8192);
        assert!(matches!(unzipped(&bomb), Err(BodyError::TooLarge)));
        let whole = gzip(b"hello");
        for cut in 0..whole.len() {
            let broken = unzipped(&whole[..cut]);
            assert!(matches!(broken, Err(BodyError::Broken)), "{cut}");
        }
    }

    #[test]
    fn gzip_is_the_only_coding_that_is_read() {
        for (names, want) in [
            (&[][..], Some(Coding::Identity)),
            (&["identity"], Some(Coding::Identity)),
            (&[""], Some(Coding::Identity)),
            (&["gzip"], Some(Coding::Gzip)),
            (&["X-GZip"], Some(Coding::Gzip)),
            (&["identity, gzip"], Some(Coding::Gzip)),
            (&["gzip", "identity"], Some(Coding::Gzip)),
            (&["gzip, gzip"], None),
            (&["gzip", "gzip"], None),
            (&["br"], None),
            (&["deflate"], None),
            (&["zstd, gzip"], None),
        ] {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.append(header::CONTENT_ENCODING, name.parse().unwrap());
            }
            assert_eq!(Coding::of(&headers).ok(), want, "{names:?}");
        }
    }
}
