//! Waiting until nothing that was delivered elsewhere is under way any more.

use std::time::Duration;

use super::WatchMachine;
use super::interface::{ChangeId, PendingMessages, WatchAction};
use crate::watch::timing;

/// A time in which no call is started.
#[derive(Debug)]
pub(super) struct Settling {
    begun: Duration,
    /// Whether another instance may be in a call.
    waits_for_calls: bool,
    /// The number of the first message after the gap. 0: there is no gap.
    first: u64,
    next_question: Duration,
}

/// Questions to the consumer, how many messages it waits for.
#[derive(Debug, Default)]
pub(super) struct ConsumerQuestions {
    asked: u64,
    /// The question that waits for its answer.
    open: Option<u64>,
    /// When to ask next whether the consumer waits for a change that is not held here. Not used
    /// while settling.
    next_look: Duration,
}

impl ConsumerQuestions {
    fn ask(&mut self) -> WatchAction {
        self.asked += 1;
        self.open = Some(self.asked);
        WatchAction::AskPending {
            question: self.asked,
        }
    }

    /// Whether this is the answer that is waited for. Later answers to the same question are not.
    fn take_answer(&mut self, question: u64) -> bool {
        self.open.take_if(|open| *open == question).is_some()
    }

    /// Whether to look for what is not held here. The next look is put off then.
    fn take_look(&mut self, now: Duration) -> bool {
        let is_due = now >= self.next_look;
        if is_due {
            self.next_look = now + timing::LOOK_PAUSE;
        }
        is_due
    }
}

impl WatchMachine {
    /// Begins to settle, or begins anew. `first`: the number of the first message after the gap.
    ///
    /// What is here may be done elsewhere, or may be gone from the stream. So the consumer is to
    /// deliver it again.
    pub(super) fn settle(&mut self, first: u64, now: Duration) {
        self.request_redelivery(now);
        self.settle_from(first, now, true);
    }

    /// Settles without waiting for calls elsewhere: nobody else has been given anything.
    pub(super) fn settle_without_calls(&mut self, now: Duration) {
        if self.settling.is_none() {
            self.settle_from(0, now, false);
        }
    }

    fn settle_from(&mut self, first: u64, now: Duration, waits_for_calls: bool) {
        self.may_be_elsewhere = true;
        self.questions.open = None;
        let mut settling = Settling {
            begun: now,
            waits_for_calls,
            first,
            next_question: now,
        };
        // If there is a gap, the instance before may have noted that nothing is under way.
        if first == 0 {
            settling.next_question = self.calls_end(&settling);
        }
        self.settling = Some(settling);
    }

    /// When no other instance can be in a call any more.
    fn calls_end(&self, settling: &Settling) -> Duration {
        if settling.waits_for_calls {
            settling.begun + timing::settle_time(self.longest_call)
        } else {
            settling.begun
        }
    }

    /// When the consumer has delivered all here that was delivered before the gap and is not done.
    ///
    /// The count of held changes may include some that the stream has dropped. Then it can equal
    /// the consumer's count although one change is at another instance. If changes can vanish from
    /// the bucket without a sign, wait until the consumer has redelivered everything (`ack_wait`).
    fn all_has_come(&self, settling: &Settling) -> Duration {
        let retention = self.retention;
        let keeps_last_only = retention.is_some_and(|retention| retention.keeps_last_only);
        if settling.first == 0 || keeps_last_only {
            return self.calls_end(settling);
        }
        let ack_wait = timing::ack_wait(self.longest_call);
        settling.begun + timing::SILENCE + timing::STANDSTILL + ack_wait
    }

    pub(super) fn settling_wakes(&self) -> Option<Duration> {
        let settling = self.settling.as_ref();
        settling.map(|settling| settling.next_question)
    }

    pub(super) fn ask_if_due(&mut self, now: Duration) {
        let is_active = self.pull.is_active(now);
        let Some(settling) = self.settling.as_ref() else {
            if self.may_be_elsewhere && is_active && self.questions.take_look(now) {
                self.ask();
            }
            return;
        };
        if now >= self.calls_end(settling) + self.settings.ack_wait * 3 {
            return self.end_settling(now);
        }
        if now < settling.next_question {
            return;
        }
        if let Some(settling) = &mut self.settling {
            settling.next_question = now + timing::QUESTION_TIMEOUT;
        }
        self.ask();
    }

    fn ask(&mut self) {
        let question = self.questions.ask();
        self.actions.push_back(question);
    }

    /// Ends the settling if the consumer waits for nothing that is not here.
    ///
    /// What it had delivered when it answered, and what is here, counts in its number. If that is
    /// all of the number, nothing is elsewhere.
    pub(super) fn answered(
        &mut self,
        question: u64,
        pending: Option<PendingMessages>,
        now: Duration,
    ) {
        if !self.questions.take_answer(question) {
            return;
        }
        let is_all_here = pending.is_some_and(|pending| {
            let here = self.items.confirmed_to(pending.delivered);
            pending.count <= u64::try_from(here).unwrap_or(u64::MAX)
        });
        if let Some(pending) = pending {
            let call = timing::call_timeout_of(pending.ack_wait);
            self.longest_call = self.longest_call.max(call);
        }
        let Some(settling) = self.settling.as_ref() else {
            self.may_be_elsewhere &= !is_all_here;
            return;
        };
        let (all_has_come, first) = (self.all_has_come(settling), settling.first);
        let is_noted =
            |pending: PendingMessages| pending.settled_to > 0 && pending.settled_to + 1 == first;
        if is_all_here && now >= all_has_come {
            self.may_be_elsewhere = false;
            self.end_settling(now);
        } else if pending.is_some_and(is_noted) {
            self.settling = None;
        } else if let Some(settling) = &mut self.settling {
            settling.next_question = all_has_come.max(now + timing::QUESTION_PAUSE);
        }
    }

    /// Calls start again.
    fn end_settling(&mut self, now: Duration) {
        self.settling = None;
        self.forget_gone(now);
    }

    /// Forgets what the consumer was to deliver again and has not delivered.
    pub(super) fn forget_gone(&mut self, now: Duration) {
        let then = now.saturating_sub(timing::REDELIVERY_TIME);
        self.forget(self.items.doubtful_since(then));
    }

    pub(super) fn forget(&mut self, gone: Vec<ChangeId>) {
        for id in gone {
            self.items.remove(id);
            self.actions.push_back(WatchAction::Forget { id });
        }
    }
}
