//! Sending: a burst of items at a time, as long as there is room in the window.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::attempts::Attempts;
use super::in_flight::{GroupAnswers, InFlightGroup};
use super::interface::{Action, FailReason, Items, SendFailure};
use super::queue::Resend;
use super::time::Time;
use super::tokens::group_token;
use super::{Decision, InboxState, Machine};
use crate::retries::RetryReason;

/// What the driver is sending now.
#[derive(Debug)]
pub(super) struct Sending {
    token: usize,
    items: Range<usize>,
    /// `None`: the items were never sent before.
    attempts: Option<Attempts>,
    /// Why they are sent again, if they are.
    why_again: Option<RetryReason>,
    /// Whether the items join a group that is in flight.
    joins_group: bool,
    started: Time,
}

impl<I, E: Clone> Machine<I, E> {
    /// Plans the next burst, and which permits to acquire and to release for it.
    pub(super) fn plan_burst(&mut self, items: &impl Items<Info = I>) {
        if self.reserved_permits > 0 && self.may_send_now() {
            return;
        }
        self.cancel_burst();
        let wanted = if self.may_send_now() {
            self.next_burst(items)
        } else {
            0
        };
        if wanted > 0 {
            self.reserved_permits = wanted.min(self.unused_permits);
            self.burst_planned_at = self.now;
        }
        self.permits_to_release += self.unused_permits - self.reserved_permits;
        self.unused_permits = self.reserved_permits;
        if wanted == 0 && self.requested_permits > 0 {
            self.requested_permits = 0;
            self.actions.push_back(Action::CancelAcquire);
        } else if wanted > 0 && self.reserved_permits == 0 && self.requested_permits == 0 {
            self.requested_permits = wanted;
            self.actions.push_back(Action::AcquirePermits(wanted));
        }
    }

    /// Ends the planned burst, because it no longer fits the queue or the stream info. The next one
    /// is planned before anything else is sent.
    pub(super) fn cancel_burst(&mut self) {
        self.reserved_permits = 0;
    }

    /// Without a connection nothing is sent. The NATS client would keep the request, and a write
    /// could reach the server after the call has answered that it failed.
    fn may_send_now(&self) -> bool {
        self.is_connected && self.inbox == InboxState::Open && self.now < self.send_deadline
    }

    /// How many items to send next, whether or not there are permits for them.
    ///
    /// It is a whole burst or nothing, even if there is room for a part of it. Client and server
    /// spend less on each message when messages come many at a time.
    fn next_burst(&self, items: &impl Items<Info = I>) -> usize {
        let (window, burst) = self.window_and_burst(items);
        let room = window.saturating_sub(self.in_flight.requests());
        let mut bytes = self.in_flight.value_bytes();
        let mut count = 0;
        for item in self.queue.sendable(self.now).take(burst) {
            bytes += items.value_bytes(item);
            let is_only_value = count == 0 && self.in_flight.is_empty();
            if bytes > self.config.window_bytes && !is_only_value {
                break;
            }
            count += 1;
        }
        if count <= room { count } else { 0 }
    }

    /// The most requests in flight, and the most that are sent at a time.
    fn window_and_burst(&self, items: &impl Items<Info = I>) -> (usize, usize) {
        let config = &self.config;
        if self.denied.is_some() {
            let window = config.window_once_denied;
            return (window, config.burst.min(window));
        }
        let total = items.total_items();
        let small_expected = || self.now < self.small_batches_expected_until;
        let is_late = || {
            let sent = total - self.queue.never_sent().len();
            let elapsed = self.elapsed_before + self.now.since_start();
            self.time_limits.is_late(sent, total, elapsed)
        };
        match config.yield_rule.window(total, small_expected, is_late) {
            Some(window) => (window, config.burst.min(window / 2)),
            None => (config.window, config.burst),
        }
    }

    /// Sends the next items of the burst: one that is sent again, or several that go together.
    pub(super) fn next_send(&mut self, items: &impl Items<Info = I>) -> Decision<I, E> {
        if self.reserved_permits == 0 {
            return Decision::Nothing;
        }
        let (range, attempts, why_again) = match self.queue.pop_resend(self.burst_planned_at) {
            Some(resend) if !self.may_resend(resend.item, resend.attempts, items) => {
                // The resend window has ended while the item was queued.
                self.fail(resend.item, true, FailReason::ResendUnsafe);
                (0..0, None, None)
            }
            Some(Resend {
                item,
                attempts,
                why,
                ..
            }) => (item..item + 1, Some(attempts), Some(why)),
            None => (self.pop_group(items), None, None),
        };
        if range.is_empty() {
            // The queue has changed, so another burst has to be planned.
            self.cancel_burst();
            return Decision::Again;
        }
        self.reserved_permits -= range.len();
        self.unused_permits -= range.len();
        let may_duplicate = attempts.is_some_and(Attempts::may_be_stored);
        let mut send_before = self.send_deadline;
        if let Some(attempts) = attempts.filter(|_| may_duplicate) {
            send_before = send_before.min(self.resend_deadline(range.start, attempts, items));
        }
        let group = self.group_to_join(&range, attempts, items);
        let token = group.unwrap_or_else(|| group_token(&range, items.len()));
        self.sending = Some(Sending {
            token,
            items: range.clone(),
            attempts,
            joins_group: group.is_some(),
            why_again,
            started: self.now,
        });
        Decision::Action(Action::Send {
            token,
            items: range,
            send_before,
            may_duplicate,
            why_again,
        })
    }

