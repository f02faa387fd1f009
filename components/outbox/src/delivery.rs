//! Batches, and what an answer means for them.
//!
//! It reads the queue's head, hands it to a transport and removes what was taken. It does not
//! know HTTP beyond a status, and nothing of the bodies.

use crate::queue::Waiting;
use crate::{Outbox, OutboxError};
use records::Database;

/// Items of one batch, at most.
const BATCH_ITEMS_MAX: u32 = 100;
/// Bytes of one batch, at most: what a receiver has to take. One item may fill it alone.
pub const BATCH_BYTES_MAX: usize = 2 << 20;
/// Batches of one `drain`, at most. The rest waits for the next call.
const BATCHES_MAX: u32 = 10;

const _: () = assert!(crate::BODY_BYTES_MAX + 64 < BATCH_BYTES_MAX);

/// The receiver could not be asked, or gave no answer in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SendError(pub String);

/// How a batch travels.
pub trait Transport {
    /// POSTs a JSON body; the answer's status.
    fn post(&self, url: &str, body: String) -> impl Future<Output = Result<u16, SendError>>;
}

/// What the receiver says about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Taken,
    /// The items are at fault: the same batch will never be taken.
    Refused,
    /// The receiver is at fault, or away: the same batch may be taken later.
    Later,
}

/// 401, 403, 404, 405, 408, 425 and 429 tell of the receiver's state or of a wrong deployment,
/// not of an item: nothing is set aside for them.
fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Taken,
        400 | 409 | 410 | 413 | 415 | 422 => Verdict::Refused,
        _ => Verdict::Later,
    }
}

impl Outbox {
    /// Delivers what waits, in order and in bounded batches; the number delivered. It stops at
    /// the first batch that the receiver does not take now. Two drains at once may deliver an
    /// item twice, and lose none.
    pub async fn drain_through(
        &self,
        database: &impl Database,
        transport: &impl Transport,
        log: &impl Fn(&str),
    ) -> Result<u32, OutboxError> {
        let mut delivered = 0;
        for _ in 0..BATCHES_MAX {
            let mut batch = self.next(database, BATCH_ITEMS_MAX).await?;
            batch.truncate(fitting(&batch));
            if batch.is_empty() {
                break;
            }
            match self.send(transport, &batch, delivered).await? {
                Verdict::Taken => {
                    self.remove(database, &batch).await?;
                    delivered += count(&batch);
                }
                Verdict::Refused | Verdict::Later => {
                    self.one_by_one(database, transport, log, &batch, &mut delivered)
                        .await?;
                }
            }
        }
        Ok(delivered)
    }

    /// The receiver refused a batch: finds the item at fault and lets the others through.
    async fn one_by_one(
        &self,
        database: &impl Database,
        transport: &impl Transport,
        log: &impl Fn(&str),
        batch: &[Waiting],
        delivered: &mut u32,
    ) -> Result<(), OutboxError> {
        for item in batch {
            let item = std::slice::from_ref(item);
            match self.send(transport, item, *delivered).await? {
                Verdict::Taken => {
                    self.remove(database, item).await?;
                    *delivered += 1;
                }
                Verdict::Refused | Verdict::Later => {
                    let dropped = self.set_aside(database, &item[0]).await?;
                    log(&format!(
                        "outbox {}: the receiver refused an item; it is kept aside, and {dropped} \
                         older ones were dropped for it",
                        self.queue
                    ));
                }
            }
        }
        Ok(())
    }

    /// Never `Later`: that ends the drain.
    async fn send(
        &self,
        transport: &impl Transport,
        items: &[Waiting],
        delivered: u32,
    ) -> Result<Verdict, OutboxError> {
        let undelivered = |reason: String| OutboxError::Undelivered { delivered, reason };
        let status = transport.post(self.url, batch_body(items)).await;
        let status = status.map_err(|error| undelivered(error.to_string()))?;
        match verdict(status) {
            Verdict::Later => Err(undelivered(format!("status {status}"))),
            verdict => Ok(verdict),
        }
    }
}

/// How many of the first items fit into one batch: at least one, if there are any.
fn fitting(waiting: &[Waiting]) -> usize {
    let mut bytes = 0;
    let fits = |item: &&Waiting| {
        bytes += item.body.len() + 1;
        bytes + 64 <= BATCH_BYTES_MAX
    };
    waiting
        .iter()
        .take_while(fits)
        .count()
        .max(waiting.len().min(1))
}

/// The bodies are JSON values already, so the batch is their text, joined.
fn batch_body(items: &[Waiting]) -> String {
    let bodies: Vec<&str> = items.iter().map(|item| item.body.as_str()).collect();
    format!("{{\"items\":[{}]}}", bodies.join(","))
}

fn count(batch: &[Waiting]) -> u32 {
    u32::try_from(batch.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
