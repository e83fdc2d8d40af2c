//! Pauses between attempts.

use std::time::Duration;

/// A pause that doubles after each attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The pause after this one.
    pub(crate) fn after(&self, pause: Duration) -> Duration {
        (pause * 2).min(self.longest)
    }
}
