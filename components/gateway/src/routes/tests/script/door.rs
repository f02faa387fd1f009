//! The door of a script: who comes in, and how often.

use super::*;
use crate::bindings::skerry::chat::rate_limit::{Quantity, Rejection};

impl Script {
    /// The key may make so many requests.
    pub(in crate::routes::tests) fn with_requests(self, requests: u32) -> Self {
        self.0.borrow_mut().requests_left = Some(requests);
        self
    }

    pub(super) fn take_request(&self) -> Result<(), RateLimitError> {
        let Some(left) = &mut self.0.borrow_mut().requests_left else {
            return Ok(());
        };
        let taken = left.checked_sub(1).ok_or_else(|| {
            RateLimitError::Rejected(Rejection {
                quantity: Quantity::Requests,
                retry_after_ms: Some(2_000),
                state: State {
                    requests: window(),
                    tokens: window(),
                },
            })
        })?;
        *left = taken;
        Ok(())
    }
}

/// A GET with these `Authorization` fields.
pub(in crate::routes::tests) fn get_as(script: &Script, path: &str, authorization: &[&str]) -> Got {
    let incoming = Incoming {
        method: "GET".to_owned(),
        path: path.to_owned(),
        authorization: authorization
            .iter()
            .map(|value| (*value).to_owned())
            .collect(),
        content_encoding: None,
        body: Bytewise(None),
    };
    match block_on(handle(script.clone(), incoming)) {
        Handled::Reply(reply) | Handled::Stream(reply, _) => Got {
            status: reply.status,
            headers: reply.headers,
            body: reply.body,
        },
    }
}
