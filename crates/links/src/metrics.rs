//! Metrics of calls, by OpenTelemetry.
//!
//! A front end gives [`Links`](crate::Links) the meter of its program. Each instrument is made
//! once, from its entry in [`METRICS`]. An attribute is one of a bounded set: the name of an
//! operation, of a bucket that a link grants, or of a case. No attribute holds a key, a value or a
//! secret.

mod calls;
mod definitions;
mod engine;
mod shed;
mod watch;

use std::sync::Arc;

use eventual_batch_engine::{Connections, Replicas};
use opentelemetry::metrics::Meter;
use opentelemetry::{KeyValue, StringValue};

pub(crate) use calls::{CANCELLED, CallMetrics, InFlightCall};
pub use definitions::{METRICS, MetricDefinition, MetricKind};
pub use shed::ShedReason;
use watch::WatchInstruments;
pub use watch::WatchMetrics;

/// The attributes. Those of databases have the names of OpenTelemetry's conventions.
pub(crate) mod attribute {
    pub(crate) const SYSTEM: &str = "db.system.name";
    pub(crate) const OPERATION: &str = "db.operation.name";
    pub(crate) const BUCKET: &str = "db.collection.name";
    pub(crate) const ERROR: &str = "error.type";
    pub(crate) const REASON: &str = "reason";
    pub(crate) const STATE: &str = "state";

    /// The value of [`SYSTEM`].
    pub(crate) const NATS: &str = "nats";
}

/// All instruments of one meter.
#[derive(Debug)]
pub(crate) struct LinkMetrics {
    pub(crate) calls: CallMetrics,
    watch: WatchInstruments,
}

impl LinkMetrics {
    pub(crate) fn new(
        meter: &Meter,
        connections: &Arc<Connections>,
        replicas: &Arc<Replicas>,
    ) -> Self {
        engine::observe(meter, connections, replicas);
        Self {
            calls: CallMetrics::new(meter),
            watch: WatchInstruments::new(meter),
        }
    }

    pub(crate) fn watch(&self, bucket: &str) -> WatchMetrics {
        WatchMetrics::new(self.watch.clone(), bucket)
    }
}

/// The attribute that names a bucket. Copies share the name.
pub(crate) fn bucket_attribute(bucket: &str) -> KeyValue {
    KeyValue::new(
        attribute::BUCKET,
        StringValue::from(Arc::<str>::from(bucket)),
    )
}

#[cfg(test)]
mod tests;
