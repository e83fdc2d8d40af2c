//! The time that one call may take.

mod time_limits;

use std::time::Duration;

use tokio::time::Instant;

pub(super) use time_limits::TimeLimits;

/// The times of one call: when it began, until when it sends reads and writes, and when it must
/// have answered.
///
/// Between its send deadline and its call deadline a call sends no read or write of a key. It only
/// waits for the answers to what it has sent, so that few writes are left with an unknown outcome.
/// (It may still ask for the stream info, and go on with a listing.) This last part is a fifth of
/// the timeout, and at most a second.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start: Instant,
    limits: TimeLimits,
}

impl Deadline {
    /// The times of a call that starts now and answers within `timeout`.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self::new(Instant::now(), timeout)
    }

    /// The times of a call that started at `start` and answers within `timeout`.
    #[must_use]
    pub fn new(start: Instant, timeout: Duration) -> Self {
        let limits = TimeLimits::new(timeout);
        Self { start, limits }
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// How long after the call's start it may send, and may answer.
    pub(super) fn time_limits(&self) -> TimeLimits {
        self.limits
    }

    /// After this the call sends no read or write of a key.
    #[must_use]
    pub fn send_deadline(&self) -> Instant {
        self.start + self.limits.send_within
    }

    /// At this time the call has to answer, whether the server has or not.
    pub(super) fn call_deadline(&self) -> Instant {
        self.start + self.limits.finish_within
    }

    /// Whether a batch that has sent `sent` of its `total` items is late.
    pub(super) fn is_late(&self, sent: usize, total: usize) -> bool {
        self.limits.is_late(sent, total, self.start.elapsed())
    }

    /// How long the call waits for the answer to one request before it sends the request again.
    ///
    /// It is a third of the call's time, so that there is time for two more attempts after a lost
    /// answer. It is at least 100 ms, so that a slow server does not get the same request over and
    /// over. It is at most 2 s, because a cluster of three sends one request in three to a node
    /// that is frozen.
    pub(super) fn answer_timeout(&self) -> Duration {
        self.limits.answer_timeout(0)
    }
}
