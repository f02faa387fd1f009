//! Turns at a core, for components that are busy for long: those of one lane.
//!
//! Whoever is busy holds a turn for some ticks of the epoch, or until it waits for something
//! else. The slow lane has as many turns as there are cores, each long enough for most
//! requests: what comes first is done first, and not all at once and late. The quick one has
//! less by a quarter, of a tick each: what is busy there are components whose habits are not
//! known yet, and endless loops, however many, leave a core to whoever is quick. A component
//! of which too many instances wait is full for the moment: more of them would only make
//! everybody wait (Little's law tells how many are too many). It does NOT know what a
//! component does.

use crate::engine::TICK;
use crate::habits;
use crate::lanes::Lane;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who has been busy for longer than this takes turns: a request of a star, whose parts are
/// quick, does not come to know of them.
pub(crate) const QUICK: Duration = TICK;

/// How many ticks a turn of the slow lane lasts: 20 ms.
const SLOW_TICKS: u32 = 10;

/// All turns of one lane.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    waiting_max: usize,
    /// How many ticks each lasts.
    ticks: u32,
}

impl Turns {
    /// Turns of a machine with so many cores, for each of which nobody should wait longer
    /// than `delay_max`.
    pub(crate) fn new(lane: Lane, cores: usize, delay_max: Duration) -> Self {
        let (turns, ticks) = match lane {
            Lane::Quick => ((cores - cores.div_ceil(4)).max(1), 1),
            Lane::Slow => (cores, SLOW_TICKS),
        };
        let turn = (TICK * ticks).as_nanos();
        let in_a_row = usize::try_from(delay_max.as_nanos() / turn).unwrap_or(usize::MAX);
        Self {
            free: Arc::new(Semaphore::new(turns)),
            waiting_max: in_a_row.saturating_mul(turns).max(1),
            ticks,
        }
    }

    /// Those of this machine.
    pub(crate) fn of_machine(lane: Lane, delay_max: Duration) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(lane, cores, delay_max)
    }

    /// A line for one component.
    pub(crate) fn line(&self) -> Arc<Line> {
        Arc::new(Line {
            free: Arc::clone(&self.free),
            waiting: AtomicUsize::new(0),
            waiting_max: self.waiting_max,
            ticks: self.ticks,
        })
    }
}

/// Where the instances of one component wait for turns.
#[derive(Debug)]
pub(crate) struct Line {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    ticks: u32,
}

impl Line {
    /// Do so many wait that one more would wait for too long?
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.load(Relaxed) >= self.waiting_max
    }
}

/// One that stands in line.
struct Standing<'a>(&'a Line);

