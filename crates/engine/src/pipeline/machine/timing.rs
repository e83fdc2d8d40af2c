//! What comes of time that passes, and of connections that are lost.

use std::time::Duration;

use super::interface::{Action, Items, Why};
use super::refresh::InDoubt;
use super::time::Time;
use super::{InboxState, Machine};

impl<I, E: Clone> Machine<I, E> {
    /// After a reconnect the answers to what was sent before it may never come.
    pub(super) fn connection(&mut self, epoch: u64, up: bool, items: &impl Items<Info = I>) {
        self.connected = up;
        if epoch > self.epoch {
            self.epoch = epoch;
            let lost = self.in_flight.before(epoch);
            if !lost.is_empty() {
                self.actions.push_back(Action::ConnectionLost);
            }
            for token in lost {
                self.send_again(token, items);
            }
        }
    }

    /// Gives up, or sends again, what has waited too long; and all of it when the time is over.
    pub(super) fn check_time(&mut self, items: &impl Items<Info = I>) {
        if self.now >= self.settle {
            self.give_up_unsent(&Why::TimeOver);
        }
        if self.now >= self.end {
            for token in self.in_flight.tokens() {
                self.give_up(token, &Why::TimeOver);
            }
            for InDoubt { item, error, .. } in std::mem::take(&mut self.in_doubt) {
                self.fail(item, false, Why::Given(error));
            }
            return;
        }
        while self.now < self.settle
            && let Some((sent, token)) = self.in_flight.oldest()
            && sent.after(self.patience()) <= self.now
        {
            self.send_again(token, items);
        }
    }

    /// Fails a group in flight.
    pub(super) fn give_up(&mut self, token: usize, why: &Why<E>) {
        if let Some(group) = self.abandon(token) {
            self.actions.push_back(Action::Failed {
                items: group.items,
                unanswered: true,
                why: why.clone(),
            });
        }
    }

    /// How long an answer is waited for.
    ///
    /// Once a permission was denied, not for long: the client drops what a server says of
    /// permissions if the server says much at once, and who asks again hears it again.
    fn patience(&self) -> Duration {
        let patience = self.limits.patience_for(self.in_flight.weight());
        match self.denied {
            Some(_) => patience.min(self.sizes.patience_once_denied),
            None => patience,
        }
    }

    /// When to tell the machine the time again if nothing happens.
    pub(crate) fn wake(&mut self) -> Time {
        let now = self.now;
        let mut wake = if now < self.settle {
            self.settle
        } else {
            self.end
        };
        if !self.connected || self.inbox != InboxState::Open {
            wake = wake.min(now.after(self.sizes.backoff.0));
        } else if let Some(due) = self.queue.first_due().filter(|&due| due > now) {
            wake = wake.min(due);
        }
        if now < self.settle
            && let Some((sent, _)) = self.in_flight.oldest()
        {
            wake = wake.min(sent.after(self.patience()));
        }
        wake
    }
}
