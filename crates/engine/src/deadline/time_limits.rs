//! The lengths of time that follow from how long a call may take.

use std::time::Duration;

/// How long a call may start work, and how long it may take, both from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    pub(crate) settle: Duration,
    pub(crate) end: Duration,
}

impl TimeLimits {
    pub(crate) fn new(timeout: Duration) -> Self {
        let reserve = (timeout / 5).min(Duration::from_secs(1));
        Self {
            settle: timeout.saturating_sub(reserve),
            end: timeout,
        }
    }

    /// Whether work is late that began `elapsed` ago, and of which `begun` of `all` parts are begun.
    /// Work is in time if all of it will have begun after two thirds of the time for starting work.
    pub(crate) fn is_late(&self, begun: usize, all: usize, elapsed: Duration) -> bool {
        let expected = elapsed.as_secs_f64() / self.settle.as_secs_f64() * 1.5;
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let begun = begun as f64 / all as f64;
        begun < expected
    }

    /// How long one request waits for its answer before it is sent again, if `bytes` of values are in
    /// flight. Values take their time over a slow line.
    pub(crate) fn patience_for(&self, bytes: usize) -> Duration {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        let most = Duration::from_secs(2) + Duration::from_secs(1).saturating_mul(mebibytes);
        (self.end / 3).clamp(Duration::from_millis(100), most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn work_is_late_if_it_would_take_over_two_thirds_of_the_time() {
        // Of these, one second is for what is in flight.
        let limits = TimeLimits::new(7 * SECOND);
        let late = |begun, seconds| limits.is_late(begun, 1000, seconds * SECOND);
        assert!(!late(0, 0));
        assert!(late(249, 1));
        assert!(!late(251, 1));
        assert!(late(999, 4));
        assert!(!late(1000, 4));
    }

    #[test]
    fn the_end_of_a_call_is_kept_for_waiting() {
        assert_eq!(TimeLimits::new(10 * SECOND).settle, 9 * SECOND);
        assert_eq!(TimeLimits::new(SECOND).settle, SECOND * 4 / 5);
    }

    #[test]
    fn patience_is_a_third_of_the_time_within_bounds() {
        let patience = |timeout, bytes| TimeLimits::new(timeout).patience_for(bytes);
        assert_eq!(patience(3 * SECOND, 0), SECOND);
        assert_eq!(patience(30 * SECOND, 0), 2 * SECOND);
        assert_eq!(patience(30 * SECOND, 3 << 20), 5 * SECOND);
        assert_eq!(patience(SECOND / 10, 0), SECOND / 10);
        assert_eq!(patience(SECOND / 1000, 0), SECOND / 10);
    }
}
