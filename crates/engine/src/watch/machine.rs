//! Decides which change is delivered next, and what becomes of it. It has no I/O and no clock.
//!
//! Of all instances that share a consumer, one at a time has its pull open: the consumer takes one
//! pull (`max_waiting` = 1). The instance is active while the pull gives signs. It starts calls only
//! then.
//!
//! The consumer numbers what it delivers. A gap in the numbers means that something was delivered
//! elsewhere: to another instance, or to a connection that was lost. Then an earlier change of a key
//! may still be under way there. So this instance settles first. It waits until no other instance can
//! be in a call, and until all that the consumer waits for is here. Then it goes on.

mod interface;
mod items;
mod settling;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub(super) use interface::{
    Attachment, CallOutcome, MachineSettings, NewChange, PendingMessages, WatchAction, WatchEvent,
    WatchPullEnd,
};
use items::{HeldChanges, Recent};
use settling::Settling;

use super::timing;

/// What the machine counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MachineCounts {
    pub(super) delivered: u64,
    /// Delivered changes that needed more than one call.
    pub(super) redelivered: u64,
    pub(super) given_up: u64,
    /// Changes that the bucket no longer had when their turn came.
    pub(super) superseded: u64,
}

/// The state of a watch.
#[derive(Debug)]
pub(super) struct WatchMachine {
    settings: MachineSettings,
    items: HeldChanges,
    recent: Recent,
    actions: VecDeque<WatchAction>,
    /// The number of the next message that the consumer delivers, if all before it are settled.
    expected: u64,
    settling: Option<Settling>,
    questions: u64,
    /// When the pull last gave a sign. `None`: what it gave is of unknown age.
    heard: Option<Duration>,
    /// The same, whatever has happened since.
    last_heard: Duration,
    /// When the open pull was sent; `None`: none is open.
    pull: Option<Duration>,
    /// When the next pull is sent.
    next_pull: Option<Duration>,
    /// How many pulls in a row gave no sign.
    silent_pulls: u32,
    /// When the consumer is looked for again.
    next_attach: Option<Duration>,
    attach_failures: u32,
    /// The highest sequence that has been seen of the stream.
    highest: u64,
    stopping: bool,
    /// Whether a change was forgotten that the consumer still waits for.
    has_loose_ends: bool,
    counts: MachineCounts,
}

impl WatchMachine {
    pub(super) fn new(settings: MachineSettings) -> Self {
        Self {
            settings,
            items: HeldChanges::default(),
            recent: Recent::default(),
            actions: VecDeque::from([WatchAction::Attach]),
            expected: 1,
            settling: None,
            questions: 0,
            heard: None,
            last_heard: Duration::ZERO,
            pull: None,
            next_pull: None,
            silent_pulls: 0,
            next_attach: None,
            attach_failures: 0,
            highest: 0,
            stopping: false,
            has_loose_ends: false,
            counts: MachineCounts::default(),
        }
    }

    pub(super) fn next_action(&mut self) -> Option<WatchAction> {
        self.actions.pop_front()
    }

    pub(super) fn counts(&self) -> MachineCounts {
        self.counts
    }

    /// Whether calls are started: the pull gives signs, and nothing has to settle.
    pub(super) fn is_delivering(&self, now: Duration) -> bool {
        !self.stopping && self.settling.is_none() && self.is_active(now)
    }

    fn is_active(&self, now: Duration) -> bool {
        self.heard
            .is_some_and(|heard| now < heard + timing::SILENCE)
    }

    /// Whether all that was begun has ended, after a stop.
    pub(super) fn has_ended(&self) -> bool {
        self.stopping && self.items.calling() == 0
    }

    /// Where a consumer has to begin that takes the place of this one: at the first change that is
    /// not done. `None`: nothing has come yet.
    pub(super) fn resume_at(&self) -> Option<u64> {
        let first = self.items.first();
        first.or((self.highest > 0).then_some(self.highest + 1))
    }

    /// The number of the last message up to which all that the consumer delivered is settled, if all
    /// of it is.
    pub(super) fn settled_to(&self) -> Option<u64> {
        let is_settled = self.settling.is_none() && !self.has_loose_ends;
        is_settled.then_some(self.expected - 1)
    }

