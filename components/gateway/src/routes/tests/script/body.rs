//! A backend's body: its bytes, and the times when none are there.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;

use super::Log;
use crate::platform::{CallError, Upstream};

/// Before a number of bytes: so many heartbeats long nothing comes.
const PAUSE: &[u8] = b"pause";
/// More would come before long.
const BUSY: &[u8] = b"busy";
/// The next bytes are not there when they are asked for, but as soon as nothing else is to do.
const HOLD: &[u8] = b"hold";

pub(in super::super) struct ScriptedBody {
    pub(super) log: Rc<RefCell<Log>>,
    pub(super) chunks: VecDeque<Result<Bytes, CallError>>,
}

impl ScriptedBody {
    async fn hold(&self) {
        self.log.borrow_mut().is_holding = true;
        let mut is_new = true;
        poll_fn(|context| match std::mem::replace(&mut is_new, false) {
            true => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
        self.log.borrow_mut().is_holding = false;
    }
}

impl Upstream for ScriptedBody {
    /// What is given up while nothing comes is taken up again by the next call.
    async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        let is_pausing = self.log.borrow().pauses > 0;
        if !is_pausing {
            self.log.borrow_mut().chunks_read += 1;
            let chunk = self.chunks.pop_front();
            if matches!(&chunk, Some(Ok(bytes)) if bytes == HOLD) {
                self.hold().await;
                return self.chunks.pop_front();
            }
            if matches!(&chunk, Some(Ok(bytes)) if bytes == BUSY) {
                self.log.borrow_mut().is_busy = true;
                return std::future::pending().await;
            }
            let pauses = match &chunk {
                Some(Ok(bytes)) => bytes.strip_prefix(PAUSE),
                _ => None,
            };
            let Some(pauses) = pauses else {
                return chunk;
            };
            self.log.borrow_mut().pauses = pauses.len();
        }
        let log = Rc::clone(&self.log);
        poll_fn(|_| match log.borrow().pauses {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        })
        .await;
        self.chunks.pop_front()
    }
}
