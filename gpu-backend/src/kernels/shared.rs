//! A slice that several tasks of one kernel write at disjoint places.
//! Knows nothing of what is written.

#![expect(
    unsafe_code,
    reason = "disjoint writes from several threads into one slice"
)]

use std::marker::PhantomData;

/// A mutable slice shared by the tasks of one parallel loop.
///
/// Invariant: no two tasks touch the same element; each kernel says why.
pub(crate) struct SharedMut<'a, T> {
    base: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: access is through `unsafe` methods only, whose callers promise disjointness.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            base: slice.as_mut_ptr(),
            len: slice.len(),
            life: PhantomData,
        }
    }

    /// # Safety
    /// `index` is inside the slice, and no other task uses the element.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, index: usize) -> *mut T {
        debug_assert!(index < self.len, "{index} of {}", self.len);
        // SAFETY: the caller's promise.
        unsafe { self.base.add(index) }
    }

    /// # Safety
    /// The range is inside the slice, and no other task uses it.
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> &mut [T] {
        debug_assert!(start + len <= self.len, "{start}+{len} of {}", self.len);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(start), len) }
    }
}
