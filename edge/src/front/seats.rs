//! Who is served at once: a seat for each request, from its head to its answer's last byte,
//! and memory for the bodies that components gather.
//!
//! Seats are given to whoever comes. When they become rare, an address that has more than its
//! share gets no more of them; when all are taken, the request whose client has kept us
//! waiting longest gives way, of the address that has most. So nobody holds what others need
//! by being slow. It knows addresses and how long was waited; it does NOT know what is asked.

mod room;

use super::network::Network;
use crate::error::Refusal;
use crate::limits::Limits;
use crate::metrics::Metrics;
use room::Room;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a request waits for one that gives way: that takes a turn of two tasks.
const GIVING_WAY_TIME_MAX: Duration = Duration::from_secs(2);
/// Bytes of a body that are not counted: most have no more.
pub(super) const BODY_BYTES_FREE: u64 = 64 << 10;

/// Why a request ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its body comes too slowly.
    SlowBody,
    /// Its client is slow, and somebody else needs its seat or its memory.
    GaveWay,
    /// There is no memory for its body.
    NoMemory,
}

impl Ending {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::SlowBody => "slow-body",
            Self::GaveWay => "gave-way",
            Self::NoMemory => "body-memory",
        }
    }

    /// Is it counted where it is answered? Who gives way may have an answer already.
    pub(super) fn is_answered_with(self) -> bool {
        self != Self::GaveWay
    }

    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::SlowBody | Self::GaveWay => Refusal::SlowBody,
            Self::NoMemory => Refusal::Busy,
        }
    }
}

/// One request, as far as its seat is concerned.
#[derive(Debug)]
pub(crate) struct Sitter {
    id: u64,
    network: Network,
    began: Instant,
    /// Since when its body is waited for, in milliseconds from `began` and one more; or 0.
    body_since: AtomicU64,
    /// Milliseconds that were waited for its body beyond what its bytes may take.
    body_late: AtomicU64,
    /// Since when its client takes nothing of the answer.
    answer_since: AtomicU64,
    is_answered: AtomicBool,
    /// Why it ends, once it does.
    ending: OnceLock<Ending>,
    ended: CancellationToken,
}

impl Sitter {
    fn new(id: u64, network: Network) -> Self {
        Self {
            id,
            network,
            began: Instant::now(),
            body_since: AtomicU64::new(0),
            body_late: AtomicU64::new(0),
            answer_since: AtomicU64::new(0),
            is_answered: AtomicBool::new(false),
            ending: OnceLock::new(),
            ended: CancellationToken::new(),
        }
    }

