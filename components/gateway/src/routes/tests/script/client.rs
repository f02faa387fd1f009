//! A client that takes an answer: at once, late, or not to its end.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use serde_json::Value;

use super::Log;
use crate::output::{Gone, Sink};

pub(super) struct Client {
    pub(super) log: Rc<RefCell<Log>>,
    pub(super) written: Rc<RefCell<Vec<u8>>>,
    pub(super) writes_left: Option<usize>,
}

impl Sink for Client {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        self.log.borrow_mut().is_asked = true;
        poll_fn(|context| {
            let mut log = self.log.borrow_mut();
            log.reluctance = log.reluctance.saturating_sub(1);
            context.waker().wake_by_ref();
            match log.reluctance {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        self.log.borrow_mut().is_asked = false;
        if let Some(left) = &mut self.writes_left {
            *left = left.checked_sub(1).ok_or(Gone)?;
        }
        self.written.borrow_mut().extend(bytes);
        Ok(())
    }
}

/// What the client got.
pub(in super::super) struct Got {
    pub(in super::super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(in super::super) fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(header, _)| *header == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    pub(in super::super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(in super::super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(in super::super) fn events(&self) -> Vec<String> {
        let text = self.text();
        let events = text
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "));
        events.map(str::to_owned).collect()
    }
}
