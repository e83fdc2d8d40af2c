//! What the consumer delivers, what is held here, and what comes of the calls.

use std::sync::Arc;
use std::time::Duration;

use super::WatchMachine;
use super::interface::{CallOutcome, ChangeId, NewChange, WatchAction};
use crate::watch::timing;

impl WatchMachine {
    pub(super) fn delivered(&mut self, change: &NewChange, now: Duration) {
        self.pull.hear(now);
        let id = change.id;
        if self.stopping {
            return self.actions.push_back(WatchAction::NakAndDrop { id });
        }
        // Its store time is later, but its sequence is not higher: the stream was restored or
        // recreated.
        let is_of_other_stream =
            id.sequence <= self.highest.sequence && id.time > self.highest.time;
        if is_of_other_stream {
            self.start_over();
            self.settle(0, now);
        } else if change.consumer_sequence != self.expected {
            self.settle(change.consumer_sequence, now);
        }
        self.expected = change.consumer_sequence + 1;
        self.highest = self.highest.furthest(id);
        if self.items.confirm(id, change.consumer_sequence, now) {
            return;
        }
        if self.recent.is_done(&change.key, id) {
            return self.actions.push_back(WatchAction::Acknowledge { id });
        }
        if change.deliveries > 1 {
            // Others may come again too, in any order.
            self.settle_without_calls(now);
        }
        if change.replaces {
            self.supersede(self.items.waiting_before(&change.key, id));
        }
        if !change.wanted {
            self.supersede(self.items.outdated(&change.key, Some(id), self.history()));
            return self.actions.push_back(WatchAction::Acknowledge { id });
        }
        let (key, number) = (Arc::clone(&change.key), change.consumer_sequence);
        self.items.insert(id, key, number, change.replaces, now);
        self.supersede(self.items.outdated(&change.key, None, self.history()));
        self.enforce_max_held(now);
    }

    /// Is done with changes that the bucket has no more.
    fn supersede(&mut self, gone: Vec<ChangeId>) {
        for id in gone {
            self.finish(id);
            self.counts.superseded += 1;
        }
    }

    /// Looks for changes that the stream has dropped, if more is here than the consumer hands out.
    ///
    /// The consumer waits for nothing that has expired, was purged or was discarded, and hands out
    /// others in its place, without a word.
    fn enforce_max_held(&mut self, now: Duration) {
        let max = self.settings.max_held;
        let (many, too_many) = (2 * max, 4 * max);
        if self.items.len() > many {
            self.forget_gone(now);
        }
        if self.items.len() > too_many {
            // They come again as new ones if they are there.
            self.has_forgotten_unacked = true;
            self.forget(self.items.doubtful_since(now));
        }
        let held = self.items.len();
        // While settling, the redelivery that it asked for is given time.
        let may_interrupt = self.settling.is_none() || held > many;
        let is_due =
            held > too_many || now >= self.redelivery_requested_at + timing::REDELIVERY_TIME;
        if held > max && may_interrupt && is_due {
            self.request_redelivery(now);
            self.settle_without_calls(now);
        }
    }

    /// Has the consumer deliver again what waits here. What does not come again is not the
    /// consumer's any more. What is in a call is looked at when the call has ended.
    pub(super) fn request_redelivery(&mut self, now: Duration) {
        self.redelivery_requested_at = now;
        for id in self.items.waiting() {
            if self.is_ours(id, now) {
                self.actions.push_back(WatchAction::NakAndKeep { id });
            }
        }
        for id in self.items.all() {
            self.items.doubt(id, now);
        }
    }

    /// Acknowledges a change and forgets it.
    fn finish(&mut self, id: ChangeId) {
        self.items.remove(id);
        self.actions.push_back(WatchAction::Acknowledge { id });
    }

    /// Whether the consumer cannot have handed the change to another instance meanwhile.
    ///
    /// The consumer may not have received the last sign that the change is under way. It may have
    /// handed it on then.
    fn is_ours(&self, id: ChangeId, now: Duration) -> bool {
        let refreshed = self.items.refreshed(id);
        refreshed.is_some_and(|time| now < time + self.settings.ack_wait / 2)
    }

    /// Lets another instance have a change, if it is still this one's to give.
    pub(super) fn give_back(&mut self, id: ChangeId, now: Duration) {
        let is_ours = self.is_ours(id, now);
        self.items.remove(id);
        self.may_be_elsewhere = true;
        self.actions.push_back(if is_ours {
            WatchAction::NakAndDrop { id }
        } else {
            self.has_forgotten_unacked = true;
            WatchAction::Forget { id }
        });
    }

    pub(super) fn call_ended(&mut self, id: ChangeId, outcome: CallOutcome, now: Duration) {
        let Some(calls) = self.items.call_ended(id, outcome, now) else {
            return;
        };
        match outcome {
            CallOutcome::Delivered => {
                self.counts.delivered += 1;
                self.counts.redelivered += u64::from(calls > 1);
                self.done(id, now);
                self.actions.push_back(WatchAction::Acknowledge { id });
            }
            _ if self.items.is_superseded(id, self.history()) => {
                self.counts.superseded += 1;
                self.finish(id);
            }
            CallOutcome::Failed | CallOutcome::Unreachable => {
                let is_over = outcome == CallOutcome::Failed && calls >= self.settings.max_deliver;
                if is_over || !self.settings.retries {
                    self.counts.given_up += 1;
                    self.done(id, now);
                    self.actions.push_back(WatchAction::Terminate { id, calls });
                } else if !self.items.is_confirmed(id) {
                    self.items.doubt(id, now);
                    if self.is_ours(id, now) {
                        self.actions.push_back(WatchAction::NakAndKeep { id });
                    }
                }
            }
        }
    }

    fn done(&mut self, id: ChangeId, now: Duration) {
        if let Some(key) = self.items.remove(id) {
            self.recent.insert(key, id, now);
        }
    }
}
