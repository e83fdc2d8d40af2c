//! Where in the stream the writes of a batch stand.

use std::sync::atomic::{AtomicU64, Ordering};

/// The lowest and the highest sequence of the writes that were acknowledged.
#[derive(Debug)]
pub(super) struct WrittenSequences {
    lowest: AtomicU64,
    highest: AtomicU64,
}

impl Default for WrittenSequences {
    fn default() -> Self {
        Self {
            lowest: AtomicU64::new(u64::MAX),
            highest: AtomicU64::new(0),
        }
    }
}

impl WrittenSequences {
    pub(super) fn add(&self, sequence: u64) {
        self.lowest.fetch_min(sequence, Ordering::Relaxed);
        self.highest.fetch_max(sequence, Ordering::Relaxed);
    }

    /// The lowest and the highest, if any write was acknowledged.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        let highest = self.highest.load(Ordering::Relaxed);
        (highest > 0).then(|| (self.lowest.load(Ordering::Relaxed), highest))
    }
}
