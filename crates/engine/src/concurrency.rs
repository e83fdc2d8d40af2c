//! The concurrency limit that buckets share, and how large batches yield to small ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::deadline::Deadline;
use super::tuning;

/// A limit of the key operations in flight, for one bucket or for several together.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    /// One permit for each key operation in flight. The semaphore's queue is fair. So a small batch
    /// waits for a few operations of a large batch, and not for all of them.
    permits: Arc<Semaphore>,
    created: Instant,
    /// Until this time small batches are expected. It is in microseconds since `created`.
    small_batches_expected_until: AtomicU64,
}

impl ConcurrencyLimit {
    /// A limit of `max_concurrency` operations at once.
    #[must_use]
    pub fn new(max_concurrency: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max_concurrency)),
            created: Instant::now(),
            small_batches_expected_until: AtomicU64::new(0),
        }
    }

    pub(super) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// Notes that a batch starts. `total_items` is the size of the whole call, so that the last few
    /// keys of a large call do not count as a small batch.
    pub(super) fn batch_started(&self, total_items: usize) {
        self.batch_started_at(total_items, self.created.elapsed());
    }

    /// How many key operations a batch may have in flight, if it has to yield to small batches.
    /// `None`: it need not yield. The batch has sent `sent` of its `total` items.
    pub(super) fn window_if_yielding(
        &self,
        sent: usize,
        total: usize,
        deadline: &Deadline,
    ) -> Option<usize> {
        let small_expected = || self.expects_small_at(self.created.elapsed());
        tuning::YIELD_RULE.window(total, small_expected, || deadline.is_late(sent, total))
    }

    /// Until this time small batches are expected.
    pub(super) fn small_batches_expected_until(&self) -> Instant {
        self.created
            + Duration::from_micros(self.small_batches_expected_until.load(Ordering::Relaxed))
    }

    fn batch_started_at(&self, total_items: usize, now: Duration) {
        if total_items <= tuning::SMALL_BATCH {
            let until = micros(now + tuning::SMALL_EXPECTED_FOR);
            self.small_batches_expected_until
                .store(until, Ordering::Relaxed);
        }
    }

    fn expects_small_at(&self, now: Duration) -> bool {
        micros(now) < self.small_batches_expected_until.load(Ordering::Relaxed)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_batches_are_expected_for_a_while_after_one() {
        let limit = ConcurrencyLimit::new(256);
        let now = Duration::ZERO;
        assert!(!limit.expects_small_at(now), "there was no small one");
        limit.batch_started_at(20_000, now);
        assert!(!limit.expects_small_at(now), "a large one");
        limit.batch_started_at(5, now);
        assert!(limit.expects_small_at(now));
        assert!(!limit.expects_small_at(now + tuning::SMALL_EXPECTED_FOR));
    }

    #[test]
    fn large_batches_yield_and_less_so_if_they_are_late() {
        let limit = ConcurrencyLimit::new(256);
        limit.batch_started_at(5, Duration::from_secs(3600));
        let hour = Duration::from_secs(3600);
        let deadline = Deadline::new(Instant::now(), hour);
        let window = |sent, total| limit.window_if_yielding(sent, total, &deadline);
        let rule = tuning::YIELD_RULE;
        assert_eq!(window(10_000, 20_000), Some(rule.window_beside_small));
        assert_eq!(window(0, 20_000), Some(rule.window_when_late));
        assert_eq!(window(10, 100), None, "it is not large");
    }
}
