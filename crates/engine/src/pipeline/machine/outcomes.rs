//! What becomes of items: they are sent again, they fail, or they are waited for no longer.

use std::time::Duration;

use super::Machine;
use super::attempts::{Attempts, EarlierAttempts};
use super::in_flight::InFlightGroup;
use super::interface::{Action, Items, Why};
use super::queue::Delayed;
use super::time::Time;

impl<I, E: Clone> Machine<I, E> {
    /// Queues an item to be sent again after a pause; unless an earlier copy of it may have been
    /// carried out, and a second one could do harm.
    pub(super) fn again(
        &mut self,
        item: usize,
        attempts: Attempts,
        pause: Duration,
        items: &impl Items<Info = I>,
    ) {
        if !self.may_send(item, attempts, items) {
            self.fail(item, true, Why::NotRepeatable);
            return;
        }
        // The queue is in another order now than when the burst was planned.
        self.burst = 0;
        self.queue.delay(Delayed {
            due: self.now.after(pause),
            item,
            attempts,
        });
    }

    pub(super) fn may_send(
        &self,
        item: usize,
        attempts: Attempts,
        items: &impl Items<Info = I>,
    ) -> bool {
        !attempts.may_be_done() || self.now < self.repeat_by(item, attempts, items)
    }

    /// Until when the item may be sent again, although an earlier copy may have been carried out.
    pub(super) fn repeat_by(
        &self,
        item: usize,
        attempts: Attempts,
        items: &impl Items<Info = I>,
    ) -> Time {
        let within = items.repeat_within(item, &self.info);
        attempts.first_sent.after(within)
    }

    /// Fails all that waits to be sent.
    pub(super) fn give_up_unsent(&mut self, why: &Why<E>) {
        self.burst = 0;
        let (again, fresh) = self.queue.drain();
        for Delayed { item, attempts, .. } in again {
            self.fail(item, attempts.may_be_done(), why.clone());
        }
        if !fresh.is_empty() {
            self.actions.push_back(Action::Failed {
                items: fresh,
                unanswered: false,
                why: why.clone(),
            });
        }
    }

    pub(super) fn fail(&mut self, item: usize, unanswered: bool, why: Why<E>) {
        self.actions.push_back(Action::Failed {
            items: item..item + 1,
            unanswered,
            why,
        });
    }

    /// Waits no longer for a group's answers, which may still come.
    pub(super) fn abandon(&mut self, token: usize) -> Option<InFlightGroup<I>> {
        let group = self.land(token)?;
        self.all_answered = false;
        Some(group)
    }

    /// Takes a group out of those in flight, and gives its permits back.
    pub(super) fn land(&mut self, token: usize) -> Option<InFlightGroup<I>> {
        let group = self.in_flight.land(token)?;
        self.to_release += group.outstanding();
        Some(group)
    }

    /// Sends a group's items again one by one: they may have been carried out.
    pub(super) fn send_again(&mut self, token: usize, items: &impl Items<Info = I>) {
        let Some(group) = self.abandon(token) else {
            return;
        };
        let attempts = group.attempts.with(EarlierAttempts::Unanswered);
        for item in group.items {
            self.again(item, attempts, Duration::ZERO, items);
        }
    }
}
