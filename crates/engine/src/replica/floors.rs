//! What an answer must not be older than: what this process has written, and what it has been told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::copy::ReplicaCopy;
use super::record::Record;

/// The floors of one bucket. Every call of this process that reaches the bucket by the same login
/// keeps to them.
#[derive(Debug, Default)]
pub(super) struct ReplicaFloors(Mutex<Floors>);

/// What the answer to one call must not be older than.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floors {
    /// The lowest and the highest sequence of the messages that were written or read, and may not
    /// be in the copy. 0: there is none.
    lowest: u64,
    highest: u64,
    /// When the last of these sequences became known.
    sequence_at: Duration,
    /// The copy must be complete as of a time after this one. It is raised when no sequence tells
    /// what to wait for: after a listing, an unclear write, or a read of a key without a message.
    complete_after: Option<Duration>,
}

/// The last message of a key, as the server has answered with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnsweredMessage<'a> {
    /// The key as it stands in the bucket.
    pub(crate) key: &'a str,
    /// Its sequence. 0: the server told none.
    pub(crate) sequence: u64,
    /// `None`: the message is a marker.
    pub(crate) value: Option<&'a [u8]>,
}

impl ReplicaFloors {
    /// Where the copy is now. Asked before a request is sent, and passed to [`Self::raise_to`] and
    /// [`Self::read`] with its answer.
    pub(super) fn position(copy: Option<&Arc<ReplicaCopy>>) -> u64 {
        copy.map_or(0, |copy| copy.position())
    }

    /// Records that the server has answered with this message of a key.
    pub(super) fn read(
        &self,
        message: AnsweredMessage<'_>,
        position_before: u64,
        copy: Option<&Arc<ReplicaCopy>>,
        now: Duration,
    ) {
        let AnsweredMessage {
            key,
            sequence,
            value,
        } = message;
        let record = copy.and_then(|copy| copy.map.get(key));
        let is_same =
            |record: &Record| record.sequence() == sequence && record.raw_value() == value;
        if !record.as_ref().is_some_and(is_same) {
            self.raise_to(sequence, position_before, copy, now);
        }
    }

    /// Records that a write has been acknowledged, or a read answered, with this sequence.
    pub(super) fn raise_to(
        &self,
        sequence: u64,
        position_before: u64,
        copy: Option<&Arc<ReplicaCopy>>,
        now: Duration,
    ) {
        if sequence > position_before {
            let as_of = copy.and_then(|copy| copy.complete_as_of());
            self.raise_sequence(sequence, now, as_of);
        } else {
            // The sequence proves nothing here. A write has such a sequence only in another stream.
            // A read may have been answered by a node that lags, or before the key was overwritten.
            // So the copy has to be completed once more.
            self.raise_complete_after(now);
        }
    }

    fn raise_sequence(&self, sequence: u64, now: Duration, complete_as_of: Option<Duration>) {
        let mut floors = self.lock();
        // The sequences of before may be those of another stream.
        let is_over = complete_as_of.is_some_and(|as_of| as_of > floors.sequence_at);
        if is_over || floors.highest == 0 {
            (floors.lowest, floors.highest) = (sequence, sequence);
        } else {
            floors.lowest = floors.lowest.min(sequence);
            floors.highest = floors.highest.max(sequence);
        }
        floors.sequence_at = floors.sequence_at.max(now);
    }

    /// Records that the server answered at `now` or before, without a sequence to wait for.
    pub(super) fn raise_complete_after(&self, now: Duration) {
        let mut floors = self.lock();
        floors.complete_after = floors.complete_after.max(Some(now));
    }

    /// The floors of a call that begins now. Later ones do not concern it.
    pub(super) fn now(&self) -> Floors {
        *self.lock()
    }

