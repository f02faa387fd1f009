//! Who sits where: the numbers behind the seats, and who gives way.
//!
//! Always under one lock. It does NOT wait for anybody.

use super::{Ending, Numbers, Seat, Sitter};
use crate::front::network::Network;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long seats are rare after somebody wanted one who has less than a share.
const CONTENDED_TIME: Duration = Duration::from_secs(10);
/// How long nobody is looked for who gives way, after there was none.
pub(super) const BARREN_TIME: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Taken {
    sitter: Arc<Sitter>,
    /// Memory for its body.
    body_bytes: u64,
    /// Its component has begun to answer.
    is_answered: bool,
}

/// What an address has.
#[derive(Debug, Default)]
struct Holding {
    seats: usize,
    body_bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    network: Network,
    seat: oneshot::Sender<Seat>,
}

#[derive(Debug, Default)]
pub(super) struct Room {
    taken: HashMap<u64, Taken>,
    holdings: HashMap<Network, Holding>,
    body_bytes: u64,
    /// For each of these somebody gives way.
    waiting: VecDeque<Waiting>,
    /// Requests whose bodies wait for memory.
    hungry: HashMap<u64, Waker>,
    ids: u64,
    contended_until: Option<Instant>,
    barren_until: Option<Instant>,
}

fn give_way(sitter: &Sitter, numbers: &Numbers) {
    numbers.metrics.refused(Ending::GaveWay.reason());
    sitter.end(Ending::GaveWay);
}

impl Room {
    fn holding(&self, network: Network) -> (usize, u64) {
        let holding = self.holdings.get(&network);
        holding.map_or((0, 0), |holding| (holding.seats, holding.body_bytes))
    }

    /// Seats a request, if that is fair to others.
    pub(super) fn seat(&mut self, network: Network, numbers: &Numbers) -> Option<Arc<Sitter>> {
        let free = numbers.seats_max.saturating_sub(self.taken.len());
        if free > numbers.seats_reserve {
            return Some(self.sit(network));
        }
        let (seats, _) = self.holding(network);
        let others = self.holdings.len() - usize::from(seats > 0);
        if seats < numbers.seats_share && others > 0 {
            self.contended_until = Some(Instant::now() + CONTENDED_TIME);
        }
        let may = free > 0 && !self.is_greedy(seats, numbers);
        may.then(|| self.sit(network))
    }

    /// Does an address with so many seats have its share, while others want the rest?
    fn is_greedy(&self, seats: usize, numbers: &Numbers) -> bool {
        let until = self.contended_until;
        seats >= numbers.seats_share && until.is_some_and(|until| Instant::now() < until)
    }

    fn sit(&mut self, network: Network) -> Arc<Sitter> {
        self.ids += 1;
        let sitter = Arc::new(Sitter::new(self.ids, network));
        let taken = Taken {
            sitter: Arc::clone(&sitter),
            body_bytes: 0,
            is_answered: false,
        };
        self.taken.insert(self.ids, taken);
        self.holdings.entry(network).or_default().seats += 1;
        sitter
    }

    /// Has somebody give way: the seat comes once they have.
    pub(super) fn make_seat(
        &mut self,
        network: Network,
        numbers: &Numbers,
    ) -> Option<oneshot::Receiver<Seat>> {
        let (seats, _) = self.holding(network);
        if self.is_greedy(seats, numbers) {
            return None;
        }
        let share = numbers.seats_share;
        let slow = self.slowest(numbers, seats < share, |taken, holding| {
            let may = taken.sitter.network == network || holding.seats > seats;
            may.then_some((holding.seats as u64, holding.seats > share))
        })?;
        give_way(&slow, numbers);
        let (seat, waiting) = oneshot::channel();
        self.waiting.push_back(Waiting { network, seat });
        Some(waiting)
    }

