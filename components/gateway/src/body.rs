//! A request's body: read whole, within its maximum, and decoded.
//!
//! It does NOT know what the body says.

use std::io::Read;

use crate::error::ApiError;
use crate::memory::Share;
use crate::request::BODY_BYTES_MAX;

/// The copies that a turn makes of a request's body: its messages and those of its prompt, the
/// texts that are screened, sent and taken back, and the backend's request.
pub(crate) const COPIES: usize = 6;
/// What each of its values and names takes beside its text: a text of its own.
const VALUE_BYTES: usize = 24;

/// What one copy of a body may take, which has so many values.
pub(crate) fn bytes_held(bytes: usize, values: usize) -> usize {
    bytes + values * VALUE_BYTES
}

/// A body that was read, and what it may take of the instance's memory.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Vec<u8>,
    pub(crate) share: Share,
}

/// A request's body as it comes.
pub(crate) trait Body {
    /// The next bytes, None at the end, an error where the body was cut.
    async fn next(&mut self) -> Option<Result<bytes::Bytes, String>>;
}

/// A body with the coding that its header names (RFC 9110 §8.4).
pub(crate) struct Encoded<B> {
    encoding: Option<String>,
    body: B,
}

impl<B: Body> Encoded<B> {
    pub(crate) fn new(encoding: Option<String>, body: B) -> Self {
        Self { encoding, body }
    }

    /// The whole body, decoded: the maximum is of both forms.
    pub(crate) async fn read(mut self) -> Result<Whole, ApiError> {
        let encoding = self.encoding.take().unwrap_or_default();
        let encoding = encoding.trim().to_ascii_lowercase();
        match encoding.as_str() {
            "" | "identity" => self.whole().await,
            "gzip" | "x-gzip" => {
                let whole = self.whole().await?;
                decoded(
                    flate2::read::MultiGzDecoder::new(whole.bytes.as_slice()),
                    whole.share,
                )
            }
            "deflate" => {
                let whole = self.whole().await?;
                decoded(
                    flate2::read::ZlibDecoder::new(whole.bytes.as_slice()),
                    whole.share,
                )
            }
            _ => Err(ApiError::unsupported_encoding()),
        }
    }

    async fn whole(&mut self) -> Result<Whole, ApiError> {
        let mut bytes = Vec::new();
        let mut share = Share::default();
        while let Some(chunk) = self.body.next().await {
            let chunk =
                chunk.map_err(|_| ApiError::malformed("The request's body was cut short."))?;
            append(&mut bytes, &mut share, &chunk)?;
        }
        Ok(Whole { bytes, share })
    }
}

/// Appends within the maximum, and within what the instance has room for.
fn append(bytes: &mut Vec<u8>, share: &mut Share, chunk: &[u8]) -> Result<(), ApiError> {
    let length = bytes.len() + chunk.len();
    if length > BODY_BYTES_MAX {
        return Err(ApiError::body_too_large(BODY_BYTES_MAX));
    }
    share
        .grow_to(length, COPIES)
        .map_err(|_| ApiError::too_many_large())?;
    bytes.extend_from_slice(chunk);
    Ok(())
}

/// Reads what comes out piece by piece: a few bytes may become very many.
fn decoded(mut decoder: impl Read, mut share: Share) -> Result<Whole, ApiError> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16 << 10];
    loop {
        let read = decoder.read(&mut piece).map_err(|_| {
            ApiError::malformed("The request's body is not what its Content-Encoding says.")
        })?;
        match piece.get(..read) {
            None | Some([]) => return Ok(Whole { bytes, share }),
            Some(piece) => append(&mut bytes, &mut share, piece)?,
        }
    }
}