    /// Takes the next items from the queue that go together. It may be a single item.
    fn pop_group(&mut self, items: &impl Items<Info = I>) -> Range<usize> {
        let next = self.queue.never_sent().take(self.reserved_permits);
        let group = next.take_while(|&item| items.may_group(item, &self.info));
        let group = group.count().clamp(1, self.config.group);
        self.queue.pop_never_sent(group)
    }

    /// The group that these items may join, if they were never sent: the one that was sent last,
    /// unless it would be too large.
    fn group_to_join(
        &self,
        range: &Range<usize>,
        attempts: Option<Attempts>,
        items: &impl Items<Info = I>,
    ) -> Option<usize> {
        let group = self.in_flight.get(self.last_token)?;
        let may_join = attempts.is_none()
            && group.items.len() > 1
            && group.items.end == range.start
            && group.items.len() + range.len() <= self.config.group
            && group.epoch == self.epoch
            && Arc::ptr_eq(&group.info, &self.info)
            && items.may_group(range.start, &self.info);
        may_join.then_some(self.last_token)
    }

    /// Takes what came of the last [`Action::Send`].
    pub(super) fn on_sent(
        &mut self,
        count: usize,
        failure: Option<SendFailure<E>>,
        items: &impl Items<Info = I>,
    ) {
        let Some(sending) = self.sending.take() else {
            return;
        };
        let Range { start, end } = sending.items;
        let unsent = (start + count).min(end)..end;
        self.permits_to_release += unsent.len();
        if unsent.start > start {
            self.put_in_flight(start..unsent.start, &sending, items);
        }
        if let Some(failure) = failure {
            let again = sending.attempts.zip(sending.why_again);
            self.send_failed(unsent, again, failure, items);
        }
    }

    fn put_in_flight(
        &mut self,
        range: Range<usize>,
        sending: &Sending,
        items: &impl Items<Info = I>,
    ) {
        let value_bytes = range.clone().map(|item| items.value_bytes(item)).sum();
        if sending.joins_group {
            self.in_flight
                .extend(sending.token, &range, value_bytes, self.now);
            return;
        }
        // The resend window counts from before the request was handed over, to be on the safe side.
        let first = || Attempts::first(sending.started);
        let group = InFlightGroup {
            items: range,
            attempts: sending.attempts.unwrap_or_else(first),
            value_bytes,
            last_sent: self.now,
            epoch: self.epoch,
            info: Arc::clone(&self.info),
            answers: GroupAnswers::default(),
        };
        self.in_flight.insert(sending.token, group);
        self.last_token = sending.token;
    }

    /// Deals with items that were not sent, because the first of them could not be sent.
    fn send_failed(
        &mut self,
        unsent: Range<usize>,
        again: Option<(Attempts, RetryReason)>,
        failure: SendFailure<E>,
        items: &impl Items<Info = I>,
    ) {
        let item = unsent.start;
        let maybe_stored = again.is_some_and(|(attempts, _)| attempts.may_be_stored());
        match (failure, again) {
            (SendFailure::ClientEnded, None) => {
                self.on_client_ended();
                self.queue.put_back(&unsent);
            }
            (SendFailure::ClientEnded, Some((attempts, why))) => {
                self.on_client_ended();
                self.resend(item, attempts, Duration::ZERO, why, items);
            }
            (SendFailure::Rejected(error), _) => {
                self.queue.put_back(&(item + 1..unsent.end));
                self.fail(item, maybe_stored, FailReason::Error(error));
            }
            (SendFailure::QueueFull, _) => {
                self.queue.put_back(&(item + 1..unsent.end));
                // The item had to be sent before the earlier of two times: the send deadline, and
                // the end of its resend window.
                let reason = if self.now < self.send_deadline {
                    FailReason::ResendUnsafe
                } else {
                    FailReason::DeadlinePassed
                };
                self.fail(item, maybe_stored, reason);
            }
        }
    }
}
