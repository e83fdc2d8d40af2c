//! What a replica counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Why a read is answered by the server and not from the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FallbackReason {
    /// The bucket cannot have a copy now; the log says why.
    Off,
    /// The copy is being read.
    Syncing,
    /// The copy is older than allowed, and the leader did not answer at once.
    Stale,
    /// A message that this process has written did not come in time.
    Behind,
    /// The time of a value is over, and the leader has not said yet that the value is gone.
    Expired,
}

impl FallbackReason {
    const ALL: [Self; 5] = [
        Self::Off,
        Self::Syncing,
        Self::Stale,
        Self::Behind,
        Self::Expired,
    ];

    /// Its name, in the form that metrics use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Syncing => "syncing",
            Self::Stale => "stale",
            Self::Behind => "behind",
            Self::Expired => "expired",
        }
    }
}

/// How a replica does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStats {
    /// Reads that were answered from the copy.
    pub hits: u64,
    /// Reads that the server answered, by reason.
    pub fallbacks: BTreeMap<FallbackReason, u64>,
    /// How many times the copy was found to have keys that were gone, or was begun anew.
    pub repairs: u64,
    /// Keys in the copy, delete markers included.
    pub keys: usize,
    /// About how many bytes of memory the copy takes.
    pub bytes: usize,
    /// The copy's age: the time since a question to the leader was sent whose answer said that the
    /// copy was complete. `None` if there is no complete copy.
    pub age: Option<Duration>,
    /// Why there is no copy, if so.
    pub off: Option<&'static str>,
}

impl ReplicaStats {
    /// Adds the state of one copy. Its counts are not added: they are counted with those of its
    /// bucket.
    pub(super) fn add_state(&mut self, copy: &Self) {
        self.keys += copy.keys;
        self.bytes += copy.bytes;
        self.age = self.age.max(copy.age);
        self.off = self.off.or(copy.off);
    }
}

/// What a replica counts: for itself, and with all others of its bucket's name.
#[derive(Debug, Default)]
pub(super) struct ReplicaCounts {
    own: ReadCounts,
    of_bucket: Arc<BucketCounts>,
}

/// What all replicas of one bucket's name have counted, those included that are gone. A sum over
/// those that are there would go backwards.
#[derive(Debug, Default)]
pub(super) struct BucketCounts {
    counts: ReadCounts,
    /// Whether anybody has ever asked for a copy.
    is_read: AtomicBool,
}

#[derive(Debug, Default)]
struct ReadCounts {
    hits: AtomicU64,
    fallbacks: [AtomicU64; FallbackReason::ALL.len()],
    repairs: AtomicU64,
}

impl ReplicaCounts {
    pub(super) fn new(of_bucket: Arc<BucketCounts>) -> Self {
        Self {
            own: ReadCounts::default(),
            of_bucket,
        }
    }

    pub(super) fn hit(&self) {
        self.add(|counts| &counts.hits, 1);
    }

    pub(super) fn fall_back(&self, reason: FallbackReason) {
        self.add(|counts| &counts.fallbacks[reason as usize], 1);
    }

    pub(super) fn add_repairs(&self, repairs: u64) {
        self.add(|counts| &counts.repairs, repairs);
    }

    /// The replica's own counts, without a state.
    pub(super) fn stats(&self) -> ReplicaStats {
        self.own.stats()
    }

    fn add(&self, count: impl Fn(&ReadCounts) -> &AtomicU64, more: u64) {
        for counts in [&self.own, &self.of_bucket.counts] {
            count(counts).fetch_add(more, Ordering::Relaxed);
        }
    }
}

impl BucketCounts {
    /// Records that somebody asks for a copy.
    pub(super) fn note_reader(&self) {
        self.is_read.store(true, Ordering::Relaxed);
    }

    /// The counts, without a state. `None`: nobody has ever asked for a copy.
    pub(super) fn stats(&self) -> Option<ReplicaStats> {
        let is_read = self.is_read.load(Ordering::Relaxed);
        is_read.then(|| self.counts.stats())
    }
}

impl ReadCounts {
    fn stats(&self) -> ReplicaStats {
        let count = |reason: FallbackReason| {
            let count = self.fallbacks[reason as usize].load(Ordering::Relaxed);
            (reason, count)
        };
        ReplicaStats {
            hits: self.hits.load(Ordering::Relaxed),
            fallbacks: FallbackReason::ALL.map(count).into_iter().collect(),
            repairs: self.repairs.load(Ordering::Relaxed),
            keys: 0,
            bytes: 0,
            age: None,
            off: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_keeps_the_counts_of_replicas_that_are_gone() {
        let bucket = Arc::new(BucketCounts::default());
        let gone = ReplicaCounts::new(Arc::clone(&bucket));
        gone.hit();
        gone.fall_back(FallbackReason::Stale);
        assert_eq!(bucket.stats(), None);
        bucket.note_reader();
        drop(gone);
        let other = ReplicaCounts::new(Arc::clone(&bucket));
        other.hit();
        other.add_repairs(2);
        let all = bucket.stats().unwrap();
        assert_eq!((all.hits, all.repairs), (2, 2));
        assert_eq!(all.fallbacks[&FallbackReason::Stale], 1);
        let own = other.stats();
        assert_eq!((own.hits, own.fallbacks[&FallbackReason::Stale]), (1, 0));
    }

    #[test]
    fn the_states_of_copies_are_added_up() {
        let copy = |age| ReplicaStats {
            keys: 10,
            bytes: 100,
            age,
            ..ReadCounts::default().stats()
        };
        let counts = ReadCounts::default();
        counts.hits.store(7, Ordering::Relaxed);
        let mut all = counts.stats();
        all.add_state(&copy(None));
        all.add_state(&copy(Some(Duration::from_secs(1))));
        assert_eq!((all.hits, all.keys, all.bytes), (7, 20, 200));
        assert_eq!(all.age, Some(Duration::from_secs(1)));
    }
}
