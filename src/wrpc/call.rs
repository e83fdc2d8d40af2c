//! A wRPC call: its caller by the headers that the host sends, and the bounds on its parameters.

use std::sync::Arc;

use eventual_batch_engine::{CountedSize, Kind};
use eventual_batch_links::{Call, CallError, CallOrigin, Links};
use lattice_nats::HeaderMap;
use wasmcloud_provider_sdk::provider::invocation_context;

use super::memory_budget::MemoryBudget;
use super::request::Request;

/// The header in which the host names the caller.
const SOURCE_ID: &str = "source-id";

/// The call that an invocation with these headers is.
pub(super) fn call(
    links: &Arc<Links>,
    operation: &'static str,
    headers: Option<&HeaderMap>,
) -> Call {
    Call::new(links, operation, || {
        let context = headers.map(invocation_context).unwrap_or_default();
        // Without the header the SDK's context names a component all the same.
        let named = headers.is_some_and(|headers| headers.get(SOURCE_ID).is_some());
        CallOrigin {
            link: context.link_name().to_owned(),
            caller: context.component.filter(|_| named),
        }
    })
}

/// The maximum number of bytes read of the parameters. It is far above what the link allows in a
/// batch. So a batch a little too large is still read, and answered with what is wrong with it.
pub(super) fn max_parameter_bytes(call: &Call) -> u64 {
    const ROOM: u64 = 64 * 1024;
    let max = call.limits().map_or(0, |limits| limits.max_batch_bytes);
    let max = u64::try_from(max).unwrap_or(u64::MAX);
    max.saturating_mul(2).saturating_add(ROOM)
}

/// The error for parameters of more than [`max_parameter_bytes`].
pub(super) fn too_many_bytes(call: &Call) -> CallError {
    match call.limits() {
        Ok(limits) => limits.too_many_bytes(CountedSize::OverTwice).into(),
        Err(error) => error.into(),
    }
}

/// The maximum number of elements of a batch that are read.
pub(super) fn max_keys(call: &Call) -> usize {
    // Small parameters of a caller without a link are read, so that it gets the error that it has
    // no link.
    const NOT_LINKED: usize = 1024;
    call.limits()
        .map_or(NOT_LINKED, |limits| limits.max_batch_keys)
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
    CallError::Rejected {
        kind: Kind::Unavailable,
        reason: format!(
            "the parameters of the calls under way take the {} MiB that this provider keeps for them: \
             try again later, with smaller batches, or run more instances",
            budget.mebibytes()
        ),
    }
}

/// `delete-many`, which is the same in both interfaces but for the type of its error.
pub(crate) async fn delete_many<E: From<CallError>>(
    request: Request<(String, Vec<String>)>,
) -> (Result<(), E>,) {
    request
        .answer(|call, (name, keys)| async move {
            call.run(&name, Some(keys.len()), |bucket, deadline| async move {
                Ok(bucket.delete_many(keys, deadline).await?)
            })
            .await
        })
        .await
}
