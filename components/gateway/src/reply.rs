//! A complete answer: status, headers, body. A stream's head is one without a body.
//!
//! It does NOT know the host's types; `lib.rs` converts.

use serde::Serialize;

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self {
                status,
                headers: vec![("content-type", "application/json".into())],
                body,
            },
            // Our own types have string keys and no failing `Serialize`.
            Err(_) => Self {
                status: 500,
                headers: Vec::new(),
                body: Vec::new(),
            },
        }
    }

    /// The answer to HEAD has the same headers and no content.
    pub(crate) fn of(mut self, is_head: bool) -> Self {
        if is_head {
            self.body.clear();
        }
        self
    }

    /// The head of a stream of server-sent events.
    pub(crate) fn event_stream() -> Self {
        Self {
            status: 200,
            headers: vec![
                ("content-type", "text/event-stream; charset=utf-8".into()),
                ("cache-control", "no-cache".into()),
                // Asks proxies of nginx's kind not to collect the stream.
                ("x-accel-buffering", "no".into()),
            ],
            body: Vec::new(),
        }
    }

    pub(crate) fn header(&mut self, name: &'static str, value: String) {
        self.headers.push((name, value));
    }
}
