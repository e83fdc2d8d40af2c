//! The durations that follow from how long a call may take.

use std::time::Duration;

/// How long after its start a call may send, and may answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// The time from the call's start to its send deadline.
    pub(crate) send_within: Duration,
    /// The time from the call's start to its call deadline.
    pub(crate) finish_within: Duration,
}

impl TimeLimits {
    pub(crate) fn new(timeout: Duration) -> Self {
        let reserve = (timeout / 5).min(Duration::from_secs(1));
        Self {
            send_within: timeout.saturating_sub(reserve),
            finish_within: timeout,
        }
    }

    /// Whether a batch that has sent `sent` of its `total` items is late, `elapsed` after the
    /// start. A batch is in time if, at this pace, all items are sent in two thirds of the time for
    /// sending.
    pub(crate) fn is_late(&self, sent: usize, total: usize, elapsed: Duration) -> bool {
        let expected = elapsed.as_secs_f64() / self.send_within.as_secs_f64() * 1.5;
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let sent = sent as f64 / total as f64;
        sent < expected
    }

    /// How long a call waits for the answer to one request before it sends the request again.
    /// `bytes` is the size of all values in flight: large values take their time over a slow line.
    pub(crate) fn answer_timeout(&self, bytes: usize) -> Duration {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        let longest = Duration::from_secs(2) + Duration::from_secs(1).saturating_mul(mebibytes);
        (self.finish_within / 3).clamp(Duration::from_millis(100), longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_batch_is_late_if_it_would_take_over_two_thirds_of_the_time() {
        // One of the seven seconds is only for waiting.
        let limits = TimeLimits::new(7 * SECOND);
        let late = |sent, seconds| limits.is_late(sent, 1000, seconds * SECOND);
        assert!(!late(0, 0));
        assert!(late(249, 1));
        assert!(!late(251, 1));
        assert!(late(999, 4));
        assert!(!late(1000, 4));
    }

    #[test]
    fn the_end_of_a_call_is_kept_for_waiting() {
        assert_eq!(TimeLimits::new(10 * SECOND).send_within, 9 * SECOND);
        assert_eq!(TimeLimits::new(SECOND).send_within, SECOND * 4 / 5);
    }

    #[test]
    fn the_answer_timeout_is_a_third_of_the_time_within_bounds() {
        let answer_timeout = |timeout, bytes| TimeLimits::new(timeout).answer_timeout(bytes);
        assert_eq!(answer_timeout(3 * SECOND, 0), SECOND);
        assert_eq!(answer_timeout(30 * SECOND, 0), 2 * SECOND);
        assert_eq!(answer_timeout(30 * SECOND, 3 << 20), 5 * SECOND);
        assert_eq!(answer_timeout(SECOND / 10, 0), SECOND / 10);
        assert_eq!(answer_timeout(SECOND / 1000, 0), SECOND / 10);
    }
}