    /// The request that keeps us waiting longest, of the address with the greatest weight, which
    /// `weigh` says, and whether that is more than its share. From such a one who `is_due` a
    /// share does not wait for it.
    fn slowest(
        &mut self,
        numbers: &Numbers,
        is_due: bool,
        weigh: impl Fn(&Taken, &Holding) -> Option<(u64, bool)>,
    ) -> Option<Arc<Sitter>> {
        let now = Instant::now();
        if !is_due && self.barren_until.is_some_and(|until| now < until) {
            return None;
        }
        let mut is_barren = true;
        let idle = self.taken.values().filter_map(|taken| {
            let (sitter, holding) = (&taken.sitter, self.holdings.get(&taken.sitter.network)?);
            if sitter.is_ending() || !sitter.keeps_waiting() {
                return None;
            }
            let idle = sitter.idle();
            is_barren &= idle < numbers.idle_max;
            let (weight, has_too_much) = weigh(taken, holding)?;
            let may = idle >= numbers.idle_max || (is_due && has_too_much);
            may.then_some((weight, idle, sitter))
        });
        let slowest = idle.max_by_key(|(weight, idle, _)| (*weight, *idle));
        let slowest = slowest.map(|(_, _, sitter)| Arc::clone(sitter));
        self.barren_until = is_barren.then(|| now + BARREN_TIME);
        slowest
    }

    /// Takes memory for a body.
    pub(super) fn feed(
        &mut self,
        sitter: &Sitter,
        bytes: u64,
        waker: &Waker,
        numbers: &Numbers,
    ) -> bool {
        let Some(taken) = self.taken.get(&sitter.id) else {
            return true;
        };
        if taken.is_answered || taken.body_bytes > 0 {
            return true;
        }
        let (_, held) = self.holding(sitter.network);
        let (in_all, here) = (self.body_bytes + bytes, held + bytes);
        let is_rare = in_all > numbers.body_bytes_max / 4 * 3;
        if in_all <= numbers.body_bytes_max && (!is_rare || here <= numbers.body_bytes_share) {
            self.set_body_bytes(sitter.id, bytes);
            self.hungry.remove(&sitter.id);
            return true;
        }
        self.hungry.insert(sitter.id, waker.clone());
        let share = numbers.body_bytes_share;
        let slow = self.slowest(numbers, here <= share, |taken, holding| {
            let may = taken.sitter.network == sitter.network || holding.body_bytes > held;
            let weight = (holding.body_bytes, holding.body_bytes > share);
            (may && taken.body_bytes > 0).then_some(weight)
        });
        if let Some(slow) = slow {
            give_way(&slow, numbers);
        }
        false
    }

    fn set_body_bytes(&mut self, id: u64, bytes: u64) {
        let Some(taken) = self.taken.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut taken.body_bytes, bytes);
        let network = taken.sitter.network;
        self.body_bytes = self.body_bytes - before + bytes;
        if let Some(holding) = self.holdings.get_mut(&network) {
            holding.body_bytes = holding.body_bytes - before + bytes;
        }
        if bytes < before {
            self.hungry.drain().for_each(|(_, waker)| waker.wake());
        }
    }

    /// Of a body's memory no more than this is needed.
    pub(super) fn keep(&mut self, id: u64, bytes: u64) {
        let before = self.taken.get(&id).map_or(0, |taken| taken.body_bytes);
        if bytes < before {
            self.set_body_bytes(id, bytes);
        }
    }

    pub(super) fn is_answered(&mut self, id: u64) {
        if let Some(taken) = self.taken.get_mut(&id) {
            taken.is_answered = true;
        }
        self.keep(id, 0);
    }

    /// Frees a seat: whoever waits for one sits there.
    pub(super) fn leave(&mut self, id: u64) -> Option<(Arc<Sitter>, oneshot::Sender<Seat>)> {
        self.keep(id, 0);
        if let Some(waker) = self.hungry.remove(&id) {
            waker.wake();
        }
        let left = self.taken.remove(&id)?;
        let network = left.sitter.network;
        if let Some(holding) = self.holdings.get_mut(&network) {
            holding.seats -= 1;
            if holding.seats == 0 {
                self.holdings.remove(&network);
            }
        }
        while let Some(waiting) = self.waiting.pop_front() {
            if !waiting.seat.is_closed() {
                return Some((self.sit(waiting.network), waiting.seat));
            }
        }
        None
    }

    #[cfg(test)]
    pub(super) fn has(&self, id: u64) -> bool {
        self.taken.contains_key(&id)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let counts = [self.taken.len(), self.holdings.len(), self.hungry.len()];
        counts == [0; 3] && self.body_bytes == 0
    }
}
