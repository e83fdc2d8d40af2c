//! The time that the driver tells the machine. The machine has no clock.

use std::time::Duration;

/// A moment, in microseconds since the driver started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(u64);

impl Time {
    pub(crate) const START: Self = Self(0);

    /// The moment at which the driver has run for this long.
    pub(crate) fn from_start(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn since_start(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// The moment that is `pause` later, or the last moment that there is.
    pub(crate) fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(Self::from_start(pause).0))
    }

    /// How long after `earlier` this is.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_neither_overflows_nor_runs_backwards() {
        let second = Time::from_start(Duration::from_secs(1));
        assert_eq!(second.since_start(), Duration::from_secs(1));
        assert_eq!(second.since(Time::START), Duration::from_secs(1));
        assert_eq!(Time::START.since(second), Duration::ZERO);
        assert!(second.after(Duration::MAX) > second.after(Duration::from_secs(1 << 40)));
        assert_eq!(
            second
                .after(Duration::from_micros(1))
                .since(second)
                .as_micros(),
            1
        );
    }
}
