//! The wasmtime engine: where instances come from, and how they are made to yield.

use std::thread;
use std::time::Duration;

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, ResourcesRequired, Result,
};

/// How long an instance computes before others get their turn.
const SLICE: Duration = Duration::from_millis(5);

/// How many bytes of each memory, and of each table, stay resident for the next request.
///
/// They are overwritten when their instance ends. The kernel need not unmap them, and the next
/// request causes no page faults there. With twice as much there was no difference that shows.
///
/// `PoolingAllocationConfig::pagemap_scan` would make more of it worthwhile. But with it wasmtime
/// does not reset a page that the kernel has swapped out (bytecodealliance/wasmtime#14357), and the
/// next request could read it.
const KEPT_RESIDENT: usize = 64 * 1024;

/// How much of the pool's address space one instance may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolShare {
    memories: u32,
    tables: u32,
    /// Elements of each table.
    elements: usize,
}

/// Enough for most components.
pub(super) const COMMON: PoolShare = PoolShare {
    memories: 4,
    tables: 8,
    elements: 20_000,
};

/// Enough for components that consist of many modules, such as those of interpreters.
pub(super) const LARGE: PoolShare = PoolShare {
    memories: 32,
    tables: 64,
    elements: 1_000_000,
};

impl PoolShare {
    pub(super) fn is_enough_for(self, required: &ResourcesRequired) -> bool {
        let elements = required.max_initial_table_size.unwrap_or_default();
        required.num_memories <= self.memories
            && required.num_tables <= self.tables
            && elements <= self.elements as u64
    }
}

/// An engine with room for so many instances at once.
pub(super) fn new(instances: u32, share: PoolShare) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_memories(instances.saturating_mul(share.memories))
        .total_tables(instances.saturating_mul(share.tables))
        .table_elements(share.elements)
        // These are allocated as large as each component needs them.
        .total_core_instances(u32::MAX)
        .max_component_instance_size(64 << 20)
        .max_core_instance_size(64 << 20)
        .max_memories_per_module(share.memories)
        .max_tables_per_module(share.tables)
        .table_keep_resident(KEPT_RESIDENT)
        .linear_memory_keep_resident(KEPT_RESIDENT);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Makes every instance yield after each slice of time, for as long as the engine lives.
///
/// This is a thread of its own: where all threads of the runtime compute, no task of it would run.
pub(super) fn start_clock(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(SLICE);
        }
    };
    thread::Builder::new()
        .name("epoch".to_owned())
        .spawn(tick)
        .map(drop)
}
