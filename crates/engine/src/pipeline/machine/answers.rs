//! Taking answers and permission errors, and deciding what becomes of the items.

use std::time::Duration;

use super::Machine;
use super::attempts::{Attempts, EarlierAttempts};
use super::in_flight::{GroupOutcome, InFlightGroup};
use super::interface::{Action, AnswerOutcome, FailReason, Items};
use super::refresh::AwaitingRefresh;
use crate::retries::RetryReason;

impl<I, E: Clone> Machine<I, E> {
    /// Takes an answer. An answer that comes after its group was removed is ignored.
    pub(super) fn on_answer(
        &mut self,
        token: usize,
        outcome: AnswerOutcome<E>,
        items: &impl Items<Info = I>,
    ) {
        let Some(group) = self.in_flight.get(token) else {
            return;
        };
        if group.items.len() > 1 {
            self.in_flight.record_answer(token, &outcome);
            self.permits_to_release += 1;
            self.end_group_if_answered(token, items);
            return;
        }
        let item = group.items.start;
        let Some(group) = self.remove_group(token) else {
            return;
        };
        match outcome {
            AnswerOutcome::Done { .. } => {
                self.backoff = self.config.backoff.first;
                self.actions.push_back(Action::Done(item..item + 1));
            }
            AnswerOutcome::TryAgain => {
                let why = RetryReason::NotReady;
                self.resend_unless_denied(item, group.attempts, self.backoff, why, items);
            }
            AnswerOutcome::Refused(error) => {
                let maybe_stored = group.attempts.may_be_stored_if_refused();
                self.fail(item, maybe_stored, FailReason::Error(error));
            }
            AnswerOutcome::RefusedBeforeIdCheck(error) => {
                let maybe_stored = group.attempts.may_be_stored();
                self.fail(item, maybe_stored, FailReason::Error(error));
            }
            AnswerOutcome::Unusable(error) | AnswerOutcome::OverLimit(error) => {
                self.fail(item, true, FailReason::Error(error));
            }
            // `NotAcknowledged` comes only to a group of several requests, which has returned
            // above.
            AnswerOutcome::NoResponders
            | AnswerOutcome::StreamNotFound
            | AnswerOutcome::NotAcknowledged => {
                let why = RetryReason::NoResponders;
                self.resend_unless_denied(item, group.attempts, self.backoff, why, items);
                self.refresh_info_soon();
            }
            AnswerOutcome::RefusedMaybeStale(error) => {
                self.awaiting_refresh.push_back(AwaitingRefresh {
                    item,
                    attempts: group.attempts.after_refusal_maybe_stale(),
                    info: group.info,
                    error,
                });
            }
        }
    }

    /// Ends a group if all of its requests are answered. If all answers are good, its items are
    /// done. Otherwise each item is sent again by itself, because nothing tells which item a bad
    /// answer is to.
    fn end_group_if_answered(&mut self, token: usize, items: &impl Items<Info = I>) {
        let is_answered = |group: &InFlightGroup<I>| group.outstanding() == 0;
        if !self.in_flight.get(token).is_some_and(is_answered) {
            return;
        }
        let Some(group) = self.remove_group(token) else {
            return;
        };
        let no_responders = group.answers.no_responders;
        let attempts = match group.answers.into_outcome() {
            GroupOutcome::AllDone => {
                self.backoff = self.config.backoff.first;
                self.actions.push_back(Action::Done(group.items));
                return;
            }
            GroupOutcome::NotAllDone if no_responders == group.items.len() => group.attempts,
            GroupOutcome::NotAllDone => group.attempts.with(EarlierAttempts::AnsweredInGroup),
            GroupOutcome::NotAllAnswered => {
                self.all_answered = false;
                group.attempts.with(EarlierAttempts::Unanswered)
            }
        };
        let (pause, why) = match no_responders {
            0 => (Duration::ZERO, RetryReason::GroupFailed),
            _ => (self.backoff, RetryReason::NoResponders),
        };
        for item in group.items {
            self.resend_unless_denied(item, attempts, pause, why, items);
        }
        if no_responders > 0 {
            self.refresh_info_soon();
        }
    }

    /// Sends an item again. Once the server has denied such a request, the item fails instead.
    pub(super) fn resend_unless_denied(
        &mut self,
        item: usize,
        attempts: Attempts,
        pause: Duration,
        why: RetryReason,
        items: &impl Items<Info = I>,
    ) {
        match self.denied.clone() {
            Some(denied) => self.fail(item, attempts.may_be_stored(), FailReason::Error(denied)),
            None => self.resend(item, attempts, pause, why, items),
        }
    }

    /// Takes the permission errors of some items of a group, which stay unanswered.
    ///
    /// Most likely the server denies all items of the run, so no other item is sent for the first
    /// time. The other items of the group are sent again, each by itself, because the group can no
    /// longer get all of its answers.
    pub(super) fn on_items_denied(
        &mut self,
        token: usize,
        denied: Vec<(usize, E)>,
        items: &impl Items<Info = I>,
    ) {
        let Some((_, first)) = denied.first() else {
            return;
        };
        let first = first.clone();
        let Some(group) = self.stop_waiting(token) else {
            return;
        };
        if self.denied.is_none() {
            self.fail_queued(&FailReason::Error(first.clone()));
            self.denied = Some(first);
        }
        let maybe_stored = group.attempts.may_be_stored_if_permission_denied();
        let attempts = group.attempts.with(EarlierAttempts::UnansweredLikelyDenied);
        let mut denied = denied.into_iter().peekable();
        for item in group.items {
            match denied.next_if(|(denied_item, _)| *denied_item == item) {
                Some((_, error)) => self.fail(item, maybe_stored, FailReason::Error(error)),
                None => {
                    let why = RetryReason::GroupFailed;
                    self.resend(item, attempts, Duration::ZERO, why, items);
                }
            }
        }
    }

    /// Takes the permission error of the inbox: no answer can come, so all items fail.
    pub(super) fn on_inbox_denied(&mut self, error: E) {
        let reason = FailReason::Error(error.clone());
        for token in self.in_flight.tokens() {
            self.fail_group(token, &reason);
        }
        self.fail_queued(&reason);
        self.denied = Some(error);
    }
}
