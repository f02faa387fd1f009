//! What a load generator asks, read from its command line.
//!
//! It does NOT know how often, or over which version of HTTP.

use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Uri, header};

/// What a load generator asks over and over, as its command line says it.
#[derive(Debug, Args)]
pub struct Asked {
    #[arg(long)]
    pub url: Uri,
    /// The body of a POST, JSON; without it, GET.
    #[arg(long)]
    body: Option<PathBuf>,
    /// A bearer token.
    #[arg(long, default_value = "")]
    key: String,
}

impl Asked {
    /// The request, whole.
    ///
    /// # Errors
    /// When the body can't be read, or the key is no header's value.
    pub fn request(&self) -> anyhow::Result<Request<Bytes>> {
        let bearer = format!("Bearer {}", self.key);
        let request = Request::builder()
            .uri(&self.url)
            .header(header::AUTHORIZATION, bearer);
        let Some(path) = &self.body else {
            return Ok(request.body(Bytes::new())?);
        };
        let body = std::fs::read(path).with_context(|| path.display().to_string())?;
        let request = request
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/json");
        Ok(request.body(body.into())?)
    }
}
