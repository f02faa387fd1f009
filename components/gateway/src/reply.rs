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
        Self::json_of(status, body, 0)
    }

    /// Likewise, of a body that has about so many bytes: a large one is not moved as it grows.
    pub(crate) fn json_of(status: u16, body: &impl Serialize, bytes: usize) -> Self {
        let mut written = Vec::with_capacity(bytes + 512);
        match serde_json::to_writer(&mut written, body) {
            Ok(()) => Self {
                status,
                headers: vec![("content-type", "application/json".into())],
                body: written,
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
