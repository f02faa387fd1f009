//! The threads that compute: a fork-join pool for loops of some ten microseconds, of
//! which a step has hundreds. Waiting threads spin for a moment before they sleep, so
//! that handing over costs less than a microsecond while a step runs, and nothing
//! while there is none.
//!
//! Invariant: `for_each` returns after each task ran exactly once and no worker holds
//! the loop's closure; a worker that is late to wake is not waited for.
//! Knows nothing of what a task computes.

#![expect(
    unsafe_code,
    reason = "workers borrow the loop's closure for as long as the loop lasts"
)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::shared::SharedMut;

/// How long a worker spins for the next loop before it sleeps: longer than the serial
/// parts of a step, shorter than what a scheduler notices.
const SPIN: Duration = Duration::from_micros(100);
/// Spins between two looks at the clock.
const SPINS: u32 = 64;

/// Threads that compute together with the one that calls [`Workers::install`].
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

thread_local! {
    /// The workers that `for_each` on this thread uses; see [`Workers::install`].
    static CURRENT: Cell<*const Workers> = const { Cell::new(std::ptr::null()) };
}

/// One loop. The pointer is valid while the gate is open or has workers inside.
#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

/// What a loop's caller and the workers share.
struct Shared {
    /// Workers inside the loop (low bits), `OPEN`, and the loop's number above it.
    gate: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    /// The next task that nobody has taken.
    next: AtomicUsize,
    /// The first panic of a task.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleeping: Vec<AtomicBool>,
    stop: AtomicBool,
}

/// A loop that workers may enter.
const OPEN: u64 = 1 << 16;
/// One loop more.
const LOOP: u64 = 1 << 17;
/// Workers inside.
const INSIDE: u64 = OPEN - 1;

// SAFETY: `job` is written only while the gate is shut and nobody is inside, and read
// only from inside; the gate's orderings make the write visible. The closure is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Workers {
    /// A pool of `threads`, the caller of `install` being one of them.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let helpers = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleeping: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
        });
        // Built up in place: should a thread fail to start, those before it are joined.
        let mut workers = Self {
            shared,
            threads: Vec::new(),
        };
        for index in 0..helpers {
            let shared = workers.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("compute-{index}"))
                .spawn(move || shared.work(index))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Runs `f`; the kernels that it calls on this thread spread over these workers.
    pub fn install<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let _before = Installed(CURRENT.replace(self));
        f()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; `Entered` waits until nobody is inside
        // before this call returns or unwinds.
        let task: *const (dyn Fn(usize) + Sync) = unsafe {
            std::mem::transmute::<&(dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync + 'static)>(
                task,
            )
        };
        // SAFETY: the gate is shut and nobody is inside: `install` borrows the workers
        // for one thread, and `for_each` takes them from it while a loop lasts.
        unsafe { *shared.job.get() = Some(Job { task, tasks }) };
        shared.next.store(0, Ordering::Relaxed);
        let entered = Entered(shared);
        // Sequentially consistent against a worker that marks itself asleep and then
        // looks at the gate once more: one of the two sees the other.
        shared.gate.fetch_add(LOOP + OPEN, Ordering::SeqCst);
        for (sleeping, thread) in shared.sleeping.iter().zip(&self.threads) {
            if sleeping.load(Ordering::SeqCst) && sleeping.swap(false, Ordering::SeqCst) {
                thread.thread().unpark();
            }
        }
        let own = catch_unwind(AssertUnwindSafe(|| shared.tasks(Job { task, tasks })));
        drop(entered);
        let mut others = shared.panic.lock().unwrap_or_else(PoisonError::into_inner);
        let others = others.take();
        if let Some(panic) = own.err().or(others) {
            resume_unwind(panic);
        }
    }
}

/// Runs `task(0..tasks)` on the installed workers, or all of it here where there are
/// none; tasks are taken one by one, so a core that lost time takes fewer.
pub(crate) fn for_each(tasks: usize, task: impl Fn(usize) + Sync) {
    // Taken for as long as the loop lasts: a loop inside a task runs where it is.
    let current = Installed(CURRENT.replace(std::ptr::null()));
    // SAFETY: `install` keeps its borrow for as long as the pointer is set.
    match unsafe { current.0.as_ref() } {
        Some(workers) if tasks > 1 && !workers.threads.is_empty() => workers.run(tasks, &task),
        _ => (0..tasks).for_each(task),
    }
}

/// Elements of one task of a row-wise step, which takes a few microseconds; fewer stay
/// on the calling thread.
const ROW_ELEMENTS: usize = 4096;

/// Runs `work(row, out[row])` for all rows of `out[rows, width]`.
pub(crate) fn for_each_row<T: Send>(
    out: &mut [T],
    width: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if width == 0 {
        return;
    }
    let (rows, per_task) = (out.len() / width, ROW_ELEMENTS.div_ceil(width));
    let out = SharedMut::new(out);
    for_each(rows.div_ceil(per_task), |task| {
        for row in task * per_task..rows.min((task + 1) * per_task) {
            // SAFETY: each row belongs to one task.
            work(row, unsafe { out.slice(row * width, width) });
        }
    });
}

