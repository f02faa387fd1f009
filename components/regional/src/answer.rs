//! What goes out: a status, headers and a JSON body.
//!
//! It stands between a half's routes and the host's response. It does not know either.

use serde_json::Value;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Further headers; names are in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// None is no body at all, as with 204.
    pub body: Option<Value>,
    /// For the operator's log, never for the client.
    pub log: Option<String>,
}

impl Answer {
    /// 200 with a body.
    pub fn ok(body: Value) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: Some(body),
            log: None,
        }
    }

    /// 204.
    pub fn nothing() -> Self {
        Self {
            status: 204,
            headers: Vec::new(),
            body: None,
            log: None,
        }
    }
}
