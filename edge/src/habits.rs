//! How long the requests of a component are busy, and so in which lane it runs.
//!
//! What counts is the CPU time of threads: what the kernel gave to others meanwhile is nobody's
//! habit. It is looked at only where an instance has been busy into another tick of the epoch,
//! or for as long in one call of the host, so that a request that is quick pays for one look at
//! the clock. It does NOT know what runs in either lane.

use crate::engine::TICK;
use crate::lanes::Lane;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A component is slow if its requests are busy for longer than this on average, the first
/// tick of each not counted.
const SLOW: Duration = Duration::from_millis(1);
/// Requests that a habit is made of; what came before them fades by half with each half of
/// them.
const REQUESTS: u64 = 128;
/// What is kept of having been busy, so that one loop is made up for by some two hundred
/// requests that are quick.
const BUSY_MAX: Duration = SLOW.saturating_mul(512);

thread_local! {
    /// Where the instance that this thread is polling began to be busy, if that is known.
    static BEGAN: Cell<Option<Mark>> = const { Cell::new(None) };
}

/// A moment of a thread.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    cpu: Duration,
}

impl Mark {
    fn now() -> Self {
        Self {
            at: Instant::now(),
            cpu: thread_cpu(),
        }
    }

    /// What the thread has done since.
    fn worked(&self) -> Duration {
        thread_cpu().saturating_sub(self.cpu)
    }
}

/// What follows is an instance at work, until its poll ends.
pub(crate) fn begin() {
    if BEGAN.get().is_none() {
        BEGAN.set(Some(Mark::now()));
    }
}

/// How long the requests of one component are busy.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    requests: AtomicU64,
    busy_us: AtomicU64,
}

impl Habits {
    /// One more request, which begins on this thread.
    pub(crate) fn asked(&self) {
        if self.requests.fetch_add(1, Relaxed) >= REQUESTS {
            self.requests.store(REQUESTS / 2, Relaxed);
            let busy = self.busy_us.load(Relaxed);
            self.busy_us.store(busy / 2, Relaxed);
        }
        begin();
    }

    /// An instance goes into another tick without having waited; it `was_busy` through one
    /// before.
    pub(crate) fn ticked(&self, was_busy: bool) {
        if let Some(began) = BEGAN.take() {
            let free = if was_busy { Duration::ZERO } else { TICK };
            self.add(began.worked().saturating_sub(free));
        }
    }

    /// An instance's poll ends. What it did was not interrupted by a tick, if it is still
    /// known when it began.
    pub(crate) fn rests(&self) {
        if let Some(began) = BEGAN.take()
            && began.at.elapsed() > 2 * TICK
        {
            self.add(began.worked().saturating_sub(TICK));
        }
    }

    fn add(&self, busy: Duration) {
        let before = Duration::from_micros(self.busy_us.load(Relaxed));
        let after = (before + busy).min(BUSY_MAX).as_micros();
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        // What others add meanwhile is lost, and is not missed.
        self.busy_us.store(after, Relaxed);
    }

    pub(crate) fn lane(&self) -> Lane {
        let requests = self.requests.load(Relaxed).max(1);
        let busy = Duration::from_micros(self.busy_us.load(Relaxed) / requests);
        if busy > SLOW { Lane::Slow } else { Lane::Quick }
    }
}

/// CPU time of this thread.
#[expect(unsafe_code, reason = "a clock is read by a system call")]
fn thread_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: The time is written to a place that is as large as it.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = Duration::from_secs(time.tv_sec.unsigned_abs());
    seconds + Duration::from_nanos(time.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps this thread's core busy for so long.
    fn work(time: Duration) {
        let began = Mark::now();
        while began.worked() < time {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn who_is_busy_on_average_is_slow_until_it_no_longer_is() {
        let habits = Habits::default();
        for _ in 0..REQUESTS {
            habits.asked();
            habits.rests();
        }
        assert_eq!(habits.lane(), Lane::Quick);
        // One that is busy for long, among many that are not.
        habits.asked();
        habits.add(SLOW * 60);
        habits.rests();
        assert_eq!(habits.lane(), Lane::Quick);
        habits.add(SLOW * 10);
        assert_eq!(habits.lane(), Lane::Slow);
        for _ in 0..REQUESTS {
            habits.asked();
            habits.rests();
        }
        assert_eq!(habits.lane(), Lane::Quick);
    }

    #[test]
    fn the_first_tick_is_free_and_the_others_are_not() {
        let habits = Habits::default();
        habits.asked();
        work(TICK / 2);
        habits.ticked(false);
        assert_eq!(habits.lane(), Lane::Quick);
        begin();
        work(TICK);
        habits.ticked(true);
        assert_eq!(habits.lane(), Lane::Slow, "its first request is busy");
    }

    #[test]
    fn a_call_that_no_tick_interrupts_counts_too() {
        let habits = Habits::default();
        habits.asked();
        work(3 * TICK);
        habits.rests();
        assert_eq!(habits.lane(), Lane::Slow);
    }

    #[test]
    fn who_only_waited_was_not_busy() {
        let habits = Habits::default();
        habits.asked();
        std::thread::sleep(5 * TICK);
        habits.rests();
        // A poll of which nobody knows when it began.
        work(3 * TICK);
        habits.ticked(true);
        habits.rests();
        assert_eq!(habits.lane(), Lane::Quick);
    }
}
