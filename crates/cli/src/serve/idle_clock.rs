//! When a connection has been idle for too long.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a connection stays open on which no request begins, nor one is carried out.
const IDLE: Duration = Duration::from_mins(1);

/// When to close a connection unless something happens. Clones are the same clock.
#[derive(Clone, Debug)]
pub(super) struct IdleClock(Arc<Mutex<Instant>>);

impl IdleClock {
    /// For a connection that begins at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(now + IDLE)))
    }

    /// The connection is in use from `now` on, for this time, and may be idle afterwards.
    pub(super) fn use_for(&self, time: Duration, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now + time + IDLE;
    }

    /// Whether to close the connection.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.closes_at() <= now
    }

    /// When to ask again. A request that ends early brings the end nearer, so this is soon enough.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        self.closes_at().min(now + IDLE)
    }

    fn closes_at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_ends_early_leaves_an_idle_connection() {
        let begun = Instant::now();
        let clock = IdleClock::new(begun);
        clock.use_for(Duration::from_hours(1), begun);
        let look = clock.next_look(begun);
        assert!(look <= begun + IDLE, "it looks only when the hour is over");
        assert!(!clock.is_over(look));
        let ended = begun + Duration::from_secs(1);
        clock.use_for(Duration::ZERO, ended);
        let look = clock.next_look(look);
        assert_eq!(look, ended + IDLE);
        assert!(clock.is_over(look));
    }
}
