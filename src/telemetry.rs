//! The last export of metrics.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::{InstrumentProvider, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, global};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long the collector may take for it.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// Exports the metrics once more, in 2 s at most. Nothing that is counted later is exported.
///
/// The SDK has the provider of meters, and no function that flushes it. Another one takes its
/// place, so that it is dropped, which exports what it has. Where metrics are off, nothing happens.
pub(crate) async fn export_last_metrics() {
    // The drop waits for a task of the runtime.
    let last = spawn_blocking(|| global::set_meter_provider(NoMeters));
    if timeout(LAST_EXPORT, last).await.is_err() {
        tracing::warn!("the collector did not take the last metrics in time");
    }
}

/// Makes meters that measure nothing.
struct NoMeters;

impl InstrumentProvider for NoMeters {}

impl MeterProvider for NoMeters {
    fn meter_with_scope(&self, _: InstrumentationScope) -> Meter {
        Meter::new(Arc::new(Self))
    }
}
