//! wasmtime, configured: the pooling allocator with its maxima, epoch interruption, and the
//! ticker that advances the epoch.
//!
//! It knows numbers and the engine; it does NOT know components, requests or grants.

use std::time::Duration;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

/// How often a busy component yields to its neighbours. Spin has 10 ms, which a neighbour
/// of four endless loops waits for several times in one request.
pub(crate) const TICK: Duration = Duration::from_millis(2);
/// Instances of all components together. Spin's figure.
pub(crate) const INSTANCES_MAX: u32 = 1_000;
/// The most that one linear memory may grow to.
pub(crate) const MEMORY_BYTES_MAX: usize = 128 << 20;
/// Memories of all instances together: a star of nine leaves has ten or more.
const MEMORIES_MAX: u32 = 4_000;
/// Core instances within one component; a star of nine leaves has some sixty.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 1_000;
/// Memories within one component.
pub(crate) const MEMORIES_PER_COMPONENT_MAX: u32 = 64;
/// Tables within one component.
pub(crate) const TABLES_PER_COMPONENT_MAX: u32 = 256;
/// Elements in one table; the function table of a 12 MB guest has some 40,000.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Stacks of all tasks together: many per instance when requests share one.
const STACKS_MAX: u32 = 20_000;
/// How much of a memory stays mapped when its slot is free, so that reuse needs no fault.
const MEMORY_KEEP_BYTES: usize = 256 << 10;

const _: () = assert!(
    MEMORIES_MAX >= INSTANCES_MAX,
    "an instance has at least one memory"
);

/// Makes the engine.
///
/// # Errors
/// When the address space does not even hold the smallest pool.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    // A reservation of 4 GiB a memory saves every bounds check; where the address space
    // is limited, memories are as large as they may grow, and checked.
    match Engine::new(&config(None)) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            tracing::warn!(%error, "the address space is limited; memories get bounds checks");
            Engine::new(&config(Some(MEMORY_BYTES_MAX as u64)))
        }
    }
}

fn config(reservation: Option<u64>) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * 64)
        .total_memories(MEMORIES_MAX)
        .total_tables(MEMORIES_MAX * 4)
        .total_stacks(STACKS_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(1 << 20)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(MEMORY_KEEP_BYTES)
        .table_keep_resident(16 << 10)
        .max_unused_warm_slots(INSTANCES_MAX / 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    if let Some(bytes) = reservation {
        config.memory_reservation(bytes).memory_guard_size(64 << 10);
    }
    config
}

/// Advances the epoch every [`TICK`] until the engine is gone.
pub(crate) fn start_ticker(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("epoch".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })?;
    Ok(())
}
