//! What is known of the copies of an item that were sent earlier.

use super::time::Time;

/// How an item has fared so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempts {
    /// When its first copy was handed over to be sent.
    pub(super) first_sent: Time,
    pub(super) earlier: EarlierAttempts,
}

/// What became of the copies that were sent before the one in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EarlierAttempts {
    /// None was carried out.
    NotDone,
    /// There was one, in a group of which not all were carried out.
    DoneOrNot,
    /// One stayed unanswered: it may have been carried out, and may still be.
    Unanswered,
}

impl Attempts {
    /// Those of an item that is sent now for the first time.
    pub(super) fn first(now: Time) -> Self {
        Self {
            first_sent: now,
            earlier: EarlierAttempts::NotDone,
        }
    }

    pub(super) fn may_be_done(self) -> bool {
        self.earlier != EarlierAttempts::NotDone
    }

    pub(super) fn with(self, earlier: EarlierAttempts) -> Self {
        Self { earlier, ..self }
    }
}
