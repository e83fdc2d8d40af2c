//! What is known of the copies of an item that were sent earlier.

use super::time::Time;

/// The copies of one item, up to the one that is in flight or queued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempts {
    /// When the first copy was handed over to be sent.
    pub(super) first_sent: Time,
    pub(super) earlier: EarlierAttempts,
}

/// What became of the copies that were sent before this one. (A read stores nothing. For a read,
/// "stored" means that it was carried out.)
///
/// Ordered by how much doubt remains when the next copy is *refused*. For a *denied* copy,
/// `MaybeStored` leaves more doubt than `LikelyPermissionDenied`; [`Attempts::with`] handles that
/// pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EarlierAttempts {
    /// No copy was stored.
    NotStored,
    /// A copy was sent in a group. All answers to the group have come, and some were not good.
    MaybeStored,
    /// A copy stayed unanswered, after the server had denied another item of the run. Most likely
    /// it was denied too. If not, it may be stored now, or later.
    LikelyPermissionDenied,
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

    /// Whether a copy may be stored although the server refuses this copy. A server recognizes this
    /// copy by its id before it refuses it. So no earlier copy is stored yet, and only an
    /// unanswered copy may still arrive.
    pub(super) fn may_be_stored_if_refused(self) -> bool {
        self.earlier >= EarlierAttempts::LikelyPermissionDenied
    }

    /// Whether a copy may be stored although the server denies this copy.
    ///
    /// A denial comes before the id check, so it says nothing of earlier copies that were answered:
    /// the login may have lost its permission since. A copy without an answer counts as denied too,
    /// if the server had just denied another item.
    pub(super) fn may_be_stored_if_permission_denied(self) -> bool {
        match self.earlier {
            EarlierAttempts::NotStored | EarlierAttempts::LikelyPermissionDenied => false,
            EarlierAttempts::MaybeStored | EarlierAttempts::MaybeStoredLater => true,
        }
    }

    /// Notes what became of one more copy. The worst case counts.
    pub(super) fn with(self, earlier: EarlierAttempts) -> Self {
        let earlier = match (self.earlier, earlier) {
            // One copy was answered, so it was not denied, and another one may be stored later.
            (EarlierAttempts::MaybeStored, EarlierAttempts::LikelyPermissionDenied) => {
                EarlierAttempts::MaybeStoredLater
            }
            (before, now) => before.max(now),
        };
        Self { earlier, ..self }
    }

    /// Notes that a copy was refused by a rule of the stream (its size, its TTL). The server checks
    /// the id first, so no answered copy is stored.
    ///
    /// One exception: a replicated stream checks the size first. If its limit was lowered between
    /// two copies, the item is written twice, one right after the other.
    pub(super) fn after_refusal_maybe_stale(self) -> Self {
        let earlier = match self.earlier {
            EarlierAttempts::MaybeStored => EarlierAttempts::NotStored,
            earlier => earlier,
        };
        Self { earlier, ..self }
    }
}
