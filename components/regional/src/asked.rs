//! What came in: a request, with its body once that was read.
//!
//! It stands between the host's request and a half's routes. It does not know any route.

use crate::ApiError;

/// Bytes of a private route's body, at most. The largest batch of an outbox has to fit.
pub const PRIVATE_BODY_BYTES_MAX: usize = 4 << 20;

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path as it came, undecoded.
    pub path: String,
    /// What follows the question mark.
    pub query: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The body; empty as long as it was not read.
    pub body: Vec<u8>,
}

impl Asked {
    /// The path's parts. A path is compared as it came, so an encoded slash names nothing.
    pub fn parts(&self) -> Vec<&str> {
        self.path
            .strip_prefix('/')
            .unwrap_or(&self.path)
            .split('/')
            .collect()
    }
}

/// The one value of the `Authorization` header. Two of them are refused, for a proxy may have
/// looked at the other one. A value that is not text is no key: `auth` says so.
pub fn authorization<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<String>, ApiError> {
    let mut values = values.into_iter();
    let first = values.next();
    if values.next().is_some() {
        let message = "The request has more than one Authorization header. Send one.";
        return Err(ApiError::invalid("authorization", message));
    }
    let text = |value: &[u8]| {
        let is_text = value
            .iter()
            .all(|byte| *byte == b'\t' || (b' '..=b'~').contains(byte));
        let text = is_text.then(|| std::str::from_utf8(value).ok()).flatten();
        text.unwrap_or_default().to_owned()
    };
    Ok(first.map(text))
}

/// The length that a request declares, if it does; longer than the route takes is refused before
/// a byte of it is read.
pub fn fits(content_length: Option<&str>, bytes_max: usize) -> Result<(), ApiError> {
    let declared = content_length.and_then(|text| text.parse::<u64>().ok());
    match declared {
        Some(bytes) if bytes > bytes_max as u64 => Err(ApiError::too_large(bytes_max)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_authorization_is_taken_and_two_are_refused() {
        let read = |values: &[&'static [u8]]| authorization(values.iter().copied());
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"Bearer x"]), Ok(Some("Bearer x".to_owned())));
        assert_eq!(read(&[b"Bearer \xff"]), Ok(Some(String::new())));
        for values in [&[&b"Bearer x"[..], b"Bearer x"][..], &[b"", b"Bearer x"]] {
            let error = read(values).unwrap_err();
            assert_eq!(error.status(), 400, "{values:?}");
        }
    }

    #[test]
    fn a_declared_length_is_judged_before_the_body_is_read() {
        for declared in [None, Some("10"), Some("none")] {
            assert_eq!(fits(declared, 10), Ok(()), "{declared:?}");
        }
        for declared in ["11", "18446744073709551615"] {
            assert_eq!(fits(Some(declared), 10), Err(ApiError::too_large(10)));
        }
        assert_eq!(fits(Some("1"), 0), Err(ApiError::too_large(0)));
    }
}
