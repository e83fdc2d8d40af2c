//! What the calls of one link share: how many operations are in flight, and who gives way to whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::deadline::Deadline;
use super::tuning;

/// The concurrency limit of a link, for all its buckets.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    /// One permit for each key operation in flight. The queue of a semaphore is fair, so a small
    /// batch waits for a few operations of a large one and not for its end.
    permits: Arc<Semaphore>,
    made: Instant,
    /// Until when, in microseconds since `made`, small batches are expected to come.
    small_expected_until: AtomicU64,
}

impl ConcurrencyLimit {
    /// A limit of `max_concurrency` operations at once.
    #[must_use]
    pub fn new(max_concurrency: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max_concurrency)),
            made: Instant::now(),
            small_expected_until: AtomicU64::new(0),
        }
    }

    pub(super) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// Takes note that a batch begins, of a call of so many items: what is left over of a large call is
    /// no small batch.
    pub(super) fn batch_started(&self, items: usize) {
        self.batch_started_at(items, self.made.elapsed());
    }

    /// How many requests a batch of `all` items keeps in flight, of which so many have been sent, if
    /// it is to keep few: if it is large, small ones come over the link as well, and a server answers
    /// in the order in which it is asked.
    pub(super) fn fair_share(&self, sent: usize, all: usize, deadline: &Deadline) -> Option<usize> {
        if all < tuning::LARGE_BATCH || !self.expects_small_at(self.made.elapsed()) {
            None
        } else if deadline.is_late(sent, all) {
            Some(tuning::WINDOW_WHEN_LATE)
        } else {
            Some(tuning::WINDOW_BESIDE_SMALL)
        }
    }

    /// Until when small batches are expected.
    pub(super) fn small_expected_until(&self) -> Instant {
        self.made + Duration::from_micros(self.small_expected_until.load(Ordering::Relaxed))
    }

    fn batch_started_at(&self, items: usize, now: Duration) {
        if items <= tuning::SMALL_BATCH {
            let until = micros(now + tuning::SMALL_RECENTLY);
            self.small_expected_until.store(until, Ordering::Relaxed);
        }
    }

    fn expects_small_at(&self, now: Duration) -> bool {
        micros(now) < self.small_expected_until.load(Ordering::Relaxed)
    }
}

/// To be called for each item of a batch that is gone through without waiting for anything. Lets the
/// other calls of the thread in now and then: a batch of 20,000 would hold them up for ten times as
/// long as a small one takes.
pub(super) async fn yield_periodically(item: usize) {
    if item % tuning::ITEMS_AT_A_TIME == tuning::ITEMS_AT_A_TIME - 1 {
        yield_now().await;
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
        assert!(!limit.expects_small_at(now + tuning::SMALL_RECENTLY));
    }

    #[test]
    fn large_batches_give_way_and_less_so_if_they_are_late() {
        let limit = ConcurrencyLimit::new(256);
        limit.batch_started_at(5, Duration::from_secs(3600));
        let hour = Duration::from_secs(3600);
        let deadline = Deadline::new(Instant::now(), hour);
        let window = |sent, all| limit.fair_share(sent, all, &deadline);
        assert_eq!(window(10_000, 20_000), Some(tuning::WINDOW_BESIDE_SMALL));
        assert_eq!(window(0, 20_000), Some(tuning::WINDOW_WHEN_LATE));
        assert_eq!(window(10, 100), None, "it is not large");
    }
}
