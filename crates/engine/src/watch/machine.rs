//! Decides which change is delivered next, and what becomes of it. It has no I/O and no clock.
//!
//! Of all instances that share a consumer, one at a time has its pull open: the consumer takes one
//! pull (`max_waiting` = 1). The instance is active while the pull gives signs. It starts calls
//! only then.
//!
//! The consumer numbers what it delivers. A gap in the numbers means that something was delivered
//! elsewhere: to another instance, or to a connection that was lost. Then an earlier change of a
//! key may still be under way there. So this instance settles first. It waits until no other
//! instance can be in a call, and until all that the consumer waits for is here. Then it goes on.

mod attachment;
mod deliveries;
mod interface;
mod items;
mod pull;
mod recent;
mod settling;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub(super) use interface::{
    Attachment, CallOutcome, ChangeId, ChangeRetention, MachineSettings, NewChange,
    PendingMessages, WatchAction, WatchEvent, WatchPullEnd,
};
use items::HeldChanges;
use pull::PullState;
use recent::Recent;
use settling::{ConsumerQuestions, Settling};

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
    /// When a redelivery of all held changes was last requested.
    redelivery_requested_at: Duration,
    /// How long a call may take, at this instance or at another one.
    longest_call: Duration,
    questions: ConsumerQuestions,
    pull: PullState,
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
            longest_call: settings.call_timeout,
            questions: ConsumerQuestions::default(),
            pull: PullState::default(),
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
        !self.stopping && self.settling.is_none() && self.pull.is_active(now)
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

    /// The number of the last message up to which all that the consumer delivered is settled, if
    /// all of it is.
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
        for time in [
            self.settling_wakes(),
            self.pull.wakes_at(),
            self.next_attach,
        ]
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
            WatchEvent::Heard => self.pull.hear(now),
            WatchEvent::Delivered(change) => self.delivered(&change, now),
            WatchEvent::PullEnded(end) => {
                self.pull.ended(end, now);
                if end == WatchPullEnd::Gone {
                    self.next_attach = Some(now + timing::ATTACH_PAUSE.0);
                }
            }
            WatchEvent::CallEnded { id, outcome } => self.call_ended(id, outcome, now),
            WatchEvent::Pending { question, pending } => {
                self.answered(question, pending, now);
            }
            WatchEvent::Disturbed => {
                self.pull.disturbed(now);
                if self.next_attach.is_some() {
                    self.next_attach = Some(now);
                }
            }
            WatchEvent::Tick => {}
            WatchEvent::Stop => self.stop(),
        }
        self.do_due_work(now);
    }

    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.pull.close();
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
        self.pull.do_due_work(&mut self.actions, now);
        if self.pull.is_active(now) {
            for id in self
                .items
                .due_for_in_progress(now, self.settings.ack_wait / 2)
            {
                self.actions.push_back(WatchAction::InProgress { id });
            }
        } else if self.pull.is_elsewhere(now) {
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
}
