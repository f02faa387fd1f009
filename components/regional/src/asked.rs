//! What came in: a request, read whole.
//!
//! It stands between the host's request and a half's routes. It does not know any route.

/// Bytes of a body, at most. The largest private batch of an outbox has to fit.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// A request whose body was read.
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
    /// The body.
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
