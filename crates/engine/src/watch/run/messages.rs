//! Taking what the consumer sends.

use async_nats::Message;

use super::WatchTask;
use crate::inbox::Inbox;
use crate::watch::ChangeKind;
use crate::watch::machine::{WatchEvent, WatchPullEnd};
use crate::watch::message::{self, HeldChange};
use crate::watch::pattern;

/// Messages that are taken before other events get their turn.
const MESSAGES_AT_A_TIME: usize = 64;

impl WatchTask {
    /// Takes a message, and those that are here already.
    pub(super) fn take_messages(&mut self, first: Option<Message>) {
        let mut next = first;
        if next.is_none() && self.inbox.take().is_some() {
            // The client has ended.
            self.lost.record();
            return self.tell(WatchEvent::Disturbed);
        }
        for _ in 0..MESSAGES_AT_A_TIME {
            let Some(message) = next.take() else {
                return;
            };
            self.take_message(message);
            next = self.inbox.as_mut().and_then(Inbox::next_now);
        }
        if let Some(message) = next {
            self.take_message(message);
        }
    }

    fn take_message(&mut self, message: Message) {
        let Some(inbox) = &self.inbox else {
            return;
        };
        if inbox.token_of(&message).is_some() {
            let event = message::status(&message);
            if matches!(event, WatchEvent::Heard) {
                self.pull_works();
            }
            self.look_at_status(&message);
            return self.tell(event);
        }
        // What cannot be read is no message of the bucket. Its number will be missing.
        let Some((held, place, replaces)) = message::change(message, &self.names.prefix) else {
            return;
        };
        self.received = true;
        self.pull_works();
        self.lag = place.pending;
        let wanted = self.is_wanted(&held, place.stream_sequence);
        let change = message::new_change(&held, place, replaces, wanted);
        self.held.insert(change.id, held);
        self.tell(WatchEvent::Delivered(change));
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.tell(WatchEvent::PullEnded(WatchPullEnd::Expired));
        }
    }

    fn is_wanted(&mut self, held: &HeldChange, sequence: u64) -> bool {
        let settings = &self.consumer.settings;
        let is_set = held.kind != ChangeKind::Delete;
        if !is_set && sequence <= self.initial_until {
            // The key has no value, and had none when the watch began.
            return false;
        }
        if settings.encoding.decode(&held.key).is_err() {
            if !self.met_foreign_key {
                self.met_foreign_key = true;
                tracing::warn!(
                    bucket = settings.bucket.name,
                    "changes of keys are not delivered that were written without the link's \
                     `key_encoding`"
                );
            }
            return false;
        }
        pattern::wants(&settings.patterns, &held.key, is_set)
    }
}
