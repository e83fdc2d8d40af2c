//! The time of a replica: since the replica was made, and with the time that the machine slept.
//!
//! The monotonic clock of Linux stands still while the machine is suspended. A copy would not grow
//! older meanwhile. So the time is at least as much as the wall clock has gone on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::copy::nanos;

#[derive(Debug)]
pub(super) struct ReplicaClock {
    origin: Instant,
    wall_origin: SystemTime,
    /// How much further than the monotonic clock the wall clock has gone on, in nanoseconds. It
    /// never shrinks, so that the time never goes back.
    ahead: AtomicU64,
}

impl ReplicaClock {
    pub(super) fn start() -> Self {
        Self {
            wall_origin: SystemTime::now(),
            origin: Instant::now(),
            ahead: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Duration {
        // The wall clock is read first. A pause between the two must not look like a suspension.
        let wall = SystemTime::now().duration_since(self.wall_origin);
        self.at(wall.unwrap_or_default(), self.origin.elapsed())
    }

    /// The time when the clocks have gone on for so long.
    fn at(&self, wall: Duration, monotonic: Duration) -> Duration {
        let ahead = nanos(wall.saturating_sub(monotonic));
        let known = self.ahead.load(Ordering::Relaxed);
        if ahead > known {
            self.ahead.fetch_max(ahead, Ordering::Relaxed);
        }
        monotonic + Duration::from_nanos(ahead.max(known))
    }

    /// When it is this time, by the monotonic clock.
    pub(super) fn instant(&self, time: Duration) -> Instant {
        let ahead = Duration::from_nanos(self.ahead.load(Ordering::Relaxed));
        self.origin + time.saturating_sub(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_suspension_counts_and_the_time_never_goes_back() {
        let clock = ReplicaClock::start();
        assert_eq!(clock.at(secs(5), secs(5)), secs(5));
        // The machine slept for an hour.
        assert_eq!(clock.at(secs(3606), secs(6)), secs(3606));
        // The wall clock is set back, and stands still.
        assert_eq!(clock.at(secs(0), secs(7)), secs(3607));
        assert_eq!(clock.at(secs(0), secs(8)), secs(3608));
        assert_eq!(clock.instant(secs(3608)), clock.origin + secs(8));
    }
}
