//! The bounds on a call's parameters, and the errors of parameters that are over them.

use eventual_batch_engine::CountedSize;
use eventual_batch_links::{Call, CallError, ShedReason};

use super::memory_budget::MemoryBudget;

/// The maximum number of bytes read of the parameters. It is twice what the link allows in a batch,
/// and some more. So a batch that is a little too large is read, and gets an error that says so.
pub(super) fn max_parameter_bytes(call: &Call) -> u64 {
    const OVERHEAD: u64 = 64 * 1024;
    let max = call.limits().map_or(0, |limits| limits.max_batch_bytes);
    let max = u64::try_from(max).unwrap_or(u64::MAX);
    max.saturating_mul(2).saturating_add(OVERHEAD)
}

/// The error for parameters of more than [`max_parameter_bytes`].
pub(super) fn too_many_bytes(call: &Call) -> CallError {
    match call.limits() {
        Ok(limits) => limits
            .too_many_bytes(CountedSize::MoreThanTwiceTheLimit)
            .into(),
        Err(error) => error.into(),
    }
}

/// The maximum number of elements of a batch that are read.
pub(super) fn max_keys(call: &Call) -> usize {
    // Small parameters of a caller without a link are read, so that it gets the error that it has
    // no link.
    const MAX_KEYS_WITHOUT_LINK: usize = 1024;
    call.limits()
        .map_or(MAX_KEYS_WITHOUT_LINK, |limits| limits.max_batch_keys)
}

/// The error for a batch of more than [`max_keys`].
pub(super) fn too_many_keys(call: &Call, keys: usize) -> CallError {
    match call.limits() {
        Ok(limits) => limits.too_many_keys(keys).into(),
        Err(error) => error.into(),
    }
}

/// The error for parameters that are over the process's memory budget.
pub(super) fn no_memory(budget: &MemoryBudget) -> CallError {
    CallError::Shed {
        reason: ShedReason::ParameterMemory,
        text: format!(
            "the provider's memory for parameters is used up ({} MiB for all calls together): try \
             again later, with smaller batches, or run more instances",
            budget.mebibytes()
        ),
    }
}