    /// When the machine has to be told the time, at the latest.
    pub(super) fn wake(&self, now: Duration) -> Duration {
        let mut wake = now + timing::TICK;
        if self.is_delivering(now)
            && let Some(retry) = self.items.next_retry(now)
        {
            wake = wake.min(retry);
        }
        let settling = self.settling.as_ref().map(Settling::wake);
        for time in [settling, self.next_pull, self.next_attach]
            .into_iter()
            .flatten()
        {
            wake = wake.min(time);
        }
        wake.max(now + timing::SHORTEST_WAIT)
    }

    pub(super) fn handle(&mut self, event: WatchEvent, now: Duration) {
        match event {
            WatchEvent::Attached(attachment) => self.attached(&attachment, now),
            WatchEvent::NotAttached => self.not_attached(now),
            WatchEvent::Heard => self.hear(now),
            WatchEvent::Delivered(change) => self.delivered(change, now),
            WatchEvent::PullEnded(end) => self.pull_ended(end, now),
            WatchEvent::CallEnded { sequence, outcome } => self.call_ended(sequence, outcome, now),
            WatchEvent::Pending { question, pending } => {
                self.answered(question, pending, now);
            }
            WatchEvent::Disturbed => self.disturbed(now),
            WatchEvent::Tick => {}
            WatchEvent::Stop => self.stop(),
        }
        self.look_around(now);
    }

    fn attached(&mut self, attachment: &Attachment, now: Duration) {
        self.attach_failures = 0;
        self.silent_pulls = 0;
        self.settings.keeps_history = attachment.keeps_history;
        if attachment.is_other {
            // What the consumer before has delivered is delivered again. Calls go on.
            for sequence in self.items.waiting() {
                self.remove(sequence);
                self.actions.push_back(WatchAction::Forget { sequence });
            }
            self.expected = attachment.settled_to + 1;
            self.settling = None;
            self.heard = None;
            if self.items.calling() > 0 {
                self.settle(0, now);
            }
        }
        if attachment.is_other_stream {
            self.recent.clear();
            self.highest = 0;
        }
        self.next_pull = Some(now);
    }

    fn not_attached(&mut self, now: Duration) {
        self.pull = None;
        self.next_pull = None;
        let pause = timing::backoff(timing::ATTACH_PAUSE, self.attach_failures);
        self.next_attach = Some(now + pause);
        self.attach_failures = self.attach_failures.saturating_add(1);
    }

    fn hear(&mut self, now: Duration) {
        self.heard = Some(now);
        self.last_heard = now;
        self.silent_pulls = 0;
    }

    fn delivered(&mut self, change: NewChange, now: Duration) {
        self.hear(now);
        if self.stopping {
            return self.actions.push_back(WatchAction::Return {
                sequence: change.sequence,
            });
        }
        if change.consumer_sequence != self.expected {
            self.settle(change.consumer_sequence, now);
        }
        self.expected = change.consumer_sequence + 1;
        self.highest = self.highest.max(change.sequence);
        let sequence = change.sequence;
        if self.items.refresh(sequence, now) {
            return;
        }
        if self.recent.is_done(&change.key, sequence) {
            return self
                .actions
                .push_back(WatchAction::Acknowledge { sequence });
        }
        if change.deliveries > 1 {
            // Others may come again too, in any order.
            self.gather(now);
        }
        let replaces = change.replaces || !self.settings.keeps_history;
        if replaces {
            for gone in self.items.waiting_before(&change.key, sequence) {
                self.finish(gone);
                self.counts.superseded += 1;
            }
        }
        if !change.wanted {
            return self
                .actions
                .push_back(WatchAction::Acknowledge { sequence });
        }
        let calls = self.calls_elsewhere(change.deliveries);
        self.items
            .insert(sequence, change.key, calls, replaces, now);
    }

    /// How many calls count as made for a change that has been delivered so often.
    ///
    /// Most deliveries before led to no call. But a change must not end its instance over and over.
    fn calls_elsewhere(&self, deliveries: u64) -> u32 {
        let max = self.settings.max_deliver;
        let calls = deliveries.saturating_sub(1).saturating_sub(u64::from(max));
        u32::try_from(calls).unwrap_or(max).min(max - 1)
    }

    /// Acknowledges a change and forgets it.
    fn finish(&mut self, sequence: u64) {
        self.remove(sequence);
        self.actions
            .push_back(WatchAction::Acknowledge { sequence });
    }