    /// Forgets the sequences that the copy has. A copy that is begun later has them, too.
    pub(super) fn forget_met(&self, copy: &ReplicaCopy) {
        let mut floors = self.lock();
        if floors.sequence_is_met(copy) {
            (floors.lowest, floors.highest) = (0, 0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Floors> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Floors {
    /// Whether the copy has all that was written and read.
    pub(super) fn are_met(&self, copy: &ReplicaCopy) -> bool {
        self.sequence_is_met(copy) && self.complete_after_is_met(copy)
    }

    /// Whether the copy has the messages of these sequences, or later ones in their place.
    ///
    /// If the consumer has skipped sequences since, a message may be one of them. Then the one that
    /// took its place may be still to come.
    fn sequence_is_met(&self, copy: &ReplicaCopy) -> bool {
        let were_delivered = self.highest <= copy.position() && copy.skipped() < self.lowest;
        self.highest == 0 || were_delivered || is_after(copy, self.sequence_at)
    }

    /// Whether the copy is complete as of a time after the last answer that has no sequence to wait
    /// for.
    pub(super) fn complete_after_is_met(&self, copy: &ReplicaCopy) -> bool {
        self.complete_after.is_none_or(|time| is_after(copy, time))
    }
}

fn is_after(copy: &ReplicaCopy, time: Duration) -> bool {
    copy.complete_as_of().is_some_and(|as_of| as_of > time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::memory::ReplicaMemory;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_write_is_reached_by_its_sequence_or_by_a_later_question() {
        let copy = Arc::new(ReplicaCopy::begin(&Arc::new(ReplicaMemory::new(1000)), 0).unwrap());
        let floors = ReplicaFloors::default();
        let wrote = |sequence, at| floors.raise_to(sequence, 0, Some(&copy), secs(at));
        assert!(floors.now().are_met(&copy));
        wrote(7, 1);
        copy.set_position(6);
        assert!(!floors.now().are_met(&copy));
        copy.set_position(7);
        assert!(floors.now().are_met(&copy));
        wrote(9, 2);
        wrote(10, 2);
        copy.skip_to(9);
        copy.set_position(10);
        assert!(
            !floors.now().are_met(&copy),
            "9 was overwritten by what is to come"
        );
        copy.complete(secs(2));
        assert!(
            !floors.now().are_met(&copy),
            "the write may have come after"
        );
        copy.complete(secs(3));
        assert!(floors.now().are_met(&copy));
    }

    #[test]
    fn what_is_written_later_does_not_concern_a_call() {
        let copy = Arc::new(ReplicaCopy::begin(&Arc::new(ReplicaMemory::new(1000)), 0).unwrap());
        let floors = ReplicaFloors::default();
        floors.raise_to(7, 0, Some(&copy), secs(1));
        let begun = floors.now();
        assert!(!begun.are_met(&copy));
        copy.set_position(7);
        floors.forget_met(&copy);
        // Other callers go on writing, faster than messages come.
        floors.raise_to(9, 7, Some(&copy), secs(2));
        floors.forget_met(&copy);
        assert!(begun.are_met(&copy));
        assert!(!floors.now().are_met(&copy));
    }

    #[test]
    fn a_write_with_a_sequence_of_before_is_of_another_stream() {
        let copy = Arc::new(ReplicaCopy::begin(&Arc::new(ReplicaMemory::new(1000)), 0).unwrap());
        let floors = ReplicaFloors::default();
        copy.set_position(100);
        floors.raise_to(5, 100, Some(&copy), secs(1));
        assert!(!floors.now().are_met(&copy));
        copy.complete(secs(2));
        assert!(floors.now().are_met(&copy));
    }

    #[test]
    fn what_the_server_answered_is_reached_by_a_later_question_only() {
        let copy = ReplicaCopy::begin(&Arc::new(ReplicaMemory::new(1000)), 0).unwrap();
        let floors = ReplicaFloors::default();
        copy.set_position(100);
        copy.complete(secs(1));
        floors.raise_complete_after(secs(1));
        assert!(!floors.now().are_met(&copy));
        copy.complete(secs(2));
        assert!(floors.now().are_met(&copy));
    }
}
