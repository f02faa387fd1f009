//! A client that takes an answer: at once, late, or not to its end.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::Log;
use crate::output::{Gone, Sink};

pub(super) struct Client {
    pub(super) log: Rc<RefCell<Log>>,
    pub(super) written: Rc<RefCell<Vec<u8>>>,
    pub(super) writes_left: Option<usize>,
}

impl Sink for Client {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
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
        if let Some(left) = &mut self.writes_left {
            *left = left.checked_sub(1).ok_or(Gone)?;
        }
        self.written.borrow_mut().extend(bytes);
        Ok(())
    }
}
