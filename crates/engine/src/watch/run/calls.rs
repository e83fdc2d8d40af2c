//! Calling the component, and telling the consumer what has become of a change.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::time::{Instant, timeout};

use super::{DONE, GIVEN_UP, NOTE, SEND, SENT_AGAIN, WatchTask};
use crate::watch::machine::{CallOutcome, ChangeId};
use crate::watch::message::HeldChange;
use crate::watch::{DeliveryOutcome, KeyChange};

impl WatchTask {
    pub(super) fn call(&mut self, id: ChangeId, attempt: u32) {
        let settings = &self.consumer.settings;
        let key = |held: &HeldChange| settings.encoding.decode(&held.key).ok();
        let Some((held, key)) = self.held.get(&id).and_then(|held| Some((held, key(held)?))) else {
            // What is called is held, and only keys that can be decoded are wanted.
            let outcome = CallOutcome::Failed;
            return self.calls.push(Box::pin(async move { (id, outcome) }));
        };
        let change = KeyChange {
            key,
            kind: held.kind.clone(),
            revision: id.sequence,
            stored: held.stored,
            is_initial: id.sequence <= self.initial_until,
            attempt,
            call_timeout: settings.call_timeout,
        };
        let delivery = self.handler.deliver(change);
        let limit = settings.call_timeout;
        self.calls.push(Box::pin(async move {
            let delivery = AssertUnwindSafe(timeout(limit, delivery)).catch_unwind();
            let outcome = match delivery.await {
                Ok(Ok(DeliveryOutcome::Delivered)) => CallOutcome::Delivered,
                Ok(Ok(DeliveryOutcome::Unreachable)) => CallOutcome::Unreachable,
                Ok(Ok(DeliveryOutcome::Failed) | Err(_)) | Err(_) => CallOutcome::Failed,
            };
            (id, outcome)
        }));
    }

    pub(super) async fn give_up(&mut self, id: ChangeId, calls: u32) {
        let bucket = self.consumer.settings.bucket.name.as_str();
        // A component that is not there may make it one line for each change.
        if let Some(before) = self.given_up.line(Instant::now()) {
            tracing::warn!(
                bucket,
                revision = id.sequence,
                tries = calls,
                given_up_before = before,
                "a change of the bucket is given up: it could not be delivered"
            );
        }
        self.handler.given_up();
        if let Some(held) = self.held.get(&id) {
            let (key, revision) = (&*held.key, id.sequence);
            tracing::debug!(
                bucket,
                key,
                revision,
                "the key of a change that is given up"
            );
        }
        self.acknowledge_with(id, GIVEN_UP).await;
    }

    /// Tells the consumer what has become of a change, which is not here any more.
    pub(super) async fn acknowledge_with(&mut self, id: ChangeId, what: &'static str) {
        self.answer(id, what).await;
        self.held.remove(&id);
    }

    pub(super) async fn answer(&mut self, id: ChangeId, what: &'static str) {
        let Some(held) = self.held.get(&id) else {
            return;
        };
        let is_over = matches!(what, DONE | GIVEN_UP);
        self.settled_epoch = self.connection.epoch();
        if is_over {
            self.troubles.ack_sent();
            if self.acknowledged.len() == SENT_AGAIN.0 {
                self.acknowledged.pop_front();
            }
            self.acknowledged
                .push_back((Instant::now(), held.reply.clone(), what));
        }
        // While there is no connection, the consumer waits.
        if self.connection.is_up() {
            let payload = Bytes::from_static(what.as_bytes());
            let client = self.connection.client();
            let sent = client.publish(held.reply.clone(), payload);
            let sent = timeout(SEND, sent).await;
            self.has_unflushed |= is_over && matches!(sent, Ok(Ok(())));
        }
    }

    /// Has the consumer deliver a change again, which stays here.
    pub(super) async fn recall(&mut self, id: ChangeId) {
        self.answer(id, "-NAK").await;
    }

    /// Lets the next instance begin at once, if nothing is under way any more.
    pub(super) async fn note_settled(self) {
        let client = self.connection.client();
        // After the acknowledgements.
        let sent = timeout(SEND, client.flush()).await;
        // What was sent over a connection that is lost may not have arrived.
        let has_arrived =
            matches!(sent, Ok(Ok(()))) && self.connection.epoch() == self.settled_epoch;
        if let Some(settled_to) = self.machine.settled_to()
            && self.received
            && has_arrived
        {
            let noted = self.consumer.note_settled(&self.connection, settled_to);
            drop(timeout(NOTE, noted).await);
        }
        drop(timeout(SEND, client.flush()).await);
    }

    /// Drops what is under way, and lets other instances have it.
    pub(super) async fn give_back(mut self) {
        self.calls.clear();
        self.inbox = None;
        let mut held: Vec<ChangeId> = self.held.keys().copied().collect();
        held.sort_unstable();
        let give_back = async {
            for id in held {
                self.acknowledge_with(id, "-NAK").await;
            }
            drop(self.connection.client().flush().await);
        };
        drop(timeout(SEND, give_back).await);
    }
}