impl<'a> Standing<'a> {
    fn new(line: &'a Line) -> Self {
        line.waiting.fetch_add(1, Relaxed);
        Self(line)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// One instance in its component's line, with or without a turn.
#[derive(Debug)]
pub(crate) struct Turn {
    line: Arc<Line>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
    /// Ticks of the turn so far.
    ticks: AtomicU32,
    /// It stopped in the middle of its work and has not gone on yet.
    interrupted: AtomicBool,
}

impl Turn {
    pub(crate) fn new(line: &Arc<Line>) -> Arc<Self> {
        Arc::new(Self {
            line: Arc::clone(line),
            held: Mutex::default(),
            ticks: AtomicU32::new(0),
            interrupted: AtomicBool::new(false),
        })
    }

    fn hold(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    /// The instance stops. If it is not in the middle of its work, it waits for something
    /// else, and its turn is another's.
    pub(crate) fn rests(&self) {
        if !self.is_interrupted() {
            self.give_back();
        }
    }

    /// Gives the turn back, if there is one.
    pub(crate) fn give_back(&self) {
        self.hold(None);
    }

    /// Is the instance in the middle of its work? Another request would only make those that
    /// it has wait for longer.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Relaxed)
    }

    /// After another tick: lets others go first, and goes on with what is left of the turn or
    /// with the next.
    pub(crate) fn ticked(self: &Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        let ticks = self.ticks.fetch_add(1, Relaxed) + 1;
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = held.is_some() && ticks < self.line.ticks;
        drop(held);
        if goes_on {
            Box::pin(self.pass())
        } else {
            Box::pin(self.take())
        }
    }

    /// Lets everybody else on this thread go first.
    pub(crate) fn pass(self: &Arc<Self>) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.interrupted.store(true, Relaxed);
        let turn = Arc::clone(self);
        async move {
            tokio::task::yield_now().await;
            turn.goes_on();
        }
    }

    fn goes_on(&self) {
        self.interrupted.store(false, Relaxed);
        habits::begin();
    }

    /// Gives the turn back, lets everybody else on this thread go first, and then waits in
    /// line for another.
    pub(crate) fn take(self: &Arc<Self>) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.give_back();
        self.ticks.store(0, Relaxed);
        self.interrupted.store(true, Relaxed);
        let turn = Arc::clone(self);
        async move {
            tokio::task::yield_now().await;
            let standing = Standing::new(&turn.line);
            // It is never closed.
            let permit = Arc::clone(&turn.line.free).acquire_owned().await.ok();
            drop(standing);
            turn.hold(permit);
            turn.goes_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    const DELAY: Duration = TICK.saturating_mul(3);

    #[test]
    fn a_core_is_left_to_the_quick_and_one_to_the_busy() {
        let turns = |lane, cores| Turns::new(lane, cores, DELAY).free.available_permits();
        let quick = |cores| turns(Lane::Quick, cores);
        assert_eq!([1, 2, 3, 4, 8, 64].map(quick), [1, 1, 2, 3, 6, 48]);
        assert_eq!(turns(Lane::Slow, 8), 8, "there the kernel sees to it");
    }

    #[tokio::test]
    async fn who_waits_longest_is_next() {
        let turns = Turns::new(Lane::Quick, 1, DELAY);
        let line = turns.line();
        let holds = Turn::new(&line);
        holds.take().await;
        let mut waiting: Vec<_> = (0..3).map(|_| Turn::new(&line)).collect();
        let mut taking: Vec<_> = waiting.iter().map(|turn| Box::pin(turn.take())).collect();
        for next in &mut taking {
            // The first poll yields, the second stands in line.
            assert!(next.as_mut().now_or_never().is_none());
            assert!(next.as_mut().now_or_never().is_none());
        }
        assert!(line.is_full(), "three ticks are as long as one may wait");
        assert!(!turns.line().is_full(), "another component's");
        let mut last = holds;
        while !taking.is_empty() {
            last.give_back();
            let ready = taking.iter_mut().map(|one| one.as_mut().now_or_never());
            let ready: Vec<bool> = ready.map(|polled| polled.is_some()).collect();
            assert_eq!(ready.iter().position(|ready| *ready), Some(0));
            assert!(!ready[1..].contains(&true));
            drop(taking.remove(0));
            last = waiting.remove(0);
        }
        assert!(!line.is_full());
        drop(last);
        assert_eq!(turns.free.available_permits(), 1);
    }

    /// After how many ticks a turn is another's, and whether it is at once where its holder
    /// waits for something else.
    async fn lasts(lane: Lane) -> (u32, bool) {
        let turns = Turns::new(lane, 1, DELAY * 100);
        let turn = Turn::new(&turns.line());
        turn.ticked().await;
        let next = Turn::new(&turns.line());
        let mut taking = Box::pin(next.take());
        assert!(taking.as_mut().now_or_never().is_none());
        let mut ticks = 0;
        while taking.as_mut().now_or_never().is_none() {
            // Held back where another stands in line, so it is not waited for.
            let _ = turn.ticked().now_or_never();
            ticks += 1;
        }
        next.give_back();
        turn.take().await;
        turn.rests();
        let rested = turns.free.available_permits() == 1;
        (ticks, rested)
    }

    #[tokio::test]
    async fn a_turn_lasts_a_tick_where_all_are_quick_and_ten_in_the_slow_lane() {
        assert_eq!(lasts(Lane::Quick).await, (1, true));
        assert_eq!(lasts(Lane::Slow).await, (SLOW_TICKS, true));
    }

    #[tokio::test]
    async fn who_leaves_the_line_does_not_count() {
        let turns = Turns::new(Lane::Quick, 1, TICK);
        let (line, holds) = (turns.line(), Turn::new(&turns.line()));
        holds.take().await;
        let leaves = Turn::new(&line);
        let mut taking = Box::pin(leaves.take());
        for _ in 0..2 {
            assert!(taking.as_mut().now_or_never().is_none());
        }
        assert!(line.is_full());
        drop(taking);
        assert!(!line.is_full());
    }
}
