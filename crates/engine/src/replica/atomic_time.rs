//! A time that readers and the task share without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::copy::nanos;

/// A time by the replica's clock, or none. It has no order with other values in memory.
#[derive(Debug, Default)]
pub(super) struct AtomicTime(AtomicU64);

impl AtomicTime {
    pub(super) fn get(&self) -> Option<Duration> {
        let Self(time) = self;
        let time = time.load(Ordering::Relaxed).checked_sub(1);
        time.map(Duration::from_nanos)
    }

    /// Times are kept as nanoseconds and one more, so that 0 means none.
    pub(super) fn set(&self, new: Option<Duration>) {
        let Self(time) = self;
        let new = new.map_or(0, |new| nanos(new).saturating_add(1));
        time.store(new, Ordering::Relaxed);
    }
}
