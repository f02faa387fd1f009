//! Two lanes: threads for components that are quick, and threads of low priority for those
//! whose requests are busy.
//!
//! The kernel takes a core from the busy whenever a quick one wants it, even in the middle of
//! a call that no epoch interrupts; and they have every core that nobody else wants. A
//! component changes its lane with its habits (`habits.rs`). It does NOT know what a component
//! does.

use crate::limits::Limits;
use crate::thread_time;
use crate::turns::{Line, Turns};
use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};

/// What the threads of the slow lane add to their nice value: the kernel gives each a tenth
/// of what it gives a thread of the other lane, so that they get on even if every core is
/// wanted.
const NICE: i32 = 10;

/// Where a component runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Quick,
    Slow,
}

thread_local! {
    /// In the slow lane, the way back.
    static HOME: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// The threads of both lanes.
pub(crate) struct Threads {
    pub(crate) quick: Runtime,
    slow: Runtime,
}

impl Threads {
    /// As many for each lane as there are cores.
    pub(crate) fn start() -> std::io::Result<Self> {
        let quick = builder().build()?;
        let home = quick.handle().clone();
        let slow = builder()
            .thread_name("slow lane")
            // A task lasts for as long as a tick there: whatever else happens is looked at
            // after each.
            .event_interval(1)
            .global_queue_interval(2)
            .on_thread_start(move || {
                lower_priority();
                HOME.set(Some(home.clone()));
            })
            .build()?;
        Ok(Self { quick, slow })
    }

    pub(crate) fn lanes(&self, limits: &Limits) -> Lanes {
        let _inside = self.quick.enter();
        let turns = |lane| Turns::of_machine(lane, limits.queue_delay_max);
        Lanes {
            slow: self.slow.handle().clone(),
            quick_turns: turns(Lane::Quick),
            slow_turns: turns(Lane::Slow),
            queue: Queue::watch(self.slow.handle(), limits.queue_delay_max),
        }
    }

    /// Ends what still runs, and waits for `time_max` at most.
    pub(crate) fn stop(self, time_max: Duration) {
        self.slow.shutdown_background();
        self.quick.shutdown_timeout(time_max);
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder
        .enable_all()
        .on_thread_park(thread_time::none)
        .on_thread_unpark(thread_time::none);
    builder
}

#[expect(unsafe_code, reason = "a thread's priority is set by a system call")]
fn lower_priority() {
    // SAFETY: It takes a number and touches no memory. On Linux it is for this thread alone.
    let nice = unsafe { libc::nice(NICE) };
    tracing::trace!(nice, "a thread of the slow lane");
}

/// The way into the slow lane.
pub(crate) struct Lanes {
    slow: Handle,
    quick_turns: Turns,
    slow_turns: Turns,
    queue: Arc<Queue>,
}

impl Lanes {
    /// `future`, whose tasks are begun in `lane`; it is polled where it was.
    pub(crate) fn within<F: Future>(&self, lane: Lane, future: F) -> Within<F> {
        let handle = (lane == Lane::Slow).then(|| self.slow.clone());
        Within {
            handle,
            inner: future,
        }
    }

    /// Is one more request taken in `lane`?
    pub(crate) fn admits(&self, lane: Lane) -> bool {
        lane == Lane::Quick || self.queue.is_short()
    }

    /// A line for the instances of one component in `lane`.
    pub(crate) fn line(&self, lane: Lane) -> Arc<Line> {
        match lane {
            Lane::Quick => self.quick_turns.line(),
            Lane::Slow => self.slow_turns.line(),
        }
    }
}

/// How often a task asks how long the slow lane's queue is.
const LOOK: Duration = Duration::from_millis(10);

/// What stands in the slow lane before a new task has run, and run again after a pause.
/// (The share of requests that is shed elsewhere adapts over seconds; here a queue is as
/// long as what its tasks last, so it is closed at once.)
struct Queue {
    start: Instant,
    delay_max: Duration,
    /// When the task that stands there now was begun, in microseconds since the start.
    asked_us: AtomicU64,
}

impl Queue {
    const NOBODY: u64 = u64::MAX;

    /// Starts looking, for as long as somebody asks.
    fn watch(lane: &Handle, delay_max: Duration) -> Arc<Self> {
        let queue = Arc::new(Self {
            start: Instant::now(),
            delay_max,
            asked_us: AtomicU64::new(Self::NOBODY),
        });
        let (watched, lane) = (Arc::downgrade(&queue), lane.clone());
        tokio::spawn(async move {
            while let Some(queue) = watched.upgrade() {
                queue.asked_us.store(queue.now_us(), Relaxed);
                let _ = lane.spawn(tokio::task::yield_now()).await;
                queue.asked_us.store(Self::NOBODY, Relaxed);
                drop(queue);
                tokio::time::sleep(LOOK).await;
            }
        });
        queue
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(Self::NOBODY)
    }

    /// Is it, at the moment, no longer than anybody should wait?
    fn is_short(&self) -> bool {
        let waited = self.now_us().saturating_sub(self.asked_us.load(Relaxed));
        Duration::from_micros(waited) <= self.delay_max
    }
}

/// The handle of the quick lane, in whose tasks everything is that components share.
pub(crate) fn home() -> Handle {
    HOME.with_borrow(Option::clone)
        .unwrap_or_else(Handle::current)
}

/// `future`, whose tasks, sockets and timers are the quick lane's, whoever polls it.
pub(crate) fn at_home<F: Future>(future: F) -> Within<F> {
    Within {
        handle: HOME.with_borrow(Option::clone),
        inner: future,
    }
}

pin_project! {
    /// A future that is polled in the context of a lane.
    pub(crate) struct Within<F> {
        // `None` is where it is polled.
        handle: Option<Handle>,
        #[pin]
        inner: F,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _inside = this.handle.as_ref().map(Handle::enter);
        this.inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(20);

    /// Until `queue` is short, or is not.
    async fn until(queue: &Queue, short: bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while queue.is_short() != short {
            assert!(Instant::now() < end, "is it short? {}", !short);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn a_lane_is_closed_while_its_threads_have_no_time() {
        let threads = Threads::start().unwrap();
        threads.quick.block_on(async {
            let queue = Queue::watch(threads.slow.handle(), DELAY);
            until(&queue, true).await;
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let ended = Arc::new(std::sync::Mutex::new(ended));
            for _ in 0..threads.slow.metrics().num_workers() {
                let ended = Arc::clone(&ended);
                threads
                    .slow
                    .spawn(async move { ended.lock().unwrap().recv().is_err() });
            }
            until(&queue, false).await;
            drop(end);
            until(&queue, true).await;
        });
        threads.stop(DELAY);
    }

    #[test]
    fn tasks_begin_in_the_lane_that_is_asked_for() {
        let threads = Threads::start().unwrap();
        let lanes = threads.lanes(&Limits::default());
        let is_slow = || HOME.with_borrow(Option::is_some);
        let begun = |lane| {
            lanes.within(
                lane,
                async move { tokio::spawn(async move { is_slow() }).await },
            )
        };
        threads.quick.block_on(async {
            assert!(!begun(Lane::Quick).await.unwrap());
            assert!(begun(Lane::Slow).await.unwrap());
            // What is begun at home stays there.
            let home = begun_at_home(threads.slow.handle()).await;
            assert!(!home);
        });
        drop(lanes);
        threads.stop(DELAY);
    }

    /// Whether a task is slow that a task of the slow lane begins at home.
    async fn begun_at_home(slow: &Handle) -> bool {
        let inner = || async { tokio::spawn(async { HOME.with_borrow(Option::is_some) }).await };
        let outer = slow.spawn(async move { at_home(inner()).await });
        outer.await.unwrap().unwrap()
    }

    #[test]
    fn the_slow_lane_has_the_lower_priority() {
        let threads = Threads::start().unwrap();
        let nice = || async {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // proc(5): the 19th field; the second may hold blanks.
            let after = stat.rsplit_once(") ").unwrap().1;
            after.split(' ').nth(16).unwrap().parse::<i32>().unwrap()
        };
        let both = threads.quick.block_on(async {
            let slow = threads.slow.spawn(nice()).await.unwrap();
            (tokio::spawn(nice()).await.unwrap(), slow)
        });
        assert_eq!(both.1, both.0 + NICE);
        threads.stop(DELAY);
    }
}
