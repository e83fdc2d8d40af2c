//! Changes that the NATS client cannot parse.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use super::{GIVEN_UP, SEND, WatchAnswer, WatchTask};
use crate::quarantine::LostConnections;
use crate::watch::consumer::{AttachError, UnreadableMessage};

impl WatchTask {
    /// Notes that the connection was lost with a pull open. After the second time, a message that
    /// the NATS client cannot parse may be the reason.
    pub(super) fn look_for_unreadable(&mut self) {
        if !self.lost.are_suspicious() {
            return;
        }
        self.lost = LostConnections::default();
        let (consumer, connection) = (Arc::clone(&self.consumer), Arc::clone(&self.connection));
        let held: HashSet<u64> = self.held.keys().map(|id| id.sequence).collect();
        self.answers.push(Box::pin(async move {
            WatchAnswer::Unreadable(consumer.unreadable(&connection, held).await)
        }));
    }

    /// Gives up what cannot be parsed. The consumer would deliver it again and again, and each time
    /// all that use the connection would lose it.
    pub(super) async fn take_unreadable(
        &mut self,
        found: Result<Vec<UnreadableMessage>, AttachError>,
    ) {
        let bucket = self.consumer.settings.bucket.name.as_str();
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(
                    bucket,
                    ?error,
                    "a change of the bucket may be one that the NATS client cannot parse; it was \
                     looked for in vain"
                );
                return;
            }
        };
        for message in found {
            tracing::warn!(
                bucket,
                revision = message.sequence,
                why = %message.why,
                "a change of the bucket is given up: another client has written what the NATS \
                 client cannot parse"
            );
            let (key, revision) = (message.key, message.sequence);
            tracing::debug!(
                bucket,
                key,
                revision,
                "the key of a change that is given up"
            );
            self.handler.given_up();
            let client = self.connection.client();
            let payload = Bytes::from_static(GIVEN_UP.as_bytes());
            drop(timeout(SEND, client.publish(message.reply, payload)).await);
        }
    }
}
