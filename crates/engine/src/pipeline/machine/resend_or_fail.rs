//! What becomes of items: they are sent again, they fail, or their answers are no longer waited
//! for.

use std::time::Duration;

use super::Machine;
use super::attempts::{Attempts, EarlierAttempts};
use super::in_flight::InFlightGroup;
use super::interface::{Action, FailReason, Items};
use super::queue::Resend;
use super::time::Time;
use crate::retries::RetryReason;

impl<I, E: Clone> Machine<I, E> {
    /// Queues an item to be sent again after a pause. If an earlier attempt may be stored and
    /// the resend window is over, the item fails instead.
    pub(super) fn resend(
        &mut self,
        item: usize,
        attempts: Attempts,
        pause: Duration,
        why: RetryReason,
        items: &impl Items<Info = I>,
    ) {
        if !self.may_resend(item, attempts, items) {
            self.fail(item, true, FailReason::ResendUnsafe);
            return;
        }
        // The queue's order changes.
        self.cancel_burst();
        self.queue.push_resend(Resend {
            due: self.now.after(pause),
            item,
            attempts,
            why,
        });
    }

    pub(super) fn may_resend(
        &self,
        item: usize,
        attempts: Attempts,
        items: &impl Items<Info = I>,
    ) -> bool {
        !attempts.may_be_stored() || self.now < self.resend_deadline(item, attempts, items)
    }

    /// The end of the item's resend window.
    pub(super) fn resend_deadline(
        &self,
        item: usize,
        attempts: Attempts,
        items: &impl Items<Info = I>,
    ) -> Time {
        let window = items.resend_window(item, &self.info);
        attempts.first_sent.after(window)
    }

    /// Fails all items that are queued.
    pub(super) fn fail_queued(&mut self, reason: &FailReason<E>) {
        self.cancel_burst();
        let (resends, never_sent) = self.queue.drain();
        for Resend { item, attempts, .. } in resends {
            self.fail(item, attempts.may_be_stored(), reason.clone());
        }
        if !never_sent.is_empty() {
            self.actions.push_back(Action::Failed {
                items: never_sent,
                maybe_stored: false,
                reason: reason.clone(),
            });
        }
    }

    pub(super) fn fail(&mut self, item: usize, maybe_stored: bool, reason: FailReason<E>) {
        self.actions.push_back(Action::Failed {
            items: item..item + 1,
            maybe_stored,
            reason,
        });
    }

    /// Fails the items of a group in flight.
    pub(super) fn fail_group(&mut self, token: usize, reason: &FailReason<E>) {
        if let Some(group) = self.stop_waiting(token) {
            self.actions.push_back(Action::Failed {
                items: group.items,
                maybe_stored: true,
                reason: reason.clone(),
            });
        }
    }

    /// Removes a group whose answers may still come. They will be ignored.
    pub(super) fn stop_waiting(&mut self, token: usize) -> Option<InFlightGroup<I>> {
        let group = self.remove_group(token)?;
        self.all_answered = false;
        Some(group)
    }

    /// Removes a group from those in flight. Its permits are to be released.
    pub(super) fn remove_group(&mut self, token: usize) -> Option<InFlightGroup<I>> {
        let group = self.in_flight.remove(token)?;
        self.permits_to_release += group.outstanding();
        Some(group)
    }

    /// Sends the items of an unanswered group again, each by itself. `earlier` says what became of
    /// the unanswered attempts.
    pub(super) fn resend_group(
        &mut self,
        token: usize,
        earlier: EarlierAttempts,
        why: RetryReason,
        items: &impl Items<Info = I>,
    ) {
        let Some(group) = self.stop_waiting(token) else {
            return;
        };
        let attempts = group.attempts.with(earlier);
        for item in group.items {
            self.resend(item, attempts, Duration::ZERO, why, items);
        }
    }
}
