//! Calling the component, and telling the consumer what has become of a change.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::time::{Instant, timeout};

use super::{DONE, GIVEN_UP, SEND, SENT_AGAIN, WatchTask};
use crate::watch::machine::CallOutcome;
use crate::watch::message::HeldChange;
use crate::watch::{DeliveryOutcome, KeyChange};

impl WatchTask {
    pub(super) fn call(&mut self, sequence: u64, attempt: u32) {
        let settings = &self.consumer.settings;
        let key = |held: &HeldChange| settings.encoding.decode(&held.key).ok();
        let Some((held, key)) = self
            .held
            .get(&sequence)
            .and_then(|held| Some((held, key(held)?)))
        else {
            // What is called is held, and only keys that can be decoded are wanted.
            let outcome = CallOutcome::Failed;
            return self
                .calls
                .push(Box::pin(async move { (sequence, outcome) }));
        };
        let change = KeyChange {
            key,
            kind: held.kind.clone(),
            revision: sequence,
            stored: held.stored,
            attempt,
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
            (sequence, outcome)
        }));
    }

    pub(super) async fn give_up(&mut self, sequence: u64, calls: u32) {
        let bucket = self.consumer.settings.bucket.name.as_str();
        tracing::warn!(
            bucket,
            revision = sequence,
            tries = calls,
            "a change of the bucket is given up: it could not be delivered"
        );
        self.handler.given_up();
        if let Some(held) = self.held.get(&sequence) {
            tracing::debug!(bucket, key = &*held.key, "the key of the change");
        }
        self.settle(sequence, GIVEN_UP).await;
    }

    /// Tells the consumer what has become of a change, which is not here any more.
    pub(super) async fn settle(&mut self, sequence: u64, what: &'static str) {
        self.answer(sequence, what).await;
        self.held.remove(&sequence);
    }

    pub(super) async fn answer(&mut self, sequence: u64, what: &'static str) {
        let Some(held) = self.held.get(&sequence) else {
            return;
        };
        let is_over = matches!(what, DONE | GIVEN_UP);
        if is_over {
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
            let sent = async {
                let published = sent.await;
                // The next change of the key is called next. If this process were killed then, and
                // the acknowledgement were still in its memory, the next instance would tell of
                // this change again, after the one that follows it.
                if is_over && published.is_ok() {
                    drop(client.flush().await);
                }
            };
            drop(timeout(SEND, sent).await);
        }
    }

    /// Lets the next instance begin at once, if nothing is under way any more.
    pub(super) async fn note_settled(self) {
        let client = self.connection.client();
        if let Some(settled_to) = self.machine.settled_to()
            && self.received
        {
            // After the acknowledgements.
            drop(timeout(SEND, client.flush()).await);
            let noted = self.consumer.note_settled(&self.connection, settled_to);
            drop(timeout(SEND, noted).await);
        }
        drop(timeout(SEND, client.flush()).await);
    }

    /// Drops what is under way, and lets other instances have it.
    pub(super) async fn give_back(mut self) {
        self.calls.clear();
        self.inbox = None;
        let mut sequences: Vec<u64> = self.held.keys().copied().collect();
        sequences.sort_unstable();
        let give_back = async {
            for sequence in sequences {
                self.settle(sequence, "-NAK").await;
            }
            drop(self.connection.client().flush().await);
        };
        drop(timeout(SEND, give_back).await);
    }
}
