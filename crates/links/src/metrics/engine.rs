//! What the engine counts by itself. It is read when metrics are exported, so no call pays for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use eventual_batch_engine::{Connections, ReplicaStats, Replicas, RetryReason};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::definitions::{
    CONNECTIONS, REPLICA_BYTES, REPLICA_FALLBACKS, REPLICA_HITS, REPLICA_KEYS, REPLICA_LAG,
    REPLICA_REPAIRS, REQUESTS_RETRIED,
};
use super::{attribute, bucket_attribute};

/// The values of an instrument now, each with its attributes.
type Points<T> = Vec<(T, Vec<KeyValue>)>;

/// Where the engine's counts are read, as long as the links exist.
#[derive(Clone, Debug)]
struct EngineCounts {
    connections: Weak<Connections>,
    replicas: Weak<Replicas>,
}

/// Makes the instruments of what the engine counts.
pub(super) fn observe(meter: &Meter, connections: &Arc<Connections>, replicas: &Arc<Replicas>) {
    let counts = EngineCounts {
        connections: Arc::downgrade(connections),
        replicas: Arc::downgrade(replicas),
    };
    let read = counts.clone();
    CONNECTIONS.observe_up_down(meter, move || read.connections());
    let read = counts.clone();
    REQUESTS_RETRIED.observe_count(meter, move || read.retries());
    let read = counts.clone();
    REPLICA_HITS.observe_count(meter, move || read.of_replicas(|replica| replica.hits));
    let read = counts.clone();
    REPLICA_FALLBACKS.observe_count(meter, move || read.fallbacks());
    let read = counts.clone();
    REPLICA_REPAIRS.observe_count(meter, move || read.of_replicas(|replica| replica.repairs));
    let read = counts.clone();
    REPLICA_KEYS.observe_up_down(meter, move || {
        read.of_replicas(|replica| signed(replica.keys))
    });
    let read = counts.clone();
    REPLICA_BYTES.observe_up_down(meter, move || {
        read.of_replicas(|replica| signed(replica.bytes))
    });
    REPLICA_LAG.observe_seconds(meter, move || counts.lags());
}

impl EngineCounts {
    fn connections(&self) -> Points<i64> {
        let Some(connections) = self.connections.upgrade() else {
            return Vec::new();
        };
        let stats = connections.stats();
        let point = |count, state| (signed(count), vec![KeyValue::new(attribute::STATE, state)]);
        vec![point(stats.up, "up"), point(stats.down, "down")]
    }

    fn retries(&self) -> Points<u64> {
        let Some(connections) = self.connections.upgrade() else {
            return Vec::new();
        };
        let retries = connections.stats().retries.into_iter();
        let point = |(reason, count)| (count, vec![reason_attribute(RetryReason::name(reason))]);
        retries.map(point).collect()
    }

    fn replicas(&self) -> BTreeMap<String, ReplicaStats> {
        match self.replicas.upgrade() {
            Some(replicas) => replicas.stats(),
            None => BTreeMap::new(),
        }
    }

    fn of_replicas<T>(&self, value: impl Fn(&ReplicaStats) -> T) -> Points<T> {
        let replicas = self.replicas().into_iter();
        let point = |(bucket, stats): (String, ReplicaStats)| {
            (value(&stats), vec![bucket_attribute(&bucket)])
        };
        replicas.map(point).collect()
    }

    fn fallbacks(&self) -> Points<u64> {
        let mut points = Vec::new();
        for (bucket, stats) in self.replicas() {
            let bucket = bucket_attribute(&bucket);
            points.extend(stats.fallbacks.into_iter().map(|(reason, count)| {
                (count, vec![bucket.clone(), reason_attribute(reason.name())])
            }));
        }
        points
    }

    /// Not a number for a bucket without a complete copy. Without any value, the exporter would go
    /// on with the last one.
    fn lags(&self) -> Points<f64> {
        self.of_replicas(|replica| replica.age.map_or(f64::NAN, |age| age.as_secs_f64()))
    }
}

fn reason_attribute(name: &'static str) -> KeyValue {
    KeyValue::new(attribute::REASON, name)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
