//! What a replica counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
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

    /// Its name, as metrics have it.
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
    /// The copy's age: the time since a question to the leader was sent whose answer said that the copy
    /// was complete. `None` if there is no complete copy.
    pub age: Option<Duration>,
    /// Why there is no copy, if so.
    pub off: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(super) struct ReplicaCounts {
    hits: AtomicU64,
    fallbacks: [AtomicU64; FallbackReason::ALL.len()],
    pub(super) repairs: AtomicU64,
}

impl ReplicaCounts {
    pub(super) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fall_back(&self, reason: FallbackReason) {
        self.fallbacks[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn repairs(&self) -> u64 {
        self.repairs.load(Ordering::Relaxed)
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    pub(super) fn fallbacks(&self) -> BTreeMap<FallbackReason, u64> {
        let count = |reason: FallbackReason| {
            let count = self.fallbacks[reason as usize].load(Ordering::Relaxed);
            (reason, count)
        };
        FallbackReason::ALL.map(count).into_iter().collect()
    }
}
