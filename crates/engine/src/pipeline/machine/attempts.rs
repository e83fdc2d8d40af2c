//! What is known of the earlier attempts of an item. An attempt is one send of its request.

use super::time::Time;

/// The attempts of one item, up to the one that is in flight or queued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempts {
    /// When the first attempt was handed over to be sent.
    pub(super) first_sent: Time,
    pub(super) earlier: EarlierAttempts,
}

/// What became of the attempts before this one. (A read stores nothing. For a read, "stored" means
/// that it was carried out.)
///
/// Whether an earlier attempt may be stored, if this one is refused (the server has looked for its id
/// first) or denied (it has not):
///
/// | earlier attempts | refused | denied |
/// | --- | --- | --- |
/// | `NotStored` | no | no |
/// | `AnsweredInGroup` | no | yes |
/// | `UnansweredLikelyDenied` | yes | no |
/// | `Unanswered` | yes | yes |
///
/// The order of the variants is that of the column "refused", from the least doubt to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EarlierAttempts {
    /// No attempt was stored.
    NotStored,
    /// An attempt was sent in a group. All answers to the group have come, so this one was answered.
    /// Some were not good, and nobody knows which: it may be stored.
    AnsweredInGroup,
    /// An attempt stayed unanswered, after the server had denied another item of the run. Most
    /// likely it was denied too. If not, it may be stored now, or later.
    UnansweredLikelyDenied,
    /// An attempt stayed unanswered. It may be stored now, or later.
    Unanswered,
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

    /// Whether an attempt may be stored although the server refuses this one. A server recognizes
    /// the id before it refuses the request. So no earlier attempt is stored yet, and only an
    /// unanswered one may still arrive.
    pub(super) fn may_be_stored_if_refused(self) -> bool {
        self.earlier >= EarlierAttempts::UnansweredLikelyDenied
    }

    /// Whether an attempt may be stored although the server denies this one.
    ///
    /// A denial comes before the id check, so it says nothing of earlier attempts that were
    /// answered: the login may have lost its permission since. An attempt without an answer counts
    /// as denied too, if the server had just denied another item.
    pub(super) fn may_be_stored_if_permission_denied(self) -> bool {
        match self.earlier {
            EarlierAttempts::NotStored | EarlierAttempts::UnansweredLikelyDenied => false,
            EarlierAttempts::AnsweredInGroup | EarlierAttempts::Unanswered => true,
        }
    }

    /// Notes what became of one more attempt. The worst case counts.
    pub(super) fn with(self, earlier: EarlierAttempts) -> Self {
        let earlier = match (self.earlier, earlier) {
            // The answered attempt shows that the login was allowed. So the silent one was probably
            // not denied, and may be stored later.
            (EarlierAttempts::AnsweredInGroup, EarlierAttempts::UnansweredLikelyDenied) => {
                EarlierAttempts::Unanswered
            }
            (before, now) => before.max(now),
        };
        Self { earlier, ..self }
    }

    /// Notes that an attempt was refused by a rule of the stream (its size, its TTL). The server
    /// checks the id first, so no answered attempt is stored.
    ///
    /// One exception: a replicated stream checks the size first. If its limit was lowered between
    /// two attempts, the refused one may hide a stored one. With the new, smaller limit the write
    /// may fit only without an id, and is then stored again.
    pub(super) fn after_refusal_maybe_stale(self) -> Self {
        let earlier = match self.earlier {
            EarlierAttempts::AnsweredInGroup => EarlierAttempts::NotStored,
            earlier => earlier,
        };
        Self { earlier, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EarlierAttempts::{AnsweredInGroup, NotStored, Unanswered, UnansweredLikelyDenied};

    #[test]
    fn a_refusal_says_that_no_answered_attempt_is_stored() {
        for (before, after) in [
            (NotStored, NotStored),
            (AnsweredInGroup, NotStored),
            (UnansweredLikelyDenied, UnansweredLikelyDenied),
            (Unanswered, Unanswered),
        ] {
            let attempts = Attempts::first(Time::START).with(before);
            assert_eq!(attempts.after_refusal_maybe_stale().earlier, after);
        }
    }

    #[test]
    fn what_a_denial_says_depends_on_whether_earlier_attempts_were_answered() {
        for (earlier, if_refused, if_denied) in [
            (NotStored, false, false),
            (AnsweredInGroup, false, true),
            (UnansweredLikelyDenied, true, false),
            (Unanswered, true, true),
        ] {
            let attempts = Attempts::first(Time::START).with(earlier);
            assert_eq!(attempts.may_be_stored_if_refused(), if_refused);
            assert_eq!(attempts.may_be_stored_if_permission_denied(), if_denied);
        }
    }
}
