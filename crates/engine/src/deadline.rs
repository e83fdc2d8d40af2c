//! The time that one call may take.

use std::time::Duration;

use tokio::time::Instant;

/// The times of one call: when it began, when it stops sending requests, and when it must answer.
///
/// In the last part of its time a call only waits for the answers to what it has sent, so that few
/// writes are left with an unknown outcome. That part is a fifth of the timeout, and at most a second.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start: Instant,
    settle: Instant,
    end: Instant,
}

impl Deadline {
    /// A call that starts now and answers within `timeout`.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self::new(Instant::now(), timeout)
    }

    /// A call that started at `start` and answers within `timeout`.
    #[must_use]
    pub fn new(start: Instant, timeout: Duration) -> Self {
        let reserve = (timeout / 5).min(Duration::from_secs(1));
        Self {
            start,
            settle: start + timeout.saturating_sub(reserve),
            end: start + timeout,
        }
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// No new request is sent after this.
    pub(super) fn settle(&self) -> Instant {
        self.settle
    }

    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// Whether a batch is late, of which `begun` of `all` items have been sent. At this pace not all of
    /// them would be sent in two thirds of the time for sending.
    pub(super) fn is_late(&self, begun: usize, all: usize) -> bool {
        self.is_late_at(begun, all, Instant::now())
    }

    fn is_late_at(&self, begun: usize, all: usize, now: Instant) -> bool {
        let share = |part: Duration| part.as_secs_f64() / (self.settle - self.start).as_secs_f64();
        let expected = share(now.saturating_duration_since(self.start)) * 1.5;
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let begun = begun as f64 / all as f64;
        begun < expected
    }

    /// When a third of the remaining time for sending is over.
    pub(super) fn third(&self) -> Instant {
        let now = Instant::now();
        now + self.settle.saturating_duration_since(now) / 3
    }

    /// How long one request waits for its answer before it is sent again.
    ///
    /// A third of the call's time, so that there is time for two more attempts after a lost answer; at
    /// least 100 ms, so that a slow server is not asked the same over and over; and at most 2 s, because a
    /// cluster of three sends one request in three to a node that is frozen.
    pub(super) fn patience(&self) -> Duration {
        self.patience_for(0)
    }

    /// The same while so many bytes of values are in flight: a second more for each MiB, for slow networks.
    pub(super) fn patience_for(&self, bytes: usize) -> Duration {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        let most = Duration::from_secs(2) + Duration::from_secs(1).saturating_mul(mebibytes);
        ((self.end - self.start) / 3).clamp(Duration::from_millis(100), most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_late_if_it_would_take_over_two_thirds_of_the_time() {
        let start = Instant::now();
        // Of these, one second is for what is under way.
        let deadline = Deadline::new(start, Duration::from_secs(7));
        let late =
            |begun, seconds| deadline.is_late_at(begun, 1000, start + Duration::from_secs(seconds));
        assert!(!late(0, 0));
        assert!(late(249, 1));
        assert!(!late(251, 1));
        assert!(late(999, 4));
        assert!(!late(1000, 4));
    }
}
