//! Finding the consumer, and what follows if it is another one than before.

use std::time::Duration;

use super::WatchMachine;
use super::interface::{Attachment, ChangeId, WatchAction};
use crate::watch::timing;

impl WatchMachine {
    pub(super) fn attached(&mut self, attachment: &Attachment, now: Duration) {
        self.attach_failures = 0;
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
            self.pull.forget_signs();
        }
        if was_attached && (attachment.is_other || attachment.is_other_stream) {
            // Another instance may still be in a call for what the one before has delivered.
            self.settle(0, now);
        }
        if attachment.is_other {
            self.may_be_elsewhere = attachment.has_pending || self.settling.is_some();
        }
        self.pull.attached(now);
    }

    /// Forgets all that is known of the stream, and what is under way for it.
    pub(super) fn start_over(&mut self) {
        self.actions.push_back(WatchAction::DropCalls);
        self.forget(self.items.all());
        self.recent.clear();
        self.highest = ChangeId::default();
    }

    /// How many changes of a key have to come until an earlier one is gone from the bucket.
    pub(super) fn history(&self) -> usize {
        let retention = self.retention;
        retention.map_or(usize::MAX, |retention| retention.history.max(1))
    }

    pub(super) fn not_attached(&mut self, now: Duration) {
        self.pull.detach();
        let pause = timing::backoff(timing::ATTACH_PAUSE, self.attach_failures);
        self.next_attach = Some(now + pause);
        self.attach_failures = self.attach_failures.saturating_add(1);
    }
}
