//! The parsers of input from outside, for fuzz targets: each takes any bytes and does not
//! panic. It does NOT parse anything by itself.

use crate::body::Whole;
use crate::memory::Share;
use crate::request::ChatRequest;
use crate::sse::Parser;

/// Parses a chat request's body: it has messages, or an error says what is wrong.
pub fn chat_body(body: &[u8]) {
    let whole = Whole {
        bytes: body.to_vec(),
        share: Share::default(),
    };
    match ChatRequest::parse(whole) {
        Ok(request) => assert!(!request.messages.is_empty()),
        Err(error) => assert!(!error.message.is_empty()),
    }
}

/// Parses a backend's stream, whole and cut in two: the same events come out.
pub fn events(stream: &[u8], cut: usize) {
    let (first, second) = stream.split_at(cut.min(stream.len()));
    assert_eq!(parsed(&[stream]), parsed(&[first, second]));
}

/// The events, or `None` where a line is too long.
fn parsed(parts: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
    let mut parser = Parser::default();
    let mut events = Vec::new();
    for part in parts {
        parser.push(part).ok()?;
        while let Some(event) = parser.next_event() {
            events.push(event.to_vec());
        }
    }
    Some(events)
}
