//! What the invocations under way may take together.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::memory_budget::MemoryBudget;

/// Bytes of parameters held at once, at most: eight batches of the default `max_batch_bytes`.
const MAX_PARAMETER_BYTES: usize = 512 * 1024 * 1024;

/// Bytes of answers held at once, at most, unless the configuration says otherwise.
pub(crate) const DEFAULT_MAX_RESPONSE_BYTES: usize = 512 * 1024 * 1024;

/// Invocations under way, at most. Those that come while it is full wait in their subscriptions,
/// which the client bounds in turn.
const MAX_INVOCATIONS: usize = 16_384;

/// Invocations whose parameters are waited for, at most. Most come whole in their first message,
/// and need no permit.
const MAX_INCOMPLETE: usize = 4096;

/// The most acceptances that are being sent at once to callers that still owe parameters. Without
/// this bound, the acceptances for thousands of abandoned invocations would delay what other calls
/// send.
const MAX_ACCEPTANCES: usize = 64;

/// Bounds over all calls. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct LoadLimits {
    pub(super) parameters: MemoryBudget,
    pub(super) results: MemoryBudget,
    pub(crate) invocations: Arc<Semaphore>,
    pub(crate) incomplete_params: Arc<Semaphore>,
    pub(crate) acceptance_permits: Arc<Semaphore>,
}

impl LoadLimits {
    pub(crate) fn new(max_response_bytes: usize) -> Self {
        Self {
            parameters: MemoryBudget::new(MAX_PARAMETER_BYTES),
            results: MemoryBudget::new(max_response_bytes),
            invocations: Arc::new(Semaphore::new(MAX_INVOCATIONS)),
            incomplete_params: Arc::new(Semaphore::new(MAX_INCOMPLETE)),
            acceptance_permits: Arc::new(Semaphore::new(MAX_ACCEPTANCES)),
        }
    }
}
