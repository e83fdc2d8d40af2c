//! What is measured of calls.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use super::definitions::{CALLS_IN_FLIGHT, CALLS_SHED, KEYS, OPERATION_DURATION};
use super::{ShedReason, attribute};

/// The `error.type` of a call that was cut off before it had an outcome.
pub(crate) const CANCELLED: &str = "cancelled";

/// The instruments of calls.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    duration: Histogram<f64>,
    keys: Histogram<u64>,
    in_flight: UpDownCounter<i64>,
    shed: Counter<u64>,
}

impl CallMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let shed = CALLS_SHED.counter(meter);
        for reason in ShedReason::ALL {
            // Whoever watches for growth has to see a zero first.
            shed.add(0, &[reason_attribute(reason)]);
        }
        Self {
            duration: OPERATION_DURATION.seconds(meter),
            keys: KEYS.numbers(meter),
            in_flight: CALLS_IN_FLIGHT.up_down_counter(meter),
            shed,
        }
    }

    /// Counts a call until the result is dropped.
    pub(crate) fn begin(&self, operation: &'static str) -> InFlightCall {
        let attributes = [operation_attribute(operation)];
        self.in_flight.add(1, &attributes);
        InFlightCall {
            in_flight: self.in_flight.clone(),
            attributes,
        }
    }

    pub(crate) fn keys(&self, operation: &'static str, bucket: &KeyValue, keys: usize) {
        let keys = u64::try_from(keys).unwrap_or(u64::MAX);
        let attributes = [operation_attribute(operation), bucket.clone()];
        self.keys.record(keys, &attributes);
    }

    /// Notes that a call has ended. `bucket` is `None` if the call reached no bucket, `error` the
    /// name of the error's kind, or [`CANCELLED`].
    pub(crate) fn ended(
        &self,
        operation: &'static str,
        bucket: Option<&KeyValue>,
        error: Option<&'static str>,
        took: Duration,
    ) {
        let seconds = took.as_secs_f64();
        let system = KeyValue::new(attribute::SYSTEM, attribute::NATS);
        let operation = operation_attribute(operation);
        let error = error.map(|kind| KeyValue::new(attribute::ERROR, kind));
        // As slices of arrays, because this is done for each call.
        match (bucket.cloned(), error) {
            (Some(bucket), None) => self.duration.record(seconds, &[system, operation, bucket]),
            (Some(bucket), Some(error)) => {
                self.duration
                    .record(seconds, &[system, operation, bucket, error]);
            }
            (None, None) => self.duration.record(seconds, &[system, operation]),
            (None, Some(error)) => self.duration.record(seconds, &[system, operation, error]),
        }
    }

    pub(crate) fn shed(&self, reason: ShedReason) {
        self.shed.add(1, &[reason_attribute(reason)]);
    }
}

fn reason_attribute(reason: ShedReason) -> KeyValue {
    KeyValue::new(attribute::REASON, reason.name())
}

fn operation_attribute(operation: &'static str) -> KeyValue {
    KeyValue::new(attribute::OPERATION, operation)
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct InFlightCall {
    in_flight: UpDownCounter<i64>,
    attributes: [KeyValue; 1],
}

impl Drop for InFlightCall {
    fn drop(&mut self) {
        self.in_flight.add(-1, &self.attributes);
    }
}
