//! The memory of large requests and of large answers: all that this instance serves at once
//! have one budget, so that none of them can end the others with the instance.
//!
//! It keeps nothing once the last of them is gone, and does NOT measure anything by itself.

use std::cell::Cell;

/// Of the 128 MiB that the host gives to one memory; the rest is for 16 small requests, each
/// with a backend's events (2 MiB), and for the code's own.
const BUDGET_BYTES: usize = 80 << 20;
/// What is smaller is not counted: 16 of them are 1 MiB.
const SMALL_BYTES: usize = 64 << 10;

thread_local! {
    static TAKEN_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// The budget is used up by others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A share of the budget, given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share(usize);

impl Share {
    /// Takes more, for something that has `bytes` now and of which there are `copies` at most.
    pub(crate) fn grow_to(&mut self, bytes: usize, copies: usize) -> Result<(), Full> {
        let wanted = bytes.saturating_mul(copies);
        if bytes <= SMALL_BYTES || wanted <= self.0 {
            return Ok(());
        }
        let others = TAKEN_BYTES.get() - self.0;
        if wanted > BUDGET_BYTES.saturating_sub(others) {
            return Err(Full);
        }
        TAKEN_BYTES.set(others + wanted);
        self.0 = wanted;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        TAKEN_BYTES.set(TAKEN_BYTES.get() - self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back_and_the_small_always_fits() {
        let mut first = Share::default();
        assert_eq!(first.grow_to(BUDGET_BYTES / 4, 3), Ok(()));
        assert_eq!(first.grow_to(BUDGET_BYTES, 1), Ok(()));
        assert_eq!(first.grow_to(BUDGET_BYTES + 1, 1), Err(Full));
        let mut second = Share::default();
        assert_eq!(second.grow_to(SMALL_BYTES, 6), Ok(()));
        assert_eq!(second.grow_to(SMALL_BYTES + 1, 6), Err(Full));
        drop(first);
        assert_eq!(second.grow_to(SMALL_BYTES + 1, 6), Ok(()));
        drop(second);
        assert_eq!(TAKEN_BYTES.get(), 0);
    }
}
