//! What the engine counts by itself. It is read when metrics are exported, so no call pays for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use eventual_batch_engine::{Connections, FallbackReason, ReplicaStats, Replicas, RetryReason};
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
    REPLICA_KEYS.observe_up_down(meter, move || read.of_replicas(|replica| replica.keys));
    let read = counts.clone();
    REPLICA_BYTES.observe_up_down(meter, move || read.of_replicas(|replica| replica.bytes));
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

    fn replicas(&self) -> BTreeMap<String, BucketCopies> {
        let Some(replicas) = self.replicas.upgrade() else {
            return BTreeMap::new();
        };
        let mut by_bucket = BTreeMap::<String, BucketCopies>::new();
        for (bucket, stats) in replicas.stats() {
            by_bucket.entry(bucket).or_default().add(&stats);
        }
        by_bucket
    }

    fn of_replicas<T>(&self, value: impl Fn(&BucketCopies) -> T) -> Points<T> {
        let replicas = self.replicas().into_iter();
        let point = |(bucket, copies): (String, BucketCopies)| {
            (value(&copies), vec![bucket_attribute(&bucket)])
        };
        replicas.map(point).collect()
    }

    fn fallbacks(&self) -> Points<u64> {
        let mut points = Vec::new();
        for (bucket, copies) in self.replicas() {
            let bucket = bucket_attribute(&bucket);
            points.extend(copies.fallbacks.into_iter().map(|(reason, count)| {
                (count, vec![bucket.clone(), reason_attribute(reason.name())])
            }));
        }
        points
    }

    fn lags(&self) -> Points<f64> {
        let replicas = self.replicas().into_iter();
        let point = |(bucket, copies): (String, BucketCopies)| {
            Some((copies.lag?.as_secs_f64(), vec![bucket_attribute(&bucket)]))
        };
        replicas.filter_map(point).collect()
    }
}

/// The copies of all buckets of one name together. They have different connections or domains.
#[derive(Debug, Default, PartialEq, Eq)]
struct BucketCopies {
    hits: u64,
    fallbacks: BTreeMap<FallbackReason, u64>,
    repairs: u64,
    keys: i64,
    bytes: i64,
    /// The age of the oldest.
    lag: Option<Duration>,
}

impl BucketCopies {
    fn add(&mut self, stats: &ReplicaStats) {
        self.hits += stats.hits;
        for (reason, count) in &stats.fallbacks {
            *self.fallbacks.entry(*reason).or_default() += count;
        }
        self.repairs += stats.repairs;
        self.keys += signed(stats.keys);
        self.bytes += signed(stats.bytes);
        self.lag = self.lag.max(stats.age);
    }
}

fn reason_attribute(name: &'static str) -> KeyValue {
    KeyValue::new(attribute::REASON, name)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_buckets_of_one_name_are_added_up() {
        let stats = |hits, age| ReplicaStats {
            hits,
            fallbacks: [(FallbackReason::Stale, 2)].into(),
            repairs: 1,
            keys: 10,
            bytes: 100,
            age,
            off: None,
        };
        let mut copies = BucketCopies::default();
        copies.add(&stats(3, None));
        copies.add(&stats(4, Some(Duration::from_secs(1))));
        let expected = BucketCopies {
            hits: 7,
            fallbacks: [(FallbackReason::Stale, 4)].into(),
            repairs: 2,
            keys: 20,
            bytes: 200,
            lag: Some(Duration::from_secs(1)),
        };
        assert_eq!(copies, expected);
    }
}
