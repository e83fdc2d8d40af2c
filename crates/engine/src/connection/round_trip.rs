//! How long a request and its answer are on their way.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The shortest time to an answer since the connection was made. It is close to the round trip of
/// the network, because at least one answer did not have to wait in the server.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip(Mutex<Shortest>);

#[derive(Debug, Default)]
struct Shortest {
    /// The connection that it was measured on: another server may be nearer or farther.
    epoch: u64,
    time: Option<Duration>,
}

impl RoundTrip {
    /// Notes after how long an answer came over the connection of this epoch.
    pub(crate) fn record(&self, epoch: u64, time: Duration) {
        let Self(shortest) = self;
        let mut shortest = shortest.lock().unwrap_or_else(PoisonError::into_inner);
        if shortest.epoch == epoch
            && let Some(before) = shortest.time
        {
            shortest.time = Some(before.min(time));
        } else if shortest.epoch <= epoch {
            *shortest = Shortest {
                epoch,
                time: Some(time),
            };
        }
    }

    /// The shortest time to an answer. `None`: nothing was measured.
    pub(crate) fn get(&self) -> Option<Duration> {
        let Self(shortest) = self;
        shortest.lock().unwrap_or_else(PoisonError::into_inner).time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_time_of_the_newest_connection_counts() {
        let round_trip = RoundTrip::default();
        assert_eq!(round_trip.get(), None);
        let millis = Duration::from_millis;
        for (epoch, time, shortest) in [(1, 5, 5), (1, 3, 3), (1, 9, 3), (2, 7, 7), (1, 2, 7)] {
            round_trip.record(epoch, millis(time));
            assert_eq!(round_trip.get(), Some(millis(shortest)));
        }
    }
}
