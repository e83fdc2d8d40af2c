//! What the calls of one link share: how many operations are in flight, and who gives way to whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::tuning;

/// The slots of a link, for all its buckets.
#[derive(Debug)]
pub struct Slots {
    /// One permit for each key operation in flight. The queue of a semaphore is fair, so a small
    /// batch waits for a few operations of a large one and not for its end.
    permits: Arc<Semaphore>,
    made: Instant,
    /// When a small batch began last, in microseconds since `made`.
    small: AtomicU64,
}

impl Slots {
    /// Slots for so many operations at once.
    #[must_use]
    pub fn new(max_concurrency: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max_concurrency)),
            made: Instant::now(),
            small: AtomicU64::new(0),
        }
    }

    pub(super) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// Takes note of a batch of so many items that begins.
    pub(super) fn begins(&self, items: usize) {
        if items <= tuning::SMALL_BATCH {
            self.small.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether a batch of so many items keeps little in flight for now, because small ones come over
    /// the link as well: a server answers in the order in which it is asked.
    pub(super) fn gives_way(&self, items: usize) -> bool {
        let small = self.small.load(Ordering::Relaxed);
        items >= tuning::LARGE_BATCH
            && small > 0
            && u128::from(self.now().saturating_sub(small)) < tuning::SMALL_RECENTLY.as_micros()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_batches_give_way_while_small_ones_come() {
        let slots = Slots::new(256);
        assert!(!slots.gives_way(20_000), "there was no small one");
        slots.begins(20_000);
        assert!(!slots.gives_way(20_000), "another large one");
        slots.begins(5);
        assert!(slots.gives_way(20_000));
        assert!(!slots.gives_way(100), "it is not large");
        std::thread::sleep(2 * tuning::SMALL_RECENTLY);
        assert!(!slots.gives_way(20_000), "no more came");
    }
}
