//! Sending: a few items at a time, as long as there is room.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::attempts::Attempts;
use super::in_flight::{Answers, InFlightGroup};
use super::interface::{Action, Items, Unsent, Why};
use super::time::Time;
use super::{InboxState, Machine};

/// What is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    token: usize,
    items: Range<usize>,
    /// `None`: never sent before.
    attempts: Option<Attempts>,
    /// Whether the items join a group that is in flight.
    joins: bool,
    begun: Time,
}

impl<I, E: Clone> Machine<I, E> {
    /// Decides how many permits to have, to ask for and to give back, before anything is sent.
    pub(super) fn plan(&mut self, items: &impl Items<Info = I>) {
        if self.burst > 0 && self.may_send_now() {
            return;
        }
        self.burst = 0;
        let count = if self.may_send_now() {
            self.next_burst(items)
        } else {
            0
        };
        if count > 0 {
            self.burst = count.min(self.in_hand);
            self.burst_at = self.now;
        }
        self.to_release += self.in_hand - self.burst;
        self.in_hand = self.burst;
        if count == 0 && self.asked > 0 {
            self.asked = 0;
            self.actions.push_back(Action::StopAsking);
        } else if count > 0 && self.burst == 0 && self.asked == 0 {
            self.asked = count;
            self.actions.push_back(Action::Ask(count));
        }
    }

    /// Nothing is sent while there is no connection: the client would keep it, and a write could
    /// reach the server after the call has answered that it failed.
    fn may_send_now(&self) -> bool {
        self.connected && self.inbox == InboxState::Open && self.now < self.settle
    }

    /// How many items may be sent next as far as this batch goes.
    ///
    /// Not a few as soon as there is room for a few: both sides would spend more on each message.
    fn next_burst(&self, items: &impl Items<Info = I>) -> usize {
        let (window, burst) = self.window(items);
        let room = window.saturating_sub(self.in_flight.items());
        let mut weight = self.in_flight.weight();
        let mut count = 0;
        for item in self.queue.due(self.now).take(burst) {
            weight += items.weight(item);
            if weight > self.sizes.window_bytes && (count > 0 || !self.in_flight.is_empty()) {
                break;
            }
            count += 1;
        }
        if count <= room { count } else { 0 }
    }

    /// How many requests may be in flight, and how many may be sent at a time.
    ///
    /// A large call keeps few in flight while small batches come over its link as well: a server
    /// answers in the order in which it is asked.
    fn window(&self, items: &impl Items<Info = I>) -> (usize, usize) {
        let sizes = &self.sizes;
        if self.denied.is_some() {
            return (
                sizes.window_once_denied,
                sizes.burst.min(sizes.window_once_denied),
            );
        }
        let call_len = items.call_len();
        if call_len < sizes.large || self.now >= self.small_until {
            return (sizes.window, sizes.burst);
        }
        let begun = call_len - self.queue.fresh().len();
        let elapsed = self.elapsed_before + self.now.since_start();
        let window = if self.limits.is_late(begun, call_len, elapsed) {
            sizes.window_of_late
        } else {
            sizes.window_beside_small
        };
        (window, sizes.burst.min(window / 2))
    }

    /// The next items of the burst: one that was sent before, or several that go together.
    pub(super) fn next_send(&mut self, items: &impl Items<Info = I>) -> Option<Action<I, E>> {
        if self.burst == 0 {
            return None;
        }
        let (range, attempts) = match self.queue.pop_again(self.burst_at) {
            Some(again) if !self.may_send(again.item, again.attempts, items) => {
                // It has waited too long for its turn.
                self.fail(again.item, true, Why::NotRepeatable);
                (0..0, None)
            }
            Some(again) => (again.item..again.item + 1, Some(again.attempts)),
            None => (self.pop_group(items), None),
        };
        if range.is_empty() {
            // The burst was planned for other items than are in the queue now.
            self.burst = 0;
            return self.next_action(self.now, items);
        }
        self.burst -= range.len();
        self.in_hand -= range.len();
        let repeat = attempts.is_some_and(Attempts::may_be_done);
        let mut by = self.settle;
        if let Some(attempts) = attempts.filter(|_| repeat) {
            by = by.min(self.repeat_by(range.start, attempts, items));
        }
        let group = self.group_for(&range, attempts, items);
        let token = group.unwrap_or(match range.len() {
            1 => range.start,
            _ => items.len() + range.start,
        });
        self.sending = Some(Sending {
            token,
            items: range.clone(),
            attempts,
            joins: group.is_some(),
            begun: self.now,
        });
        Some(Action::Send {
            token,
            items: range,
            by,
            repeat,
        })
    }

