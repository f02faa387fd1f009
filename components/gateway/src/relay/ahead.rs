//! What a backend sends while nobody reads: it is counted, and the windows are drawn on, whether
//! the client takes its answer or not.
//!
//! A backend does not wait for a client: it generates, and what it sends lies in buffers.

use std::collections::VecDeque;
use std::pin::{Pin, pin};

use futures::future::{Either, select};

use super::source::Source;
use super::{ANSWER_BYTES_MAX, HEARTBEAT_MS, Relay, RelayError};
use crate::backend::chunk::Chunk;
use crate::error::ApiError;
use crate::exchange::meter::Meter;
use crate::memory::Share;
use crate::output::{Gone, Output};
use crate::platform::Platform;

/// After an answer was left: for so long what the backend has sent
/// already is counted, until nothing has come for a while.
const DRAIN_MS_MAX: u64 = 100;
const DRAIN_QUIET_MS: u64 = 10;

/// Of what was read ahead, so much is said before it is sent: as events it is several times as much.
const SAID_BYTES: usize = 64 << 10;
/// Bytes of an event beside its data.
const EVENT_BYTES: usize = 32;

/// Whether an event is counted already.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counted {
    Now,
    Before,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sending {
    /// What was said.
    Said,
    /// Likewise, or a sign where nothing is.
    Heartbeat,
}

/// How soon the client took what was sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sent {
    Soon,
    /// After the timer had gone off.
    Late,
}

/// Events that were counted and not said yet, and why no more of them come.
#[derive(Default)]
struct Ahead {
    events: VecDeque<Vec<u8>>,
    bytes: usize,
    share: Share,
    end: Option<ApiError>,
}

impl<P: Platform> Relay<'_, P> {
    /// Sends what was said. Where the client has not taken it when the timer goes off, the answer
    /// is read on meanwhile, and said later.
    pub(super) async fn send<F: Future>(
        &mut self,
        sending: Sending,
        source: &mut Source<P::Upstream>,
        out: &mut impl Output,
        meter: &mut Meter,
        pause: Pin<&mut F>,
    ) -> Result<Sent, RelayError> {
        let mut ahead = Ahead::default();
        {
            let mut sent = pin!(async {
                match sending {
                    Sending::Said => out.flush().await,
                    Sending::Heartbeat => out.alive().await,
                }
            });
            if let Either::Left((sent, _)) = select(sent.as_mut(), pause).await {
                sent?;
                return Ok(Sent::Soon);
            }
            self.read_ahead(sent, source, meter, &mut ahead).await?;
        }
        while !ahead.events.is_empty() {
            let mut said = 0;
            while said < SAID_BYTES
                && let Some(data) = ahead.events.pop_front()
            {
                said += data.len() + EVENT_BYTES;
                self.event(&data, out, Counted::Before).await?;
            }
            ahead.bytes -= said;
            let flush = pin!(out.flush());
            self.read_ahead(flush, source, meter, &mut ahead).await?;
        }
        match ahead.end {
            Some(error) => Err(RelayError::Ended(error)),
            None => Ok(Sent::Late),
        }
    }

    /// Reads and counts until all is sent. Where the windows are empty, or no more can be kept,
    /// the backend is stopped.
    async fn read_ahead(
        &mut self,
        mut sent: Pin<&mut impl Future<Output = Result<(), Gone>>>,
        source: &mut Source<P::Upstream>,
        meter: &mut Meter,
        ahead: &mut Ahead,
    ) -> Result<(), RelayError> {
        let platform = self.platform;
        let mut pause = pin!(platform.sleep_ms(HEARTBEAT_MS));
        loop {
            let came = {
                let next = pin!(source.next());
                match select(sent.as_mut(), select(next, pause.as_mut())).await {
                    Either::Left((sent, _)) => return Ok(sent?),
                    Either::Right((Either::Left((bytes, _)), _)) => Some(bytes),
                    Either::Right((Either::Right(_), _)) => None,
                }
            };
            let Some(bytes) = came else {
                pause.set(platform.sleep_ms(HEARTBEAT_MS));
                self.heartbeat(meter).await;
                continue;
            };
            if !self.push(source, bytes)? {
                // Its end is found again by whoever reads next.
                return Ok(sent.await?);
            }
            self.count_events(source, ahead);
            let is_kept =
                ahead.bytes <= ANSWER_BYTES_MAX && ahead.share.grow_to(ahead.bytes, 1).is_ok();
            let grown = match is_kept {
                true => self.grow(meter).await,
                false => Err(ApiError::answer_not_read()),
            };
            if let Err(error) = grown {
                ahead.end = Some(error);
                self.drain(source).await;
                source.stop();
                return Ok(sent.await?);
            }
        }
    }

    fn count_events(&mut self, source: &mut Source<P::Upstream>, ahead: &mut Ahead) {
        while let Some(data) = source.body.next_event() {
            // One that cannot be read is complained of when its turn comes.
            if let Ok(chunk) = Chunk::parse(data) {
                self.count.event(&chunk);
            }
            ahead.bytes += data.len() + EVENT_BYTES;
            ahead.events.push_back(data.to_vec());
        }
    }

    /// Counts what the backend has sent already: it was generated, though nobody reads it.
    pub(super) async fn drain(&mut self, source: &mut Source<P::Upstream>) {
        if source.is_stopped() {
            return;
        }
        let platform = self.platform;
        let mut end = pin!(platform.sleep_ms(DRAIN_MS_MAX));
        let (_, before) = self.count.so_far();
        loop {
            while let Some(data) = source.body.next_event() {
                match Chunk::parse(data) {
                    Ok(chunk) => self.count.event(&chunk),
                    Err(_) => return,
                }
            }
            let bytes = {
                let quiet = pin!(platform.sleep_ms(DRAIN_QUIET_MS));
                let next = pin!(source.next());
                match select(next, select(quiet, end.as_mut())).await {
                    Either::Left((bytes, _)) => bytes,
                    Either::Right((Either::Left(_), _)) => return,
                    // It is still at work, and stops when it hears of it: measured on an engine of 600
                    // tokens a second, half of this was under way.
                    Either::Right((Either::Right(_), _)) => {
                        let (_, after) = self.count.so_far();
                        return self.count.add_under_way(after.saturating_sub(before) / 2);
                    }
                }
            };
            match bytes {
                Some(Ok(bytes)) if source.body.push(&bytes).is_ok() => {}
                _ => return,
            }
        }
    }
}
