//! What follows from time that passes.

use std::time::Duration;

use super::attempts::EarlierAttempts;
use super::interface::{FailReason, Items};
use super::time::Time;
use super::{InboxState, Machine};
use crate::retries::RetryReason;

impl<I, E: Clone> Machine<I, E> {
    /// Fails, or sends again, the items whose time is over.
    pub(super) fn check_time(&mut self, items: &impl Items<Info = I>) {
        if self.now >= self.send_deadline {
            self.fail_queued(&FailReason::DeadlinePassed);
        }
        if self.now >= self.call_deadline {
            for token in self.in_flight.tokens() {
                self.fail_group(token, &FailReason::DeadlinePassed);
            }
            for waiting in std::mem::take(&mut self.awaiting_refresh) {
                self.fail_awaiting(waiting);
            }
            return;
        }
        while self.now < self.send_deadline
            && let Some((sent, token)) = self.in_flight.oldest()
            && sent.after(self.answer_timeout()) <= self.now
        {
            let earlier = match self.denied {
                // The NATS client may have dropped the permission error of this request.
                Some(_) => EarlierAttempts::UnansweredLikelyDenied,
                None => EarlierAttempts::Unanswered,
            };
            self.resend_group(token, earlier, RetryReason::NoAnswer, items);
        }
    }

    /// How long the machine waits for an answer before it sends the request again.
    ///
    /// It is short once the server has denied a request. The NATS client drops permission errors
    /// when many come at once. A request whose error was dropped is sent again, to get the error
    /// then.
    fn answer_timeout(&self) -> Duration {
        let timeout = self
            .time_limits
            .answer_timeout(self.in_flight.value_bytes());
        match self.denied {
            Some(_) => timeout.min(self.config.answer_timeout_once_denied),
            None => timeout,
        }
    }

    /// When the driver has to tell [`Event::Tick`](super::Event::Tick) if nothing else happens.
    pub(crate) fn next_wakeup(&mut self) -> Time {
        let now = self.now;
        let mut wakeup = if now < self.send_deadline {
            self.send_deadline
        } else {
            self.call_deadline
        };
        if !self.is_connected || self.inbox != InboxState::Open {
            wakeup = wakeup.min(now.after(self.config.backoff.first));
        } else if let Some(due) = self.queue.first_due().filter(|&due| due > now) {
            wakeup = wakeup.min(due);
        }
        if now < self.send_deadline
            && let Some((sent, _)) = self.in_flight.oldest()
        {
            wakeup = wakeup.min(sent.after(self.answer_timeout()));
        }
        wakeup
    }
}