    fn now(&self) -> u64 {
        let passed = self.began.elapsed().as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The component wants more of the body than has come.
    pub(super) fn body_waits(&self) {
        self.body_since.store(self.now(), Relaxed);
    }

    /// Some of the body came, or its end, for which so much time is fair.
    pub(super) fn body_came(&self, fair: Duration) {
        let since = self.body_since.swap(0, Relaxed);
        let fair = u64::try_from(fair.as_millis()).unwrap_or(u64::MAX);
        let waited = match since {
            0 => 0,
            since => self.now().saturating_sub(since),
        };
        let late = self.body_late.load(Relaxed).saturating_add(waited);
        self.body_late.store(late.saturating_sub(fair), Relaxed);
    }

    /// Whether the client has to take something before its answer goes on.
    pub(super) fn answer_waits(&self, waits: bool) {
        if !waits {
            self.answer_since.store(0, Relaxed);
        } else if self.answer_since.load(Relaxed) == 0 {
            self.answer_since.store(self.now(), Relaxed);
        }
    }

    /// How long its client keeps us waiting.
    fn idle(&self) -> Duration {
        let now = self.now();
        let since = |since: &AtomicU64| match since.load(Relaxed) {
            0 => None,
            since => Some(now.saturating_sub(since)),
        };
        let body =
            since(&self.body_since).map(|ms| ms.saturating_add(self.body_late.load(Relaxed)));
        let idle = body.max(since(&self.answer_since)).unwrap_or(0);
        Duration::from_millis(idle)
    }

    /// Is its client waited for now?
    fn keeps_waiting(&self) -> bool {
        self.body_since.load(Relaxed) > 0 || self.answer_since.load(Relaxed) > 0
    }

    /// Ends it for its body's sake. An answer that has begun goes on: its component knows what
    /// became of the body.
    pub(super) fn end_for_body(&self, ending: Ending) {
        if !self.is_answered.load(Relaxed) {
            self.end(ending);
        }
    }

    /// Ends it. The first reason is the one.
    fn end(&self, ending: Ending) {
        if self.ending.set(ending).is_ok() {
            self.ended.cancel();
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Waits until it has to end.
    pub(super) async fn ended(&self) -> Ending {
        self.ended.cancelled().await;
        self.ending.get().copied().unwrap_or(Ending::GaveWay)
    }

    /// The same, without the reason.
    pub(super) fn token(&self) -> CancellationToken {
        self.ended.clone()
    }
}

/// How many there are of what.
#[derive(Debug)]
struct Numbers {
    seats_max: usize,
    /// Seats that an address has whatever others want.
    seats_share: usize,
    /// Seats that are left to addresses which have less than their share.
    seats_reserve: usize,
    body_bytes_max: u64,
    body_bytes_share: u64,
    /// How long a client may keep us waiting before its request gives way.
    idle_max: Duration,
    metrics: Arc<Metrics>,
}

/// All seats.
#[derive(Debug)]
pub(crate) struct Seats {
    room: Mutex<Room>,
    numbers: Numbers,
}

impl Seats {
    pub(crate) fn new(limits: &Limits, metrics: &Arc<Metrics>) -> Arc<Self> {
        let parts = limits.address_shares.max(1);
        let body_bytes_max = limits.bodies_mib.saturating_mul(1 << 20);
        Arc::new(Self {
            room: Mutex::default(),
            numbers: Numbers {
                seats_max: limits.requests_max,
                seats_share: (limits.requests_max / parts).max(1),
                seats_reserve: limits.requests_max / 4,
                body_bytes_max,
                body_bytes_share: (body_bytes_max / parts as u64).max(1),
                idle_max: limits.give_way_time,
                metrics: Arc::clone(metrics),
            },
        })
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a request from `address`, if there is one or somebody gives way.
    pub(super) async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let network = Network::of(address);
        let waiting = {
            let mut room = self.room();
            if let Some(sitter) = room.seat(network, &self.numbers) {
                return Some(self.seat(sitter));
            }
            room.make_seat(network, &self.numbers)?
        };
        let given = tokio::time::timeout(GIVING_WAY_TIME_MAX, waiting).await;
        given.ok()?.ok()
    }

    fn seat(self: &Arc<Self>, sitter: Arc<Sitter>) -> Seat {
        Seat {
            seats: Arc::clone(self),
            sitter,
        }
    }

    /// May the body of `sitter` be gathered, which has `bytes` at most? If not now, `waker` is
    /// woken when that may have changed.
    pub(super) fn feed(&self, sitter: &Sitter, bytes: u64, waker: &Waker) -> bool {
        let bytes = bytes.min(self.numbers.body_bytes_share);
        self.room().feed(sitter, bytes, waker, &self.numbers)
    }

    /// The body of `sitter` has ended with so many bytes.
    pub(super) fn fed(&self, sitter: &Sitter, bytes: u64) {
        self.room().keep(sitter.id, bytes);
    }
}

/// A request's seat, given back by `Drop`.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    sitter: Arc<Sitter>,
}

impl Seat {
    pub(super) fn sitter(&self) -> &Arc<Sitter> {
        &self.sitter
    }

    pub(super) fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }

    /// The component has begun its answer: it has what it wanted of the body, and what it
    /// keeps of it is its own memory.
    pub(super) fn is_answered(&self) {
        self.sitter.is_answered.store(true, Relaxed);
        self.seats.room().is_answered(self.sitter.id);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let next = self.seats.room().leave(self.sitter.id);
        // Outside of the lock, for who does not want it any more gives it back.
        if let Some((sitter, waiting)) = next {
            let _ = waiting.send(self.seats.seat(sitter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(requests_max: usize) -> Arc<Seats> {
        let limits = Limits {
            requests_max,
            give_way_time: Duration::ZERO,
            bodies_mib: 8,
            ..Limits::default()
        };
        Seats::new(&limits, &Arc::default())
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    async fn take(seats: &Arc<Seats>, last: u8, number: usize) -> Vec<Seat> {
        let mut taken = Vec::new();
        for _ in 0..number {
            taken.extend(seats.take(address(last)).await);
        }
        taken
    }

    #[tokio::test]
    async fn one_address_may_have_all_until_another_comes() {
        let seats = seats(16);
        let mut many = take(&seats, 1, 20).await;
        assert_eq!(many.len(), 16, "nobody else wants them");
        assert!(take(&seats, 2, 1).await.is_empty(), "nobody is slow");
        // From now on a quarter is kept for those who have less than an eighth.
        many.truncate(12);
        assert!(take(&seats, 1, 1).await.is_empty());
        assert_eq!(take(&seats, 2, 2).await.len(), 2);
        let two = take(&seats, 2, 9).await;
        assert_eq!(two.len(), 2, "their share");
        let three = take(&seats, 3, 9).await;
        assert_eq!(three.len(), 2);
        drop((many, two, three));
        assert!(seats.room().is_empty());
    }

    /// Answers that somebody has to end, as the front does.
    async fn serve(seat: Seat) -> Ending {
        let ending = seat.sitter().ended().await;
        drop(seat);
        ending
    }

    #[tokio::test]
    async fn the_slowest_of_whom_has_most_gives_way() {
        let seats = seats(8);
        let two = take(&seats, 2, 2).await;
        let mut held = take(&seats, 1, 6).await;
        held.extend(two);
        for seat in &held {
            seat.sitter().body_waits();
        }
        // A byte does not help: it is not what the time is worth.
        held[3].sitter().body_late.store(60_000, Relaxed);
        held[3].sitter().body_came(Duration::from_millis(1));
        held[3].sitter().body_waits();
        held[7].sitter().body_late.store(90_000, Relaxed);
        let slowest = held[3].sitter().id;
        let ids: Vec<u64> = held.iter().map(|seat| seat.sitter().id).collect();
        let served: Vec<_> = held
            .into_iter()
            .map(|seat| tokio::spawn(serve(seat)))
            .collect();
        let third = seats.take(address(3)).await;
        assert!(third.is_some());
        assert!(
            !seats.room().has(slowest),
            "it was the slowest of the first"
        );
        assert_eq!(ids.iter().filter(|id| seats.room().has(**id)).count(), 7);
        let another = seats.take(address(4)).await;
        assert!(another.is_some());
        assert_eq!(ids.iter().filter(|id| seats.room().has(**id)).count(), 6);
        assert!(ids[6..].iter().all(|id| seats.room().has(*id)));
        served.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn who_has_more_does_not_displace_who_has_less() {
        let seats = seats(8);
        let busy = take(&seats, 1, 7).await;
        let slow = take(&seats, 2, 1).await;
        slow[0].sitter().body_waits();
        assert!(seats.take(address(1)).await.is_none());
        assert!(!slow[0].sitter().is_ending());
        drop((busy, slow));
    }

    #[tokio::test]
    async fn who_takes_nothing_of_an_answer_gives_way_too_and_who_is_served_does_not() {
        let seats = seats(2);
        let held = take(&seats, 1, 2).await;
        assert!(seats.take(address(2)).await.is_none());
        let mut held = held.into_iter();
        let (served, slow) = (held.next().unwrap(), held.next().unwrap());
        slow.sitter().answer_waits(true);
        let slow = tokio::spawn(serve(slow));
        // What was looked for in vain is not looked for again at once.
        let taken = loop {
            match seats.take(address(2)).await {
                Some(seat) => break seat,
                None => tokio::time::sleep(room::BARREN_TIME).await,
            }
        };
        drop(taken);
        assert_eq!(slow.await.unwrap(), Ending::GaveWay);
        assert!(!served.sitter().is_ending());
    }

    #[tokio::test]
    async fn bodies_have_memory_in_sum_and_an_address_its_share_of_it() {
        const MIB: u64 = 1 << 20;
        let (seats, waker) = (seats(100), Waker::noop());
        let one = take(&seats, 1, 10).await;
        let two = take(&seats, 2, 10).await;
        let feed = |seat: &Seat| seats.feed(seat.sitter(), MIB, waker);
        assert_eq!(one.iter().filter(|seat| feed(seat)).count(), 6, "of 8 MiB");
        assert!(feed(&two[0]), "its share");
        assert!(!feed(&two[1]));
        // A body that was shorter than could be known, and an answer that begins.
        seats.fed(two[0].sitter(), 1);
        assert!(!feed(&one[9]));
        one[0].is_answered();
        one[1].is_answered();
        assert!(feed(&one[9]));
        assert!(feed(&one[0]), "its component has begun: it is not counted");
        // A client that keeps us waiting gives way.
        assert!(!feed(&one[8]));
        one[2].sitter().body_waits();
        while !one[2].sitter().is_ending() {
            assert!(!feed(&one[8]));
            tokio::time::sleep(room::BARREN_TIME).await;
        }
        drop((one, two));
        assert!(seats.room().is_empty());
    }
}
