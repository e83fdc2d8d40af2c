//! How often requests were sent again, and why.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a request was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryReason {
    /// The connection was lost before the answer came.
    ConnectionLost,
    /// There was no answer in time.
    NoAnswer,
    /// No stream took it: the stream does not exist, or has no leader now.
    NoResponders,
    /// The cluster could not carry it out now.
    NotReady,
    /// It was sent in a group, and not all requests of the group were carried out.
    GroupFailed,
    /// The stream had been changed since the request was made.
    StreamChanged,
    /// Another writer changed a counter between its read and its write.
    Conflict,
    /// A listing was interrupted, and began anew.
    ListingInterrupted,
}

impl RetryReason {
    const ALL: [Self; 8] = [
        Self::ConnectionLost,
        Self::NoAnswer,
        Self::NoResponders,
        Self::NotReady,
        Self::GroupFailed,
        Self::StreamChanged,
        Self::Conflict,
        Self::ListingInterrupted,
    ];

    /// Its name, in the form that metrics use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectionLost => "connection-lost",
            Self::NoAnswer => "no-answer",
            Self::NoResponders => "no-responders",
            Self::NotReady => "not-ready",
            Self::GroupFailed => "group-failed",
            Self::StreamChanged => "stream-changed",
            Self::Conflict => "conflict",
            Self::ListingInterrupted => "listing-interrupted",
        }
    }
}

/// Counts requests that are sent again.
#[derive(Debug, Default)]
pub(crate) struct RetryCounts([AtomicU64; RetryReason::ALL.len()]);

impl RetryCounts {
    pub(crate) fn add(&self, reason: RetryReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were for each reason.
    pub(crate) fn by_reason(&self) -> BTreeMap<RetryReason, u64> {
        let count = |reason: RetryReason| (reason, self.0[reason as usize].load(Ordering::Relaxed));
        RetryReason::ALL.map(count).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let counts = RetryCounts::default();
        for (number, reason) in RetryReason::ALL.into_iter().enumerate() {
            (0..=number).for_each(|_| counts.add(reason));
        }
        let expected = RetryReason::ALL.into_iter().zip(1..).collect();
        assert_eq!(counts.by_reason(), expected);
    }
}
