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
/// They are ordered by what may be stored if the server refuses the next copy. For a next copy that
/// the server denies the order is another one, so [`Attempts::with`] does not only take the larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EarlierAttempts {
    /// No copy was stored.
    NotStored,
    /// A copy was sent in a group. All answers to the group have come, and some were not good.
    MaybeStored,
    /// A copy stayed unanswered, after the server had denied another item of the run. Most likely
    /// it was denied too. If not, it may be stored now, or later.
    LikelyDenied,
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
    /// copy by its id before it refuses it. So no earlier copy is stored yet, and only an unanswered
    /// copy may still arrive.
    pub(super) fn may_be_stored_if_refused(self) -> bool {
        self.earlier >= EarlierAttempts::LikelyDenied
    }

    /// Whether a copy may be stored although the server denies this copy.
    ///
    /// The server denies a copy before it looks for the id, so this says nothing of the copies that
    /// it has answered: the login's permissions may have changed since. An unanswered copy counts
    /// as denied if the server had just denied another item.
    pub(super) fn may_be_stored_if_denied(self) -> bool {
        match self.earlier {
            EarlierAttempts::NotStored | EarlierAttempts::LikelyDenied => false,
            EarlierAttempts::MaybeStored | EarlierAttempts::MaybeStoredLater => true,
        }
    }

    /// Notes what became of one more copy. The worst case counts.
    pub(super) fn with(self, earlier: EarlierAttempts) -> Self {
        let earlier = match (self.earlier, earlier) {
            // One copy was answered, so it was not denied, and another one may be stored later.
            (EarlierAttempts::MaybeStored, EarlierAttempts::LikelyDenied) => {
                EarlierAttempts::MaybeStoredLater
            }
            (before, now) => before.max(now),
        };
        Self { earlier, ..self }
    }

    /// Notes that the server has refused a copy for its size. So it has also refused the earlier
    /// copies that it has answered.
    ///
    /// (On a replicated stream this is not certain if the limit was lowered between two copies:
    /// such a stream looks at the size before the id. The item is written a second time then, right
    /// after the first.)
    pub(super) fn refused_for_size(self) -> Self {
        let earlier = match self.earlier {
            EarlierAttempts::MaybeStored => EarlierAttempts::NotStored,
            earlier => earlier,
        };
        Self { earlier, ..self }
    }
}