/// `items` through `f`, in order, as [`for_each`] spreads them.
pub(crate) fn map<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Sync) -> Vec<R> {
    let slots: Vec<Mutex<(Option<T>, Option<R>)>> = items
        .into_iter()
        .map(|item| Mutex::new((Some(item), None)))
        .collect();
    for_each(slots.len(), |i| {
        let mut slot = slots[i].lock().unwrap_or_else(PoisonError::into_inner);
        slot.1 = slot.0.take().map(&f);
    });
    slots
        .into_iter()
        .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1)
        .collect()
}

/// Threads that `for_each` would use here.
pub(crate) fn threads() -> usize {
    // SAFETY: as in `for_each`.
    unsafe { CURRENT.get().as_ref() }.map_or(1, |workers| workers.threads.len() + 1)
}

impl Shared {
    /// A worker's life.
    fn work(&self, index: usize) {
        let mut seen = 0;
        while let Some(gate) = self.wait(index, seen) {
            let inside =
                self.gate
                    .compare_exchange(gate, gate + 1, Ordering::Acquire, Ordering::Relaxed);
            if inside.is_err() {
                continue;
            }
            seen = gate / LOOP;
            // SAFETY: this thread is inside, so the job is not written.
            if let Some(job) = unsafe { *self.job.get() } {
                let done = catch_unwind(AssertUnwindSafe(|| self.tasks(job)));
                if let Err(panic) = done {
                    let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(panic);
                }
            }
            self.gate.fetch_sub(1, Ordering::Release);
        }
    }

    /// Takes tasks until none is left.
    fn tasks(&self, job: Job) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= job.tasks {
                return;
            }
            // SAFETY: the caller is inside the loop or its owner, so the closure lives.
            unsafe { (*job.task)(task) };
        }
    }

    /// The gate of a loop other than `seen`, once one is open; `None` at the end.
    fn wait(&self, index: usize, seen: u64) -> Option<u64> {
        let mut since = None;
        let mut spins = 0u32;
        loop {
            let gate = self.gate.load(Ordering::SeqCst);
            if gate & OPEN != 0 && gate / LOOP != seen {
                return Some(gate);
            }
            spin_loop();
            spins += 1;
            if !spins.is_multiple_of(SPINS) {
                continue;
            }
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            if since.get_or_insert_with(Instant::now).elapsed() < SPIN {
                continue;
            }
            let sleeping = &self.sleeping[index];
            sleeping.store(true, Ordering::SeqCst);
            let gate = self.gate.load(Ordering::SeqCst);
            let open = gate & OPEN != 0 && gate / LOOP != seen;
            if !open && !self.stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            sleeping.store(false, Ordering::SeqCst);
            since = None;
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Puts the thread's former workers back.
struct Installed(*const Workers);

impl Drop for Installed {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Shuts the gate and waits for those inside.
struct Entered<'a>(&'a Shared);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut gate = self.0.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while gate & INSIDE != 0 {
            spins += 1;
            // A worker that lost its core would be waited for in vain.
            if spins.is_multiple_of(1 << 12) {
                std::thread::yield_now();
            }
            spin_loop();
            gate = self.0.gate.load(Ordering::Acquire);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_in_each_of_many_loops() {
        for threads in [1, 2, 3, 5] {
            let mut workers = Workers::new(threads).unwrap();
            let counts: Vec<AtomicUsize> = (0..37).map(|_| AtomicUsize::new(0)).collect();
            workers.install(|| {
                for round in 0..2000 {
                    // Some rounds come after the workers fell asleep.
                    if round % 500 == 250 {
                        std::thread::sleep(2 * SPIN);
                    }
                    for_each(round % 38, |i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
            for (i, count) in counts.iter().enumerate() {
                let want = (0..2000).filter(|round| round % 38 > i).count();
                assert_eq!(count.load(Ordering::Relaxed), want, "task {i}");
            }
        }
    }

    #[test]
    fn a_loop_inside_a_task_and_one_without_workers_run_in_place() {
        let sum = AtomicUsize::new(0);
        let nested = |i| {
            assert_eq!(threads(), 1);
            for_each(3, |j| {
                sum.fetch_add(i * j, Ordering::Relaxed);
            });
        };
        let mut workers = Workers::new(2).unwrap();
        workers.install(|| {
            assert_eq!(threads(), 2);
            for_each(4, nested);
        });
        assert_eq!(threads(), 1);
        for_each(1, |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), (1 + 2 + 3) * (1 + 2));
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_workers_live_on() {
        let mut workers = Workers::new(3).unwrap();
        for _ in 0..50 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                workers.install(|| for_each(64, |i| assert_ne!(i, 40, "forty")));
            }));
            assert!(caught.is_err());
            let ran = AtomicUsize::new(0);
            workers.install(|| {
                for_each(64, |_| {
                    ran.fetch_add(1, Ordering::Relaxed);
                });
            });
            assert_eq!(ran.into_inner(), 64);
        }
    }
}
