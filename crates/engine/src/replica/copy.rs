//! A copy of a bucket, and as of when it is complete.
//!
//! A replica that begins anew makes another copy. Whoever reads the older one meanwhile goes on
//! reading it, for as long as that is not too old.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::map::ReplicaMap;
use super::memory::{MemoryShare, ReplicaMemory};

/// A copy of a bucket in memory.
#[derive(Debug)]
pub(super) struct ReplicaCopy {
    pub(super) map: ReplicaMap,
    share: MemoryShare,
    /// Every message up to this sequence has been taken.
    position: AtomicU64,
    /// The last sequence that the consumer skipped.
    skipped: AtomicU64,
    /// When the last question was sent to the leader whose answer said that the copy is complete:
    /// in nanoseconds of the replica's time, and one more. 0: there was none.
    complete_as_of: AtomicU64,
    /// The server's clock less the replica's time, in nanoseconds. 0: unknown.
    clock: AtomicI64,
}

impl ReplicaCopy {
    /// A copy that will take about so many bytes. `None`: there is no room for it beside the
    /// others.
    pub(super) fn begin(memory: &Arc<ReplicaMemory>, bytes: usize) -> Option<Self> {
        Some(Self {
            share: MemoryShare::reserve(Arc::clone(memory), bytes)?,
            map: ReplicaMap::new(),
            position: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            complete_as_of: AtomicU64::new(0),
            clock: AtomicI64::new(0),
        })
    }

    /// Every message up to this sequence has been taken.
    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    pub(super) fn set_position(&self, position: u64) {
        self.position.store(position, Ordering::Release);
    }

    /// Records that the consumer has skipped the sequences up to this one.
    pub(super) fn skip_to(&self, position: u64) {
        // Whoever sees the position sees this, too.
        self.skipped.store(position, Ordering::Release);
        self.set_position(position);
    }

    /// The last sequence that the consumer skipped: its message was gone.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Acquire)
    }

    /// The copy has all that the leader had at this time.
    pub(super) fn complete_as_of(&self) -> Option<Duration> {
        let stored = self.complete_as_of.load(Ordering::Acquire);
        stored.checked_sub(1).map(Duration::from_nanos)
    }

    /// Records that the copy has all that the leader had at this time, unless that is known of a
    /// later time.
    pub(super) fn complete(&self, as_of: Duration) {
        let stored = nanos(as_of).saturating_add(1);
        self.complete_as_of.fetch_max(stored, Ordering::AcqRel);
    }

    /// Records that the server's clock showed `server` nanoseconds since 1970 at `now` or before.
    pub(super) fn set_clock(&self, server: u64, now: Duration) {
        let server = i64::try_from(server).unwrap_or(0);
        let now = i64::try_from(nanos(now)).unwrap_or(i64::MAX);
        self.clock
            .store(server.saturating_sub(now), Ordering::Relaxed);
    }

    /// What the server's clock shows at `now`, or less; 0 if that is not known.
    pub(super) fn server_time(&self, now: Duration) -> u64 {
        match self.clock.load(Ordering::Relaxed) {
            0 => 0,
            clock => {
                let now = i64::try_from(nanos(now)).unwrap_or(0);
                u64::try_from(clock.saturating_add(now)).unwrap_or(0)
            }
        }
    }

    /// Gives back what was reserved for the copy and is not used.
    pub(super) fn release_reserve(&self) {
        self.share.release();
        self.count_memory();
    }

    /// Counts the memory that the map takes. Returns whether there was room for it.
    pub(super) fn count_memory(&self) -> bool {
        self.share.set(self.map.memory())
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
