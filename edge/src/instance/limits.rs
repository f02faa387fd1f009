//! How much one instance of a component may hold in its memories and tables, all of them
//! added up: those of a star's root and of its leaves are one budget.
//!
//! It is asked before anything grows. It does NOT know who asks.

use crate::engine;
use crate::metrics::ComponentFigures;
use crate::turns::Turn;
use std::sync::Arc;
use wasmtime::ResourceLimiterAsync;

/// The memory of one instance: one linear memory at its maximum, and half as much for the
/// rest of the star.
const INSTANCE_BYTES_MAX: usize = 192 << 20;
/// Who takes so much at once is going to fill it, which nothing interrupts.
const LARGE_GROWTH_BYTES: usize = 4 << 20;
/// Elements of all tables of one instance: a star of nine leaves has some 20,000.
const INSTANCE_ELEMENTS_MAX: usize = 4 * engine::TABLE_ELEMENTS_MAX;

const _: () = assert!(
    INSTANCE_BYTES_MAX >= engine::MEMORY_BYTES_MAX,
    "one memory may grow to its maximum"
);

/// What one instance holds. Neither memories nor tables shrink, and none is freed before
/// the instance is: so this only grows. (What the kernel then refuses stays counted.)
#[derive(Debug)]
pub(super) struct InstanceLimits {
    bytes: usize,
    elements: usize,
    turn: Arc<Turn>,
    figures: Arc<ComponentFigures>,
}

impl InstanceLimits {
    pub(super) fn new(turn: &Arc<Turn>, figures: Arc<ComponentFigures>) -> Self {
        Self {
            bytes: 0,
            elements: 0,
            turn: Arc::clone(turn),
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

#[async_trait::async_trait]
impl ResourceLimiterAsync for InstanceLimits {
    async fn memory_growing(
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
        // A new memory's first bytes are not filled, but mapped.
        if fits && current > 0 && desired - current >= LARGE_GROWTH_BYTES {
            self.turn.take().await;
        }
        Ok(fits)
    }

    async fn table_growing(
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
    use crate::lanes::Lane;
    use crate::metrics::Metrics;
    use crate::turns::Turns;

    const MIB: usize = 1 << 20;

    fn limits() -> InstanceLimits {
        of(&Turns::new(Lane::Quick, 1, engine::TICK))
    }

    fn of(turns: &Turns) -> InstanceLimits {
        InstanceLimits::new(&Turn::new(&turns.line()), Metrics::default().component("a"))
    }

    #[tokio::test]
    async fn the_memories_of_an_instance_are_one_budget() {
        let mut limits = limits();
        for (current, desired, fits) in [
            (0, 1, true),
            (1, 129, false),
            (1, 128, true),
            (0, 64, true),
            // All 192 are taken; what was refused before is not among them.
            (0, 1, false),
            (64, 65, false),
            (64, 64, true),
        ] {
            let answer = limits.memory_growing(current * MIB, desired * MIB, None);
            assert_eq!(answer.await.unwrap(), fits, "{current} to {desired} MiB");
        }
    }

    #[tokio::test]
    async fn a_memory_stays_within_its_own_maximum() {
        let mut limits = limits();
        let grown = limits.memory_growing(0, 2 * MIB, Some(MIB)).await;
        assert!(!grown.unwrap());
        assert!(limits.memory_growing(0, MIB, Some(MIB)).await.unwrap());
    }

    #[tokio::test]
    async fn who_grows_by_much_takes_a_turn() {
        let turns = Turns::new(Lane::Quick, 1, engine::TICK);
        let holds = Turn::new(&turns.line());
        holds.take().await;
        let mut limits = of(&turns);
        // A memory's first bytes, and a little more.
        assert!(limits.memory_growing(0, 32 * MIB, None).await.unwrap());
        assert!(
            limits
                .memory_growing(32 * MIB, 33 * MIB, None)
                .await
                .unwrap()
        );
        let grows = limits.memory_growing(33 * MIB, 64 * MIB, None);
        tokio::select! {
            biased;
            _ = grows => panic!("there is no turn"),
            () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
        }
        holds.give_back();
        assert!(
            limits
                .memory_growing(33 * MIB, 64 * MIB, None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn so_are_the_tables() {
        let mut limits = limits();
        let one = engine::TABLE_ELEMENTS_MAX;
        assert!(!limits.table_growing(0, one + 1, None).await.unwrap());
        for _ in 0..4 {
            assert!(limits.table_growing(0, one, None).await.unwrap());
        }
        assert!(!limits.table_growing(0, 1, None).await.unwrap());
    }
}
