//! The headers of a backend's calls. Part of `config`; knows what a name and a value may be
//! (RFC 9110 §5.1 and §5.5), and who else writes which header.

use std::collections::BTreeMap;

use super::ConfigError;

/// Names and values. Its `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    pub fn iter(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Where a value stands.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Source {
    Text(String),
    /// In a component variable. Empty: the header is left out.
    Variable(String),
    /// In a component variable, without the word `Bearer`.
    BearerVariable(String),
}

impl Source {
    pub(super) fn variable(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Variable(name) | Self::BearerVariable(name) => Some(name),
        }
    }
}

/// Headers that belong to one connection, or to the message that is sent.
const WRITTEN_BY_OTHERS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
];
/// Headers that are a credential, whose place is a variable.
const CREDENTIALS: [&str; 2] = ["authorization", "proxy-authorization"];

/// The name in lower case.
pub(super) fn name(backend: &str, name: &str) -> Result<String, ConfigError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        let words = format!("`headers`: {name:?} is no header's name");
        return Err(ConfigError::of(backend, words));
    }
    let name = name.to_ascii_lowercase();
    if CREDENTIALS.contains(&name.as_str()) {
        let words = format!("`headers`: `{name}` is not set here; use `api_key_variable`");
        return Err(ConfigError::of(backend, words));
    }
    if WRITTEN_BY_OTHERS.contains(&name.as_str()) {
        let words = format!("`headers`: `{name}` cannot be set");
        return Err(ConfigError::of(backend, words));
    }
    Ok(name)
}

/// Visible characters of ASCII, with spaces and tabs inside.
pub(super) fn is_value(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

pub(super) fn resolve(
    backend: &str,
    written: Vec<(String, Source)>,
    values: &BTreeMap<String, String>,
) -> Result<Headers, ConfigError> {
    let mut headers = Vec::with_capacity(written.len());
    for (header, source) in written {
        let value = match &source {
            Source::Text(text) => text.clone(),
            Source::Variable(name) => secret(backend, name, values)?.to_owned(),
            Source::BearerVariable(name) => match secret(backend, name, values)? {
                "" => String::new(),
                key => format!("Bearer {key}"),
            },
        };
        if !value.is_empty() {
            headers.push((header, value));
        }
    }
    Ok(Headers(headers))
}

/// A variable's value, without the line's end that a file of secrets has.
fn secret<'a>(
    backend: &str,
    name: &str,
    values: &'a BTreeMap<String, String>,
) -> Result<&'a str, ConfigError> {
    let value = values.get(name).ok_or_else(|| {
        ConfigError::of(
            backend,
            format!("the variable `{name}`, which it names, is missing"),
        )
    })?;
    let value = value.trim();
    if !is_value(value) {
        let words = format!("the variable `{name}` has characters that no header may have");
        return Err(ConfigError::of(backend, words));
    }
    Ok(value)
}
