//! When more is asked than can be done: how hard this process is pressed, and which share of
//! new requests is refused for it.
//!
//! Two things are measured ten times a second: the memory that the process uses, and how
//! long its own tasks stand in line for a core. A line that never empties within a tenth of
//! a second is a standing queue, which only makes everybody wait (CoDel: Nichols and
//! Jacobson, 2012); the share that is refused grows until the line does empty, and shrinks
//! from then on. (Busy components have a queue of their own: `lanes.rs`.) It does NOT know
//! who asks.

use crate::limits::Limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often the line is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Looks until the share is set anew.
const LOOKS: usize = 10;
/// All of them.
const WHOLE: u32 = 1_000;
/// The most that is refused for a standing queue: some are always served, and show whether
/// it is still there.
const QUEUE_SHED_MAX: u32 = 950;
/// The share of the memory's limit from which on requests are refused, in thousandths; at
/// the limit itself all are.
const MEMORY_PRESSED: u64 = 900;
/// Bytes of a page, as statm counts them on the machines that Linux servers run on.
const PAGE_BYTES: u64 = 4 << 10;

/// The share of new requests that is refused.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// Of a thousand new requests so many are refused.
    shed: AtomicU32,
    /// What is owed of that.
    owed: AtomicU32,
}

impl Share {
    /// Is this request served? The refused ones are spread evenly among the others.
    pub(crate) fn admits(&self) -> bool {
        let shed = self.shed.load(Relaxed);
        if shed == 0 {
            return true;
        }
        let owed = self.owed.fetch_add(shed, Relaxed) % WHOLE;
        owed + shed < WHOLE
    }
}

/// Starts measuring, for as long as somebody asks for the share of all requests.
pub(crate) fn watch(limits: &Limits) -> Arc<Share> {
    let share = Arc::<Share>::default();
    let watched = Arc::downgrade(&share);
    let (delay_max, memory_max) = (limits.queue_delay_max, memory_max(limits));
    tokio::spawn(async move {
        let mut for_queue = 0;
        while let Some(share) = watched.upgrade() {
            for_queue = share_for_queue(for_queue, least_delay().await, delay_max);
            let for_memory = share_for_memory(resident_bytes(std::process::id()), memory_max);
            share.shed.store(for_queue.max(for_memory), Relaxed);
        }
    });
    share
}

/// The shortest time that a task stood in line, of some looks.
async fn least_delay() -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..LOOKS {
        let start = Instant::now();
        tokio::time::sleep(LOOK).await;
        least = least.min(start.elapsed().saturating_sub(LOOK));
    }
    least
}

/// The next share for a queue: more while it stands, less once it does not.
fn share_for_queue(share: u32, least: Duration, most: Duration) -> u32 {
    if least > most {
        (share + 50 + share / 4).min(QUEUE_SHED_MAX)
    } else {
        share - share.div_ceil(10)
    }
}

/// The share for the memory that is used; `None` is no limit.
fn share_for_memory(used: Option<u64>, most: Option<u64>) -> u32 {
    let (Some(used), Some(most)) = (used, most) else {
        return 0;
    };
    let filled = used.saturating_mul(1_000) / most.max(1);
    let above = filled.saturating_sub(MEMORY_PRESSED) * u64::from(WHOLE);
    let share = above / (1_000 - MEMORY_PRESSED);
    u32::try_from(share).unwrap_or(WHOLE).min(WHOLE)
}

/// Memory of a process that is in use (proc(5): statm's second number).
pub(crate) fn resident_bytes(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

/// What the process may use: what was said, else what its control group or the machine has.
fn memory_max(limits: &Limits) -> Option<u64> {
    if limits.memory_mib < usize::MAX {
        return u64::try_from(limits.memory_mib).ok().map(|mib| mib << 20);
    }
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max");
    let group = group.ok().and_then(|text| text.trim().parse().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(total_bytes);
    match (group, machine) {
        (Some(group), Some(machine)) => Some(u64::min(group, machine)),
        (group, machine) => group.or(machine),
    }
}

/// `MemTotal` of proc(5)'s meminfo.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(shed: u32, of: usize) -> usize {
        let share = Share::default();
        share.shed.store(shed, Relaxed);
        (0..of).filter(|_| share.admits()).count()
    }

    #[test]
    fn the_share_is_what_is_refused() {
        assert_eq!(admitted(0, 1_000), 1_000);
        assert_eq!(admitted(250, 1_000), 750);
        assert_eq!(admitted(950, 1_000), 50);
        assert_eq!(admitted(WHOLE, 1_000), 0);
    }

    #[test]
    fn a_standing_queue_is_shed_until_it_is_gone() {
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(50));
        let most = Duration::from_millis(10);
        let mut share = 0;
        let mut rose = 0;
        while share < QUEUE_SHED_MAX {
            let next = share_for_queue(share, long, most);
            assert!(next > share);
            (share, rose) = (next, rose + 1);
        }
        assert!(rose < 20, "within two seconds");
        let mut fell = 0;
        while share > 0 {
            (share, fell) = (share_for_queue(share, short, most), fell + 1);
        }
        assert!((20..100).contains(&fell), "slower than it rose: {fell}");
    }

    #[test]
    fn memory_is_shed_for_from_nine_tenths_on() {
        let share = |used: u64| share_for_memory(Some(used), Some(1_000));
        assert_eq!((share(0), share(900)), (0, 0));
        assert_eq!(
            (share(950), share(1_000), share(2_000)),
            (500, WHOLE, WHOLE)
        );
        assert_eq!(share_for_memory(Some(1), None), 0);
        assert_eq!(
            total_bytes("MemTotal:   16 kB\nMemFree: 1 kB\n"),
            Some(16 << 10)
        );
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 20);
    }
}
