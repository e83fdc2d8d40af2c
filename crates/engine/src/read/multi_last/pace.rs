//! How many `multi_last` requests to keep in flight.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How many requests a batch keeps in flight on one connection.
const REQUESTS: RangeInclusive<usize> = 2..=16;

/// How long the server is assumed to take for a full request, until one was measured.
const FIRST_SERVICE_TIME: Duration = Duration::from_millis(2);

/// An answer with fewer keys is not measured.
const MEASURED_KEYS: usize = 32;

/// How fast the server answers the requests of one batch.
#[derive(Debug)]
pub(super) struct RequestPace {
    /// How long the server takes for one answer, from its first message to its last.
    service_time: Duration,
}

impl Default for RequestPace {
    fn default() -> Self {
        Self {
            service_time: FIRST_SERVICE_TIME,
        }
    }
}

impl RequestPace {
    /// Notes how long the messages of an answer with so many keys took to come.
    pub(super) fn record(&mut self, keys: usize, time: Duration) {
        if keys >= MEASURED_KEYS {
            self.service_time = time.max(Duration::from_micros(100));
        }
    }

    /// How many requests to keep in flight on a connection with this round trip.
    ///
    /// A server answers one request after the other. It is never idle with `1 + round_trip /
    /// service_time` requests in flight.
    pub(super) fn requests(&self, round_trip: Option<Duration>) -> usize {
        let round_trip = round_trip.unwrap_or_default();
        let on_their_way = round_trip
            .as_micros()
            .div_ceil(self.service_time.as_micros());
        let requests = usize::try_from(on_their_way).unwrap_or(usize::MAX);
        requests
            .saturating_add(1)
            .clamp(*REQUESTS.start(), *REQUESTS.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_server_nearby_needs_two_requests_in_flight() {
        let mut pace = RequestPace::default();
        assert_eq!(pace.requests(None), 2);
        assert_eq!(pace.requests(Some(MS / 5)), 2);
        pace.record(128, 3 * MS);
        assert_eq!(pace.requests(Some(MS / 5)), 2);
    }

    #[test]
    fn the_farther_the_server_the_more_requests_are_in_flight() {
        let mut pace = RequestPace::default();
        pace.record(128, 2 * MS);
        assert_eq!(pace.requests(Some(4 * MS)), 3);
        assert_eq!(pace.requests(Some(10 * MS)), 6);
        assert_eq!(pace.requests(Some(1000 * MS)), 16, "there is a bound");
        pace.record(1, Duration::ZERO);
        assert_eq!(pace.requests(Some(4 * MS)), 3, "one key says nothing");
    }
}
