//! The call of an invocation: who calls over which link, by the headers that the host sends.

use std::sync::Arc;

use eventual_batch_links::{Call, CallOrigin, DEFAULT_LINK, Links};
use lattice_nats::HeaderMap;
use wasmcloud_provider_sdk::core::TraceContext;
use wasmcloud_provider_sdk::wasmcloud_tracing::context::get_span_context;

/// The header in which the host names the caller.
const SOURCE_ID: &str = "source-id";

/// The header in which the host names the caller's link.
const LINK_NAME: &str = "link-name";

/// The headers of W3C Trace Context.
const TRACE_CONTEXT: [&str; 2] = ["traceparent", "tracestate"];

/// The call that an invocation with these headers is. Its span belongs to the caller's trace.
pub(super) fn incoming_call(
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
