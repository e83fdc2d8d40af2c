//! The time that one call may take.

mod time_limits;

use std::time::Duration;

use tokio::time::Instant;

pub(super) use time_limits::TimeLimits;

/// The times of one call: when it began, when it stops sending requests, and when it must answer.
///
/// In the last part of its time a call only waits for the answers to what it has sent, so that few
/// writes are left with an unknown outcome. That part is a fifth of the timeout, and at most a second.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start: Instant,
    limits: TimeLimits,
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
        let limits = TimeLimits::new(timeout);
        Self { start, limits }
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// The call's lengths of time, from its start.
    pub(super) fn limits(&self) -> TimeLimits {
        self.limits
    }

    /// When the call must stop starting work: no new request is sent after this.
    #[must_use]
    pub fn settle(&self) -> Instant {
        self.start + self.limits.settle
    }

    pub(super) fn end(&self) -> Instant {
        self.start + self.limits.end
    }

    /// Whether a batch is late, of which `begun` of `all` items have been sent. At this pace not all of
    /// them would be sent in two thirds of the time for sending.
    pub(super) fn is_late(&self, begun: usize, all: usize) -> bool {
        self.limits.is_late(begun, all, self.start.elapsed())
    }

    /// When a third of the remaining time for sending is over.
    pub(super) fn third(&self) -> Instant {
        let now = Instant::now();
        now + self.settle().saturating_duration_since(now) / 3
    }

    /// How long one request waits for its answer before it is sent again.
    ///
    /// A third of the call's time, so that there is time for two more attempts after a lost answer; at
    /// least 100 ms, so that a slow server is not asked the same over and over; and at most 2 s, because a
    /// cluster of three sends one request in three to a node that is frozen.
    pub(super) fn patience(&self) -> Duration {
        self.limits.patience_for(0)
    }
}
