//! Waiting until nothing that was delivered elsewhere is under way any more.

use std::time::Duration;

use super::WatchMachine;
use super::interface::{PendingMessages, WatchAction};
use crate::watch::timing;

/// A time in which no call is started.
#[derive(Debug)]
pub(super) struct Settling {
    /// Until when a call of another instance may take.
    until: Duration,
    /// When it ends in any case.
    limit: Duration,
    /// The number of the first message after the gap. 0: there is no gap.
    first: u64,
    question: Option<SettlingQuestion>,
    next_question: Duration,
}

/// A question to the consumer how many messages it waits for.
#[derive(Debug)]
struct SettlingQuestion {
    number: u64,
    /// The last item that was here when the question was sent.
    last_item: u64,
    /// How many of the items that were here are here still.
    held: usize,
}

impl Settling {
    pub(super) fn wake(&self) -> Duration {
        self.next_question
    }

    /// Notes that an item has gone.
    pub(super) fn removed(&mut self, item: u64) {
        if let Some(question) = &mut self.question
            && item <= question.last_item
        {
            question.held -= 1;
        }
    }
}

impl WatchMachine {
    /// Begins to settle, or begins anew. `first`: the number of the first message after the gap.
    pub(super) fn settle(&mut self, first: u64, now: Duration) {
        let until = now + timing::settle_time(self.settings.call_timeout);
        self.settle_from(first, now, until);
    }

    /// Settles without waiting for calls elsewhere: nobody else has been given anything.
    pub(super) fn gather(&mut self, now: Duration) {
        if self.settling.is_none() {
            self.settle_from(0, now, now);
        }
    }

    fn settle_from(&mut self, first: u64, now: Duration, until: Duration) {
        let limit = now.max(until) + self.settings.ack_wait * 3;
        self.settling = Some(Settling {
            until,
            limit,
            first,
            question: None,
            // The instance before may have noted that nothing is under way.
            next_question: if first > 0 { now } else { until },
        });
    }

    pub(super) fn ask_if_due(&mut self, now: Duration) {
        let Some(settling) = self.settling.as_mut() else {
            return;
        };
        if now >= settling.limit {
            self.settling = None;
            return;
        }
        if now < settling.next_question {
            return;
        }
        settling.next_question = now + timing::QUESTION_TIMEOUT;
        self.questions += 1;
        settling.question = Some(SettlingQuestion {
            number: self.questions,
            last_item: self.items.last_number(),
            held: self.items.len(),
        });
        self.actions.push_back(WatchAction::AskPending {
            question: self.questions,
        });
    }

    /// Ends the settling if the consumer waits for nothing that is not here.
    ///
    /// What was here at the question and is here still counts in the consumer's number. If that is
    /// all of the number, nothing is elsewhere.
    pub(super) fn answered(
        &mut self,
        number: u64,
        pending: Option<PendingMessages>,
        now: Duration,
    ) {
        let Some(settling) = &mut self.settling else {
            return;
        };
        let is_this = |question: &mut SettlingQuestion| question.number == number;
        let Some(question) = settling.question.take_if(is_this) else {
            return;
        };
        let held = u64::try_from(question.held).unwrap_or(u64::MAX);
        let (until, first) = (settling.until, settling.first);
        let is_settled = |pending: PendingMessages| {
            let is_noted = first > 0 && pending.settled_to + 1 == first;
            is_noted || (now >= until && pending.count <= held)
        };
        if pending.is_some_and(is_settled) {
            self.settling = None;
        } else {
            settling.next_question = until.max(now + timing::QUESTION_PAUSE);
        }
    }
}
