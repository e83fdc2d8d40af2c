//! What is measured of watched buckets.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::bucket_attribute;
use super::definitions::{WATCH_DELIVERED, WATCH_GIVEN_UP, WATCH_LAG, WATCH_REDELIVERED};

#[derive(Clone, Debug)]
pub(super) struct WatchInstruments {
    delivered: Counter<u64>,
    redelivered: Counter<u64>,
    given_up: Counter<u64>,
    lag: Histogram<f64>,
}

impl WatchInstruments {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            delivered: WATCH_DELIVERED.counter(meter),
            redelivered: WATCH_REDELIVERED.counter(meter),
            given_up: WATCH_GIVEN_UP.counter(meter),
            lag: WATCH_LAG.seconds(meter),
        }
    }
}

/// Counts the changes of one watched bucket. Made by
/// [`Links::watch_metrics`](crate::Links::watch_metrics).
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    instruments: WatchInstruments,
    attributes: [KeyValue; 1],
}

impl WatchMetrics {
    pub(super) fn new(instruments: WatchInstruments, bucket: &str) -> Self {
        let attributes = [bucket_attribute(bucket)];
        // Whoever watches for growth has to see a zero first.
        instruments.delivered.add(0, &attributes);
        instruments.redelivered.add(0, &attributes);
        instruments.given_up.add(0, &attributes);
        Self {
            instruments,
            attributes,
        }
    }

    /// A component has taken a change, this long after the server had stored it. `None`: the change
    /// is older than the watch.
    pub fn delivered(&self, lag: Option<Duration>) {
        let WatchInstruments {
            delivered,
            lag: lags,
            ..
        } = &self.instruments;
        delivered.add(1, &self.attributes);
        if let Some(lag) = lag {
            lags.record(lag.as_secs_f64(), &self.attributes);
        }
    }

    /// A component did not take a change: it failed, it was not there, or its time was over.
    pub fn not_taken(&self) {
        self.instruments.redelivered.add(1, &self.attributes);
    }

    /// A change was given up: no try is left.
    pub fn given_up(&self) {
        self.instruments.given_up.add(1, &self.attributes);
    }
}
