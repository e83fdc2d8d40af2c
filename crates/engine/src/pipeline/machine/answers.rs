//! Taking answers, and what becomes of the items whose answers are not good.

use std::time::Duration;

use super::Machine;
use super::attempts::{Attempts, EarlierAttempts};
use super::in_flight::Answers;
use super::interface::{Action, Items, Reply, Why};
use super::refresh::InDoubt;

impl<I, E: Clone> Machine<I, E> {
    /// Takes an answer. The second answer to a request that was sent twice finds no group.
    pub(super) fn answer(&mut self, token: usize, reply: Reply<E>, items: &impl Items<Info = I>) {
        let Some(group) = self.in_flight.get_mut(token) else {
            return;
        };
        if group.items.len() > 1 {
            match reply {
                Reply::NoResponders => group.answers.untaken += 1,
                Reply::Done { place } => group.answers.places.push(place),
                _ => {}
            }
            let is_last = group.outstanding() == 1;
            self.in_flight.answered(token);
            self.to_release += 1;
            if is_last {
                self.land_group(token, items);
            }
            return;
        }
        let item = group.items.start;
        let Some(group) = self.land(token) else {
            return;
        };
        match reply {
            Reply::Done { .. } => {
                self.backoff = self.sizes.backoff.0;
                self.actions.push_back(Action::Done(item..item + 1));
            }
            Reply::Again => self.again_or_denied(item, group.attempts, self.backoff, items),
            Reply::Failed(error) => self.fail(item, false, Why::Given(error)),
            Reply::NoResponders | Reply::Gone | Reply::NotDone => {
                self.again_or_denied(item, group.attempts, self.backoff, items);
                self.want_refresh();
            }
            Reply::Outdated(error) => self.in_doubt.push_back(InDoubt {
                item,
                attempts: group.attempts,
                info: group.info,
                error,
            }),
        }
    }

    /// Has taken all the answers to a group. If they are not all good, each item is sent by itself.
    fn land_group(&mut self, token: usize, items: &impl Items<Info = I>) {
        let Some(mut group) = self.land(token) else {
            return;
        };
        let all_done = group.answers.are_all_done();
        let Answers { all, untaken, .. } = group.answers;
        if all_done {
            self.backoff = self.sizes.backoff.0;
            self.actions.push_back(Action::Done(group.items));
            return;
        }
        let attempts = if untaken == all {
            group.attempts
        } else {
            group.attempts.with(EarlierAttempts::DoneOrNot)
        };
        let pause = match untaken {
            0 => Duration::ZERO,
            _ => self.backoff,
        };
        for item in group.items {
            self.again_or_denied(item, attempts, pause, items);
        }
        if untaken > 0 {
            self.want_refresh();
        }
    }

    /// Sends an item again, unless the server refuses this login such requests.
    pub(super) fn again_or_denied(
        &mut self,
        item: usize,
        attempts: Attempts,
        pause: Duration,
        items: &impl Items<Info = I>,
    ) {
        match self.denied.clone() {
            Some(denied) => self.fail(item, attempts.may_be_done(), Why::Given(denied)),
            None => self.again(item, attempts, pause, items),
        }
    }

    /// The server refuses this login some items of a group. What it refuses one of them it is likely
    /// to refuse all: nothing new is sent. If others are with them in the group, each is sent by
    /// itself: that the group stays short of answers says nothing of them.
    pub(super) fn items_denied(
        &mut self,
        token: usize,
        denied: Vec<(usize, E)>,
        items: &impl Items<Info = I>,
    ) {
        let Some((_, first)) = denied.first() else {
            return;
        };
        let first = first.clone();
        let Some(group) = self.abandon(token) else {
            return;
        };
        self.deny(first);
        let attempts = group.attempts.with(EarlierAttempts::Unanswered);
        let mut denied = denied.into_iter().peekable();
        for item in group.items {
            match denied.next_if(|(denied, _)| *denied == item) {
                Some((_, error)) => self.fail(item, false, Why::Given(error)),
                None => self.again(item, attempts, Duration::ZERO, items),
            }
        }
    }

    fn deny(&mut self, error: E) {
        if self.denied.is_none() {
            self.give_up_unsent(&Why::Given(error.clone()));
            self.denied = Some(error);
        }
    }

    /// No answer can be heard: all that was sent stays unanswered.
    pub(super) fn inbox_denied(&mut self, error: E) {
        let why = Why::Given(error.clone());
        for token in self.in_flight.tokens() {
            self.give_up(token, &why);
        }
        self.give_up_unsent(&why);
        self.denied = Some(error);
    }
}
