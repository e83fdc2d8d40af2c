//! Reading a copy.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::copy::ReplicaCopy;
use super::map::SHARDS;
use super::shared::{ReplicaMode, ReplicaUser};
use super::stats::FallbackReason;

/// How long after the last answer from a copy the server's answers must not be older.
const MEMORY_OF_ANSWERS: Duration = Duration::from_secs(60);

/// A copy that is younger shows that the bucket exists.
const OF_LATE: Duration = Duration::from_secs(5);

/// A copy that a call may be answered from.
#[derive(Debug)]
pub(crate) struct CopyReader<'a> {
    user: &'a ReplicaUser,
    copy: Arc<ReplicaCopy>,
    /// The server's clock, by which values expire.
    time: u64,
}

impl ReplicaUser {
    /// A copy that a call may be answered from that begins now. Waits for it shortly, and not longer than
    /// `latest`. `None`: the server is to answer.
    pub(crate) async fn reader(&self, latest: Instant) -> Option<CopyReader<'_>> {
        let state = self.state();
        let (since, floors) = (self.since(state.now()), state.floors.now());
        match state.usable(since, &floors, latest).await {
            Ok(copy) => Some(CopyReader {
                user: self,
                time: copy.server_time(state.now()),
                copy,
            }),
            Err(reason) => {
                state.counts.fall_back(reason);
                None
            }
        }
    }

    /// Whether answers must be no older than the call.
    pub(crate) fn is_fresh(&self) -> bool {
        self.settings().mode == ReplicaMode::Fresh
    }

    /// Whether a server that lags could answer with less than the copy has answered with.
    pub(crate) fn has_answered_lately(&self) -> bool {
        self.state().has_answered_within(MEMORY_OF_ANSWERS)
    }

    /// As of when the copy has to be complete for a call that begins now.
    fn since(&self, now: Duration) -> Duration {
        match self.settings().mode {
            ReplicaMode::Fresh | ReplicaMode::Off => now,
            ReplicaMode::Bounded => now.saturating_sub(self.settings().staleness),
        }
    }
}

impl CopyReader<'_> {
    /// How many keys there are, delete markers included.
    pub(crate) fn len(&self) -> usize {
        self.copy.map.len()
    }

    /// The value of a key, which is as it stands in the bucket.
    pub(crate) fn value(&self, key: &str) -> Option<Bytes> {
        self.copy.map.get(key)?.value_at(self.time)
    }

    /// The parts that the keys are in.
    pub(crate) fn shards() -> std::ops::Range<usize> {
        0..SHARDS
    }

    /// Shows each key of one part that has a value, as it stands in the bucket.
    ///
    /// # Errors
    ///
    /// The first that `show` gives.
    pub(crate) fn for_each_key<E>(
        &self,
        shard: usize,
        mut show: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let records = self.copy.map.records(shard);
        let mut with_values = records
            .iter()
            .filter(|record| record.has_value_at(self.time));
        with_values.try_for_each(|record| show(record.key()))
    }

    /// Whether the leader has answered for the bucket a moment ago.
    pub(crate) fn is_of_late(&self) -> bool {
        let as_of = self.copy.complete_as_of();
        let now = self.user.state().now();
        as_of.is_some_and(|as_of| now.saturating_sub(as_of) < OF_LATE)
    }

    /// Whether the call may be answered with what was read: the copy is still not too old. A call that
    /// wants to be fresh is answered as of when it began.
    pub(crate) fn finish(self) -> bool {
        let (user, state) = (self.user, self.user.state());
        let is_young = || {
            let as_of = self.copy.complete_as_of();
            as_of.is_some_and(|as_of| as_of >= user.since(state.now()))
        };
        let is_in_time = user.settings().mode != ReplicaMode::Bounded || is_young();
        if is_in_time {
            state.hit();
        } else {
            state.counts.fall_back(FallbackReason::Stale);
        }
        is_in_time
    }
}
