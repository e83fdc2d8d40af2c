//! What follows from a lost connection, and from the end of the NATS client.

use super::attempts::EarlierAttempts;
use super::interface::{Action, Items};
use super::{InboxState, Machine};
use crate::retries::RetryReason;

impl<I, E: Clone> Machine<I, E> {
    /// Takes the state of the connection. After a reconnect, answers to what was sent before it may
    /// never come, so those items are sent again.
    pub(super) fn on_connection(&mut self, epoch: u64, is_up: bool, items: &impl Items<Info = I>) {
        self.is_connected = is_up;
        if epoch > self.epoch {
            self.epoch = epoch;
            let lost = self.in_flight.tokens_before(epoch);
            if !lost.is_empty() {
                self.actions.push_back(Action::ConnectionLost);
            }
            for token in lost {
                let earlier = EarlierAttempts::Unanswered;
                self.resend_group(token, earlier, RetryReason::ConnectionLost, items);
            }
        }
    }

    pub(super) fn on_client_ended(&mut self) {
        if self.inbox == InboxState::Open {
            self.inbox = InboxState::Ended;
        }
        self.all_answered = false;
        self.cancel_burst();
    }
}
