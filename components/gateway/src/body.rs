//! A request's body: read whole, within its maximum, and decoded.
//!
//! It does NOT know what the body says.

use std::io::Read;

use crate::error::ApiError;
use crate::request::BODY_BYTES_MAX;

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
    pub(crate) async fn read(mut self) -> Result<Vec<u8>, ApiError> {
        let encoding = self.encoding.take().unwrap_or_default();
        let encoding = encoding.trim().to_ascii_lowercase();
        match encoding.as_str() {
            "" | "identity" => self.whole().await,
            "gzip" | "x-gzip" => {
                let whole = self.whole().await?;
                decoded(flate2::read::MultiGzDecoder::new(whole.as_slice()))
            }
            "deflate" => {
                let whole = self.whole().await?;
                decoded(flate2::read::ZlibDecoder::new(whole.as_slice()))
            }
            _ => Err(ApiError::unsupported_encoding()),
        }
    }

    async fn whole(&mut self) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.body.next().await {
            let chunk =
                chunk.map_err(|_| ApiError::malformed("The request's body was cut short."))?;
            if bytes.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(ApiError::body_too_large(BODY_BYTES_MAX));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn decoded(decoder: impl Read) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let mut bounded = decoder.take(BODY_BYTES_MAX as u64 + 1);
    bounded.read_to_end(&mut bytes).map_err(|_| {
        ApiError::malformed("The request's body is not what its Content-Encoding says.")
    })?;
    if bytes.len() > BODY_BYTES_MAX {
        return Err(ApiError::body_too_large(BODY_BYTES_MAX));
    }
    Ok(bytes)
}
