//! Reading a copy.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::copy::ReplicaCopy;
use super::machine::Phase;
use super::map::SHARDS;
use super::shared::{ReplicaHandle, ReplicaMode};
use super::stats::FallbackReason;

/// For this long after the copy has answered, a listing asks the leader: another node could answer
/// with less.
const LEADER_ONLY_AFTER_ANSWER: Duration = Duration::from_secs(60);

/// What a copy knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CopiedValue {
    /// Its value, if it has one.
    Known(Option<Bytes>),
    /// Its value's time is over. Whether it still is there, only the leader knows.
    Doubtful,
}

/// A copy that may answer a call.
#[derive(Debug)]
pub(crate) struct CopyReader<'a> {
    replica: &'a ReplicaHandle,
    copy: Arc<ReplicaCopy>,
    /// The server's clock, by which values expire.
    time: u64,
}

impl ReplicaHandle {
    /// A copy that may answer a call that begins now. Waits for it shortly, at most until
    /// `wait_until`. `None`: the server is to answer.
    pub(crate) async fn reader(&self, wait_until: Instant) -> Option<CopyReader<'_>> {
        let state = self.start_task();
        let (required_as_of, floors) = (self.required_as_of(state.now()), state.floors.now());
        match state.usable(required_as_of, &floors, wait_until).await {
            Ok(copy) => Some(CopyReader {
                replica: self,
                time: copy.server_time(state.now()),
                copy,
            }),
            Err(reason) => {
                state.counts.fall_back(reason);
                None
            }
        }
    }

    /// Records that the bucket has a message that breaks the client's parser. A consumer would
    /// deliver it, and the connection would be lost.
    pub(crate) fn quarantine(&self) {
        let state = self.start_task();
        state.counts.fall_back(FallbackReason::Off);
        if !matches!(state.phase(), Phase::Off(_)) {
            state.quarantine();
        }
    }

    /// Whether the settings ask for answers that are no older than the call.
    pub(crate) fn must_be_fresh(&self) -> bool {
        self.settings().mode == ReplicaMode::Fresh
    }

    /// Whether a server that lags could answer with less than the copy has answered with.
    pub(crate) fn has_answered_lately(&self) -> bool {
        self.state().has_answered_within(LEADER_ONLY_AFTER_ANSWER)
    }

    /// The copy must be complete as of this time or later, to answer a call that begins at `now`.
    fn required_as_of(&self, now: Duration) -> Duration {
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
    pub(crate) fn value(&self, key: &str) -> CopiedValue {
        let Some(record) = self.copy.map.get(key) else {
            return CopiedValue::Known(None);
        };
        if record.may_have_expired(self.time) {
            return CopiedValue::Doubtful;
        }
        CopiedValue::Known(record.value())
    }

    /// The parts that the keys are in.
    pub(crate) fn shards() -> std::ops::Range<usize> {
        0..SHARDS
    }

    /// Shows each key of one part that has a value, as it stands in the bucket. A value whose time
    /// is over counts until the leader has dropped it.
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
        let mut with_values = records.iter().filter(|record| record.has_value());
        with_values.try_for_each(|record| show(record.key()))
    }

    /// How long ago the last question was sent whose answer said that the copy is complete.
    pub(crate) fn age(&self) -> Option<Duration> {
        let as_of = self.copy.complete_as_of()?;
        Some(self.replica.state().now().saturating_sub(as_of))
    }

    /// Notes that a value may have expired, so that the leader answers instead: counts a fallback
    /// for [`FallbackReason::Expired`], and has the task ask the leader which values are gone.
    pub(crate) fn note_expired_value(&self) {
        let state = self.replica.start_task();
        state.counts.fall_back(FallbackReason::Expired);
        if state.take_retry() {
            state.want_question();
        }
    }

    /// Whether the copy may answer the call with what was read. Counts a hit or a fallback.
    ///
    /// With a bound on staleness, the copy may have become too old meanwhile. A fresh answer is as
    /// of the call's start, so it cannot become too old.
    pub(crate) fn may_answer(&self) -> bool {
        let (replica, state) = (self.replica, self.replica.state());
        let is_young = || {
            let as_of = self.copy.complete_as_of();
            as_of.is_some_and(|as_of| as_of >= replica.required_as_of(state.now()))
        };
        let is_in_time = replica.settings().mode != ReplicaMode::Bounded || is_young();
        if is_in_time {
            state.hit();
        } else {
            state.counts.fall_back(FallbackReason::Stale);
        }
        is_in_time
    }
}
