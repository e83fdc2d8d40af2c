//! The time that one call may take.

use std::time::Duration;

use tokio::time::Instant;

/// When a call began, when it must stop starting work, and when it must answer.
///
/// Between the last two it only waits for what it has started, so that a write is seldom left
/// without a known outcome.
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

    /// Whether work is late of which so much has been begun: it would not all be by two thirds of the
    /// time that there is for that.
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

    /// When a third of the time is over that is left for starting work.
    pub(super) fn third(&self) -> Instant {
        let now = Instant::now();
        now + self.settle.saturating_duration_since(now) / 3
    }

    /// How long one request waits for its answer before it is sent again.
    ///
    /// A third of the call's time, so that a lost answer leaves room for two more tries; within
    /// bounds that keep a slow server from being asked the same thing over and over. The upper one
    /// is short, because a cluster goes on asking a node that is frozen, one time in three.
    pub(super) fn patience(&self) -> Duration {
        self.patience_for(0)
    }

    /// The same if so many bytes of values are under way, which take their time over a slow line.
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
