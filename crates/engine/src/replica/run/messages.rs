//! Asking the consumer for messages, and taking what it sends.

use async_nats::Message;
use tokio::time::{Instant, timeout};

use super::{END, ReplicaTask};
use crate::inbox::Inbox;
use crate::replica::delivery;
use crate::replica::machine::{MessagePull, ReplicaEvent};

/// Messages that are taken before readers and other events get their turn.
const MESSAGES_AT_A_TIME: usize = 256;

/// The next message of the inbox, if there is an inbox. `None`: the client has ended.
pub(super) async fn next(inbox: &mut Option<Inbox>) -> Option<Message> {
    match inbox {
        Some(inbox) => inbox.next().await,
        None => std::future::pending().await,
    }
}

impl ReplicaTask {
    /// Takes a message, and those that are here already.
    pub(super) fn take_messages(&mut self, first: Option<Message>) {
        let Some(first) = first else {
            // The client has ended.
            self.inbox = None;
            return self.tell(ReplicaEvent::Disconnected);
        };
        let mut next = Some(first);
        for _ in 0..MESSAGES_AT_A_TIME {
            let Some(message) = next.take() else {
                return;
            };
            self.take_message(&message);
            next = self.inbox.as_mut().and_then(Inbox::next_now);
        }
        if let Some(message) = next {
            self.take_message(&message);
        }
    }

    fn take_message(&mut self, message: &Message) {
        let Some(inbox) = &self.inbox else {
            return;
        };
        let now = self.state.now();
        // A message of the stream has the subject that it is stored under.
        let pull = inbox
            .token_of(message)
            .map(|token| u64::try_from(token).unwrap_or(0));
        let event = match pull {
            Some(pull) => delivery::status(message, pull),
            None => delivery::delivered(message, &self.source.prefix)
                .unwrap_or(ReplicaEvent::Unreadable),
        };
        self.machine.handle(event, now);
    }

    /// Whether the server does not let this login ask the consumer for messages. Such a request has
    /// no answer.
    pub(super) fn is_pull_denied(&self) -> bool {
        let pulled = self.pulled.as_ref();
        pulled.is_some_and(|(subject, since)| self.connection.is_denied(subject, *since))
    }

    /// Sends a request for messages. Its number is the token of the reply subject, so that the end
    /// of an earlier request is told from its own.
    pub(super) async fn pull(&mut self, pull: MessagePull) {
        if pull.anew {
            self.inbox = None;
        }
        if self.inbox.is_none() {
            self.inbox = self.connection.open_fresh_inbox(usize::MAX).await;
        }
        let Some(inbox) = &self.inbox else {
            return self.tell(ReplicaEvent::Disconnected);
        };
        let name = self.name(pull.number);
        self.pulled = Some((self.source.pull_subject(&name), Instant::now()));
        let reply = inbox.reply_subject(usize::try_from(pull.pull).unwrap_or(0));
        let heartbeat = self.machine.heartbeat_interval();
        let sent = self
            .source
            .pull(inbox.client(), &name, reply, heartbeat, pull);
        // If it cannot be sent, the silence of the consumer tells.
        drop(timeout(END, sent).await);
    }
}
