//! The machine's sizes and pauses.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::yield_rule::YieldRule;

/// The sizes and pauses of one run. "Window" means the requests in flight, as in flow control.
#[derive(Clone, Debug)]
pub(crate) struct PipelineConfig {
    /// The most requests in flight.
    pub(crate) window: usize,
    /// The most bytes of values in flight. One value is always allowed.
    pub(crate) window_bytes: usize,
    /// The most requests that are sent at a time. It is not over the window, and not over the
    /// permits of the concurrency limit.
    pub(crate) burst: usize,
    /// The most requests that share a reply subject.
    pub(crate) group: usize,
    /// The window of a large call that yields to small ones.
    pub(crate) yield_rule: YieldRule,
    /// The pause before resending an item that nobody received.
    pub(crate) backoff: Backoff,
    /// The window after the server has denied one of the requests.
    pub(crate) window_once_denied: usize,
    /// How long the machine waits for an answer after the server has denied one of the requests.
    pub(crate) answer_timeout_once_denied: Duration,
}
