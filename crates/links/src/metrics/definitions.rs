//! The list of all metrics.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    AsyncInstrument, Counter, Histogram, InstrumentBuilder, Meter, UpDownCounter,
};

use super::attribute::{BUCKET, ERROR, OPERATION, REASON, STATE, SYSTEM};

/// What a metric measures, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDefinition {
    /// Its name. A name of OpenTelemetry's conventions for database clients means what it means
    /// there.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its unit, as UCUM writes it.
    pub unit: &'static str,
    /// What it measures.
    pub description: &'static str,
    /// The attributes that its points may have.
    pub attributes: &'static [&'static str],
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A sum that only grows.
    Counter,
    /// A sum that grows and shrinks.
    UpDownCounter,
    /// A value as it is now.
    Gauge,
    /// How often values of which size occurred.
    Histogram,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:ident, $unit:literal, [$($attribute:expr),*], $description:literal;)*) => {
        $(
            pub(super) const $constant: MetricDefinition = MetricDefinition {
                name: $name,
                kind: MetricKind::$kind,
                unit: $unit,
                description: $description,
                attributes: &[$($attribute),*],
            };
        )*

        /// All metrics that [`Links::with_metrics`](crate::Links::with_metrics) exports.
        pub const METRICS: &[MetricDefinition] = &[$($constant),*];
    };
}

metrics! {
    OPERATION_DURATION = "db.client.operation.duration", Histogram, "s",
        [SYSTEM, OPERATION, BUCKET, ERROR],
        "How long calls took, from their first message to their outcome.";
    KEYS = "eventual_batch.keys", Histogram, "{key}", [OPERATION, BUCKET],
        "How many keys calls named or listed.";
    CALLS_IN_FLIGHT = "eventual_batch.calls.in_flight", UpDownCounter, "{call}", [OPERATION],
        "Calls under way.";
    CALLS_SHED = "eventual_batch.calls.shed", Counter, "{call}", [REASON],
        "Calls and requests that were refused because the process is at one of its limits.";
    REQUESTS_RETRIED = "eventual_batch.requests.retried", Counter, "{request}", [REASON],
        "Requests to NATS that were sent again.";
    CONNECTIONS = "eventual_batch.connections", UpDownCounter, "{connection}", [STATE],
        "Connections to the NATS of buckets.";
    REPLICA_HITS = "eventual_batch.replica.hits", Counter, "{read}", [BUCKET],
        "Reads that were answered from a copy in memory.";
    REPLICA_FALLBACKS = "eventual_batch.replica.fallbacks", Counter, "{read}", [BUCKET, REASON],
        "Reads that the server answered, because the copy could not.";
    REPLICA_LAG = "eventual_batch.replica.lag", Gauge, "s", [BUCKET],
        "How long ago the copy was complete by the leader's word. Not a number: there is no copy.";
    REPLICA_KEYS = "eventual_batch.replica.keys", UpDownCounter, "{key}", [BUCKET],
        "Keys in the copy, delete markers included.";
    REPLICA_BYTES = "eventual_batch.replica.bytes", UpDownCounter, "By", [BUCKET],
        "About how much memory the copy takes.";
    REPLICA_REPAIRS = "eventual_batch.replica.repairs", Counter, "{repair}", [BUCKET],
        "How often the copy had keys that were gone, or was begun anew.";
    WATCH_DELIVERED = "eventual_batch.watch.delivered", Counter, "{change}", [BUCKET],
        "Changes that a component has taken.";
    WATCH_REDELIVERED = "eventual_batch.watch.redelivered", Counter, "{change}", [BUCKET],
        "Tries to deliver a change that the component did not take.";
    WATCH_GIVEN_UP = "eventual_batch.watch.given_up", Counter, "{change}", [BUCKET],
        "Changes that no component took in the tries that the link allows.";
    WATCH_LAG = "eventual_batch.watch.lag", Histogram, "s", [BUCKET],
        "How long after a change was stored a component had taken it.";
}

/// The bounds of histograms of times, in seconds: those of the conventions, and some between them.
const SECONDS: [f64; 15] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The bounds of histograms of numbers of keys.
const NUMBERS: [f64; 16] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5,
];

impl MetricDefinition {
    /// The bounds of the buckets of a histogram. `None`: it is none.
    #[must_use]
    pub fn boundaries(&self) -> Option<&'static [f64]> {
        match (self.kind, self.unit) {
            (MetricKind::Histogram, "s") => Some(&SECONDS),
            (MetricKind::Histogram, _) => Some(&NUMBERS),
            _ => None,
        }
    }

    pub(super) fn counter(&self, meter: &Meter) -> Counter<u64> {
        self.described(meter.u64_counter(self.name)).build()
    }

    pub(super) fn up_down_counter(&self, meter: &Meter) -> UpDownCounter<i64> {
        self.described(meter.i64_up_down_counter(self.name)).build()
    }

    /// A histogram of times in seconds.
    pub(super) fn seconds(&self, meter: &Meter) -> Histogram<f64> {
        meter
            .f64_histogram(self.name)
            .with_unit(self.unit)
            .with_description(self.description)
            .with_boundaries(SECONDS.to_vec())
            .build()
    }

    /// A histogram of numbers.
    pub(super) fn numbers(&self, meter: &Meter) -> Histogram<u64> {
        meter
            .u64_histogram(self.name)
            .with_unit(self.unit)
            .with_description(self.description)
            .with_boundaries(NUMBERS.to_vec())
            .build()
    }

    /// A counter whose values are read when it is exported.
    pub(super) fn observe_count(
        &self,
        meter: &Meter,
        read: impl Fn() -> Vec<(u64, Vec<KeyValue>)> + Send + Sync + 'static,
    ) {
        let _ = meter
            .u64_observable_counter(self.name)
            .with_unit(self.unit)
            .with_description(self.description)
            .with_callback(move |observer| tell(observer, read()))
            .build();
    }

    /// An up-down counter whose values are read when it is exported.
    pub(super) fn observe_up_down(
        &self,
        meter: &Meter,
        read: impl Fn() -> Vec<(i64, Vec<KeyValue>)> + Send + Sync + 'static,
    ) {
        let _ = meter
            .i64_observable_up_down_counter(self.name)
            .with_unit(self.unit)
            .with_description(self.description)
            .with_callback(move |observer| tell(observer, read()))
            .build();
    }

    /// A gauge of seconds whose values are read when it is exported.
    pub(super) fn observe_seconds(
        &self,
        meter: &Meter,
        read: impl Fn() -> Vec<(f64, Vec<KeyValue>)> + Send + Sync + 'static,
    ) {
        let _ = meter
            .f64_observable_gauge(self.name)
            .with_unit(self.unit)
            .with_description(self.description)
            .with_callback(move |observer| tell(observer, read()))
            .build();
    }

    fn described<'a, T>(&self, instrument: InstrumentBuilder<'a, T>) -> InstrumentBuilder<'a, T> {
        instrument
            .with_unit(self.unit)
            .with_description(self.description)
    }
}

fn tell<T>(observer: &dyn AsyncInstrument<T>, points: Vec<(T, Vec<KeyValue>)>) {
    for (value, attributes) in points {
        observer.observe(value, &attributes);
    }
}