    /// Lets another instance have a change, if it is still this one's to give.
    ///
    /// The consumer may not have received the last sign that the change is under way. It may have
    /// handed the change to another instance then.
    fn give_back(&mut self, sequence: u64, now: Duration) {
        let refreshed = self.items.refreshed(sequence);
        let is_ours = refreshed.is_some_and(|time| now < time + self.settings.ack_wait / 2);
        self.remove(sequence);
        self.actions.push_back(if is_ours {
            WatchAction::Return { sequence }
        } else {
            self.has_loose_ends = true;
            WatchAction::Forget { sequence }
        });
    }

    fn remove(&mut self, sequence: u64) -> Option<Arc<str>> {
        let (key, number) = self.items.remove(sequence)?;
        if let Some(settling) = &mut self.settling {
            settling.removed(number);
        }
        Some(key)
    }

    fn pull_ended(&mut self, end: WatchPullEnd, now: Duration) {
        self.pull = None;
        match end {
            WatchPullEnd::Expired => self.next_pull = Some(now),
            WatchPullEnd::Refused => self.next_pull = Some(now + timing::PULL_PAUSE),
            WatchPullEnd::Gone => {
                self.next_pull = None;
                self.next_attach = Some(now + timing::ATTACH_PAUSE.0);
            }
        }
    }

    fn call_ended(&mut self, sequence: u64, outcome: CallOutcome, now: Duration) {
        let Some(calls) = self.items.call_ended(sequence, outcome, now) else {
            return;
        };
        match outcome {
            CallOutcome::Delivered => {
                self.counts.delivered += 1;
                self.counts.redelivered += u64::from(calls > 1);
                self.done(sequence, now);
                self.actions
                    .push_back(WatchAction::Acknowledge { sequence });
            }
            _ if self.items.is_superseded(sequence) => {
                self.counts.superseded += 1;
                self.finish(sequence);
            }
            CallOutcome::Failed | CallOutcome::Unreachable => {
                let is_over = outcome == CallOutcome::Failed && calls >= self.settings.max_deliver;
                if is_over || !self.settings.retries {
                    self.counts.given_up += 1;
                    self.done(sequence, now);
                    self.actions
                        .push_back(WatchAction::GiveUp { sequence, calls });
                }
            }
        }
    }

    fn done(&mut self, sequence: u64, now: Duration) {
        if let Some(key) = self.remove(sequence) {
            self.recent.insert(key, sequence, now);
        }
    }

    /// The process stood still, or the connection was lost. What has come since is of unknown age.
    fn disturbed(&mut self, now: Duration) {
        self.heard = None;
        if self.pull.take().is_some() {
            self.next_pull = Some(now);
        }
        if self.next_attach.is_some() {
            self.next_attach = Some(now);
        }
    }

    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.pull = None;
            self.actions.push_back(WatchAction::ClosePull);
        }
    }

    /// Does what is due.
    fn look_around(&mut self, now: Duration) {
        if self.stopping {
            if self.items.calling() == 0 {
                while let Some(sequence) = self.items.first() {
                    self.give_back(sequence, now);
                }
            }
            return;
        }
        if self.next_attach.is_some_and(|time| now >= time) {
            self.next_attach = None;
            self.actions.push_back(WatchAction::Attach);
        }
        self.look_after_pull(now);
        if self.is_active(now) {
            for sequence in self.items.take_old(now, self.settings.ack_wait / 2) {
                self.actions.push_back(WatchAction::Extend { sequence });
            }
        } else if now >= self.last_heard + 2 * timing::SILENCE {
            // Another instance is active.
            for sequence in self.items.waiting() {
                self.give_back(sequence, now);
                self.gather(now);
            }
        }
        self.recent.forget_old(now, self.settings.ack_wait * 3);
        self.ask_if_due(now);
        if self.is_delivering(now) {
            let free = self.settings.max_in_flight - self.items.calling();
            for (sequence, attempt) in self.items.start(free, now) {
                self.actions
                    .push_back(WatchAction::Call { sequence, attempt });
            }
        }
    }

    fn look_after_pull(&mut self, now: Duration) {
        if let Some(sent) = self.pull
            && now >= self.heard.unwrap_or_default().max(sent) + timing::SILENCE
        {
            self.silent_pulls += 1;
            self.pull = None;
            if self.silent_pulls.is_multiple_of(timing::SILENT_PULLS) {
                self.actions.push_back(WatchAction::Attach);
            } else {
                self.next_pull = Some(now);
            }
        }
        if self.next_pull.is_some_and(|time| now >= time) {
            self.next_pull = None;
            self.pull = Some(now);
            self.actions.push_back(WatchAction::Pull {
                anew: !self.is_active(now),
            });
        }
    }
}
