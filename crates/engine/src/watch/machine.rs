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
mod recent;
mod settling;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub(super) use interface::{
    Attachment, CallOutcome, ChangeId, ChangeRetention, MachineSettings, NewChange,
    PendingMessages, WatchAction, WatchEvent, WatchPullEnd,
};
use items::HeldChanges;
use recent::Recent;
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
    /// Whether the consumer may wait for something that is not here.
    may_be_elsewhere: bool,
    /// When the consumer was last to deliver again what waits here.
    redelivery_requested_at: Duration,
    /// When it is asked whether it does, if nothing has to settle.
    next_look: Duration,
    /// How long a call may take, at this instance or at another one.
    longest_call: Duration,
    questions: u64,
    /// The question that waits for its answer.
    question: Option<u64>,
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
    /// How long the bucket keeps changes. `None`: the consumer was not found yet.
    retention: Option<ChangeRetention>,
    /// The highest sequence that has been seen of the stream, and the latest time.
    highest: ChangeId,
    stopping: bool,
    /// Whether a change was forgotten that the consumer still waits for.
    has_forgotten_unacked: bool,
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
            may_be_elsewhere: true,
            redelivery_requested_at: Duration::ZERO,
            next_look: Duration::ZERO,
            longest_call: settings.call_timeout,
            questions: 0,
            question: None,
            heard: None,
            last_heard: Duration::ZERO,
            pull: None,
            next_pull: None,
            silent_pulls: 0,
            next_attach: None,
            attach_failures: 0,
            retention: None,
            highest: ChangeId::default(),
            stopping: false,
            has_forgotten_unacked: false,
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
    /// not done. `None`: that is not known, because the consumer may wait for something that is not
    /// here.
    pub(super) fn resume_at(&self) -> Option<u64> {
        if self.may_be_elsewhere || self.highest.sequence == 0 {
            return None;
        }
        let first = self.items.first().map(|id| id.sequence);
        Some(first.unwrap_or(self.highest.sequence + 1))
    }

    /// The highest sequence that has been seen of the stream.
    pub(super) fn highest(&self) -> u64 {
        self.highest.sequence
    }

    /// The number of the last message up to which all that the consumer delivered is settled, if all
    /// of it is.
    pub(super) fn settled_to(&self) -> Option<u64> {
        let is_settled = self.settling.is_none() && !self.has_forgotten_unacked;
        is_settled.then_some(self.expected - 1)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.items.len()
    }

    /// When the machine has to be told the time, at the latest.
    pub(super) fn wake(&self, now: Duration) -> Duration {
        let mut wake = now + timing::TICK;
        if self.is_delivering(now)
            && let Some(retry) = self.items.next_retry(now)
        {
            wake = wake.min(retry);
        }
        for time in [self.settling_wakes(), self.next_pull, self.next_attach]
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
            WatchEvent::Delivered(change) => self.delivered(&change, now),
            WatchEvent::PullEnded(end) => self.pull_ended(end, now),
            WatchEvent::CallEnded { id, outcome } => self.call_ended(id, outcome, now),
            WatchEvent::Pending { question, pending } => {
                self.answered(question, pending, now);
            }
            WatchEvent::Disturbed => self.disturbed(now),
            WatchEvent::Tick => {}
            WatchEvent::Stop => self.stop(),
        }
        self.do_due_work(now);
    }

    fn attached(&mut self, attachment: &Attachment, now: Duration) {
        self.attach_failures = 0;
        self.silent_pulls = 0;
        let was_attached = self.retention.replace(attachment.retention).is_some();
        let call = timing::call_timeout_of(attachment.ack_wait);
        self.longest_call = self.longest_call.max(call);
        if attachment.is_other_stream {
            self.start_over();
        }
        if attachment.is_other {
            // What the consumer before has delivered is delivered again. Calls go on.
            self.forget(self.items.waiting());
            self.expected = attachment.settled_to + 1;
            self.settling = None;
            self.heard = None;
        }
        if was_attached && (attachment.is_other || attachment.is_other_stream) {
            // Another instance may still be in a call for what the one before has delivered.
            self.settle(0, now);
        }
        if attachment.is_other {
            self.may_be_elsewhere = attachment.has_pending || self.settling.is_some();
        }
        self.next_pull = Some(now);
    }

    /// Forgets all that is known of the stream, and what is under way for it.
    fn start_over(&mut self) {
        self.actions.push_back(WatchAction::DropCalls);
        self.forget(self.items.all());
        self.recent.clear();
        self.highest = ChangeId::default();
    }

    /// How many changes of a key have to come until an earlier one is gone from the bucket.
    fn history(&self) -> usize {
        let retention = self.retention;
        retention.map_or(usize::MAX, |retention| retention.history.max(1))
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

    fn delivered(&mut self, change: &NewChange, now: Duration) {
        self.hear(now);
        let id = change.id;
        if self.stopping {
            return self.actions.push_back(WatchAction::NakAndDrop { id });
        }
        // Stored later, and not further on.
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
        if self.items.len() > 2 * max {
            self.forget_gone(now);
        }
        if self.items.len() > 4 * max {
            // They come again as new ones if they are there.
            self.has_forgotten_unacked = true;
            self.forget(self.items.doubtful_since(now));
        }
        let is_much = self.items.len() > 2 * max || self.settling.is_none();
        let is_time = self.items.len() > 4 * max
            || now >= self.redelivery_requested_at + timing::REDELIVERY_TIME;
        if self.items.len() > max && is_much && is_time {
            self.request_redelivery(now);
            self.settle_without_calls(now);
        }
    }

    /// Has the consumer deliver again what waits here. What does not come again is not the
    /// consumer's any more. What is in a call is looked at when the call has ended.
    fn request_redelivery(&mut self, now: Duration) {
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
    fn give_back(&mut self, id: ChangeId, now: Duration) {
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

    fn pull_ended(&mut self, end: WatchPullEnd, now: Duration) {
        self.pull = None;
        match end {
            WatchPullEnd::Expired => self.next_pull = Some(now),
            WatchPullEnd::Refused => self.next_pull = Some(now + timing::PULL_PAUSE),
            WatchPullEnd::Gone => {
                // Another instance may create the consumer anew, and be active at once.
                self.heard = None;
                self.next_pull = None;
                self.next_attach = Some(now + timing::ATTACH_PAUSE.0);
            }
        }
    }

    fn call_ended(&mut self, id: ChangeId, outcome: CallOutcome, now: Duration) {
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
    fn do_due_work(&mut self, now: Duration) {
        if self.stopping {
            if self.items.calling() == 0 {
                while let Some(id) = self.items.first() {
                    self.give_back(id, now);
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
            for id in self
                .items
                .due_for_in_progress(now, self.settings.ack_wait / 2)
            {
                self.actions.push_back(WatchAction::InProgress { id });
            }
        } else if now >= self.last_heard + 2 * timing::SILENCE {
            // Another instance is active.
            for id in self.items.waiting() {
                self.give_back(id, now);
                self.settle_without_calls(now);
            }
        }
        if self.settling.is_none() {
            self.forget_gone(now);
        }
        self.recent.forget_old(now, self.settings.ack_wait * 3);
        self.ask_if_due(now);
        if self.is_delivering(now) {
            let free = self.settings.max_in_flight - self.items.calling();
            for (id, attempt) in self.items.start(free, now) {
                self.actions.push_back(WatchAction::Call { id, attempt });
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
