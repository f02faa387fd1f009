//! How much one instance of a component may hold in its memories and tables, all of them
//! added up: those of a star's root and of its leaves are one budget.
//!
//! It is asked before anything grows. It does NOT know who asks.

use crate::engine;
use crate::metrics::ComponentFigures;
use std::sync::Arc;
use wasmtime::ResourceLimiter;

/// The memory of one instance: one linear memory at its maximum, and half as much for the
/// rest of the star.
const INSTANCE_BYTES_MAX: usize = 192 << 20;
/// Elements of all tables of one instance: a star of nine leaves has some 20,000.
const INSTANCE_ELEMENTS_MAX: usize = 4 * engine::TABLE_ELEMENTS_MAX;

const _: () = assert!(
    INSTANCE_BYTES_MAX >= engine::MEMORY_BYTES_MAX,
    "one memory may grow to its maximum"
);

/// What one instance holds. Neither memories nor tables shrink, and none is freed before
/// the instance is: so this only grows. (What the kernel then refuses stays counted.)
#[derive(Debug, Default)]
pub(super) struct InstanceLimits {
    bytes: usize,
    elements: usize,
    figures: Arc<ComponentFigures>,
}

impl InstanceLimits {
    pub(super) fn new(figures: Arc<ComponentFigures>) -> Self {
        Self {
            bytes: 0,
            elements: 0,
            figures,
        }
    }
}

impl Drop for InstanceLimits {
    fn drop(&mut self) {
        self.figures.freed(self.bytes);
    }
}

/// Grows `held` from `current` to `desired`, if that and the sum stay within their maxima.
fn grow(
    held: &mut usize,
    (current, desired): (usize, usize),
    one_max: usize,
    sum_max: usize,
) -> bool {
    let sum = held.saturating_add(desired.saturating_sub(current));
    let fits = desired <= one_max && sum <= sum_max;
    if fits {
        *held = sum;
    }
    fits
}

impl ResourceLimiter for InstanceLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let one_max = engine::MEMORY_BYTES_MAX.min(maximum.unwrap_or(usize::MAX));
        let growth = (current, desired);
        let held = self.bytes;
        let fits = grow(&mut self.bytes, growth, one_max, INSTANCE_BYTES_MAX);
        if self.bytes > held {
            self.figures.grew(self.bytes - held, self.bytes);
        }
        Ok(fits)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let one_max = engine::TABLE_ELEMENTS_MAX.min(maximum.unwrap_or(usize::MAX));
        let growth = (current, desired);
        Ok(grow(
            &mut self.elements,
            growth,
            one_max,
            INSTANCE_ELEMENTS_MAX,
        ))
    }

    fn memories(&self) -> usize {
        engine::MEMORIES_PER_COMPONENT_MAX as usize
    }

    fn tables(&self) -> usize {
        engine::TABLES_PER_COMPONENT_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_memories_of_an_instance_are_one_budget() {
        let mut limits = InstanceLimits::default();
        let mut check = |current: usize, desired: usize, fits: bool| {
            let answer = limits.memory_growing(current * MIB, desired * MIB, None);
            assert_eq!(answer.unwrap(), fits, "{current} to {desired} MiB");
        };
        check(0, 1, true);
        check(1, 129, false);
        check(1, 128, true);
        check(0, 64, true);
        // All 192 are taken; what was refused before is not among them.
        check(0, 1, false);
        check(64, 65, false);
        check(64, 64, true);
    }

    #[test]
    fn a_memory_stays_within_its_own_maximum() {
        let mut limits = InstanceLimits::default();
        assert!(!limits.memory_growing(0, 2 * MIB, Some(MIB)).unwrap());
        assert!(limits.memory_growing(0, MIB, Some(MIB)).unwrap());
    }

    #[test]
    fn so_are_the_tables() {
        let mut limits = InstanceLimits::default();
        let one = engine::TABLE_ELEMENTS_MAX;
        assert!(!limits.table_growing(0, one + 1, None).unwrap());
        for _ in 0..4 {
            assert!(limits.table_growing(0, one, None).unwrap());
        }
        assert!(!limits.table_growing(0, 1, None).unwrap());
    }
}
