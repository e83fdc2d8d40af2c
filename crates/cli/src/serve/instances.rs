//! The stores of the component's instances, and what is told of those that failed.

use std::any::Any;
use std::sync::Arc;

use eventual_batch_wasmtime::KeyValueHost;
use tokio::runtime::Handle;
use tracing::{debug, warn};
use wasmtime::{Engine, Store};

use super::fair_share::ComputeTurns;
use super::guest::GuestState;
use super::limits::BatchLimits;

/// What the instances of the component have in common.
#[derive(Clone)]
pub(super) struct InstanceSettings {
    engine: Engine,
    key_value: KeyValueHost,
    /// Whose links the component uses.
    caller: String,
    /// Bytes of memory of one instance.
    memory: usize,
    batches: BatchLimits,
    pub(super) turns: ComputeTurns,
}

impl InstanceSettings {
    /// To be called on the runtime.
    pub(super) fn new(
        engine: Engine,
        key_value: KeyValueHost,
        caller: String,
        memory: usize,
        batches: BatchLimits,
    ) -> Self {
        Self {
            engine,
            key_value,
            caller,
            memory,
            batches,
            turns: ComputeTurns::new(Handle::current().metrics().num_workers()),
        }
    }

    /// The store of a new instance. `slot` is held until the store is dropped and the writes that began
    /// in it have ended.
    pub(super) fn store(&self, slot: Arc<dyn Any + Send + Sync>) -> Store<GuestState> {
        let context = self.key_value.context(self.caller.as_str());
        let context = context.with_guard(slot);
        let max_resources = self.batches.resources();
        let state = GuestState::new(context, self.memory, max_resources);
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_max_component_handles(self.batches.handles());
        store.set_hostcall_fuel(self.batches.call_bytes());
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }
}

/// Logs why an instance failed.
pub(super) fn log_failure(error: &wasmtime::Error, store: &Store<GuestState>) {
    let reason = error.root_cause();
    match store.data().memory.reached() {
        Some(limit) => warn!(
            %reason,
            "the component failed; it had been refused memory over the limit of {limit} bytes (--memory)"
        ),
        None => warn!(%reason, "the component failed"),
    }
    debug!("{error:?}");
}
