//! The most memory that a test's code held at once, on its own thread. Tests only.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD_BYTES: Cell<usize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn held(change: impl FnOnce(usize) -> usize) {
    let bytes = change(HELD_BYTES.get());
    HELD_BYTES.set(bytes);
    PEAK_BYTES.set(PEAK_BYTES.get().max(bytes));
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        held(|bytes| bytes.wrapping_add(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // What another thread took may be given back here.
        held(|bytes| bytes.saturating_sub(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

/// Runs `work`: its result, and the most bytes that were held meanwhile over those before. A
/// block that grows is held twice while it is moved.
pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD_BYTES.get();
    PEAK_BYTES.set(before);
    let result = work();
    (result, PEAK_BYTES.get().saturating_sub(before))
}

#[test]
fn what_is_held_at_once_is_counted() {
    let (_, peak) = of(|| {
        drop(vec![0_u8; 3_000]);
        vec![0_u8; 2_000]
    });
    assert_eq!(peak, 3_000);
}
