//! What is known of the copies of an item that were sent earlier.

use super::time::Time;

/// The copies of one item, up to the one that is in flight or queued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempts {
    /// When the first copy was handed over to be sent.
    pub(super) first_sent: Time,
    pub(super) earlier: EarlierAttempts,
}

/// What became of the copies that were sent before this one. (A read stores nothing. Here "stored"
/// means that it was carried out.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EarlierAttempts {
    /// No copy was stored.
    NotStored,
    /// A copy was sent in a group. All answers to the group have come, and some were not good.
    MaybeStored,
    /// A copy stayed unanswered. It may be stored now, or later.
    MaybeStoredLater,
}

impl Attempts {
    /// The attempts of an item that is sent now for the first time.
    pub(super) fn first(now: Time) -> Self {
        Self {
            first_sent: now,
            earlier: EarlierAttempts::NotStored,
        }
    }

    pub(super) fn may_be_stored(self) -> bool {
        self.earlier != EarlierAttempts::NotStored
    }

    pub(super) fn with(self, earlier: EarlierAttempts) -> Self {
        Self { earlier, ..self }
    }
}