    /// Takes the next items that go together from the queue: if there is only one, that one.
    fn pop_group(&mut self, items: &impl Items<Info = I>) -> Range<usize> {
        let fresh = self.queue.fresh().take(self.burst);
        let group = fresh.take_while(|&item| items.groups(item, &self.info));
        let group = group.count().clamp(1, self.sizes.group);
        self.queue.pop_fresh(group)
    }

    /// The group in flight that these items may join, if they have not been sent before: the one that
    /// was sent last, as long as it is not too large.
    fn group_for(
        &self,
        range: &Range<usize>,
        attempts: Option<Attempts>,
        items: &impl Items<Info = I>,
    ) -> Option<usize> {
        let group = self.in_flight.get(self.last_token)?;
        let joins = attempts.is_none()
            && group.items.len() > 1
            && group.items.end == range.start
            && group.items.len() + range.len() <= self.sizes.group
            && group.epoch == self.epoch
            && Arc::ptr_eq(&group.info, &self.info)
            && items.groups(range.start, &self.info);
        joins.then_some(self.last_token)
    }

    pub(super) fn sent(
        &mut self,
        count: usize,
        stopped: Option<Unsent<E>>,
        items: &impl Items<Info = I>,
    ) {
        let Some(sending) = self.sending.take() else {
            return;
        };
        let Range { start, end } = sending.items;
        let unsent = (start + count).min(end)..end;
        self.to_release += unsent.len();
        if unsent.start > start {
            self.launch(start..unsent.start, &sending, items);
        }
        if let Some(why) = stopped {
            self.unsent(unsent, sending.attempts, why, items);
        }
    }

    fn launch(&mut self, range: Range<usize>, sending: &Sending, items: &impl Items<Info = I>) {
        let weight = range.clone().map(|item| items.weight(item)).sum();
        if sending.joins {
            self.in_flight
                .extend(sending.token, &range, weight, self.now);
            return;
        }
        // Its time counts from before it was handed over, so that no copy is sent too late.
        let first = || Attempts::first(sending.begun);
        let group = InFlightGroup {
            items: range,
            attempts: sending.attempts.unwrap_or_else(first),
            weight,
            sent: self.now,
            epoch: self.epoch,
            info: Arc::clone(&self.info),
            answers: Answers::default(),
        };
        self.in_flight.launch(sending.token, group);
        self.last_token = sending.token;
    }

    /// Deals with items that were to be sent, of which the first was not.
    fn unsent(
        &mut self,
        range: Range<usize>,
        attempts: Option<Attempts>,
        why: Unsent<E>,
        items: &impl Items<Info = I>,
    ) {
        let item = range.start;
        let may_be_done = attempts.is_some_and(Attempts::may_be_done);
        match (why, attempts) {
            (Unsent::ClientEnded, None) => {
                self.end_client();
                self.queue.put_back(&range);
            }
            (Unsent::ClientEnded, Some(attempts)) => {
                self.end_client();
                self.again(item, attempts, Duration::ZERO, items);
            }
            (Unsent::Refused(error), _) => {
                self.queue.put_back(&(item + 1..range.end));
                self.fail(item, may_be_done, Why::Given(error));
            }
            (Unsent::QueueFull, _) => {
                self.queue.put_back(&(item + 1..range.end));
                self.fail(item, may_be_done, Why::TimeOver);
            }
        }
    }
}
