//! A wRPC call: its caller by the headers that the host sends, and the bounds on its parameters.

use std::sync::Arc;

use eventual_batch_engine::CountedSize;
use eventual_batch_links::{Call, CallError, CallOrigin, DEFAULT_LINK, Links, ShedReason};
use lattice_nats::HeaderMap;
use wasmcloud_provider_sdk::core::TraceContext;
use wasmcloud_provider_sdk::wasmcloud_tracing::context::get_span_context;

use super::memory_budget::MemoryBudget;
use super::request::Request;

/// The header in which the host names the caller.
const SOURCE_ID: &str = "source-id";

/// The header in which the host names the caller's link.
const LINK_NAME: &str = "link-name";

/// The headers of W3C Trace Context.
const TRACE_CONTEXT: [&str; 2] = ["traceparent", "tracestate"];

/// The call that an invocation with these headers is. Its span belongs to the caller's trace.
pub(super) fn call(
    links: &Arc<Links>,
    operation: &'static str,
    headers: Option<&HeaderMap>,
) -> Call {
    let header = |name| headers?.get(name).map(|value| value.as_str().to_owned());
    let origin = CallOrigin {
        caller: header(SOURCE_ID),
        link: header(LINK_NAME).unwrap_or_else(|| DEFAULT_LINK.to_owned()),
    };
    let trace = TRACE_CONTEXT.map(|name| header(name).map(|value| (name.to_owned(), value)));
    let trace: TraceContext = trace.into_iter().flatten().collect();
    // A span's parent is what is attached when the span is made. Later it cannot be set any more.
    let _attached = (!trace.is_empty()).then(|| get_span_context(&trace).attach());
    Call::new(links, operation, origin)
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
    CallError::Shed {
        reason: ShedReason::ParameterMemory,
        text: format!(
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
