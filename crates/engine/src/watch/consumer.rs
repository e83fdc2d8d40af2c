//! The consumer of a watch: asking it, and deleting it. `attach` finds or creates it.

mod answers;
mod attach;
mod config;
mod request;
mod unreadable;

use std::sync::{Mutex, PoisonError};

use async_nats::{Client, Subject};
use bytes::Bytes;
use serde_json::{Value, json};

use super::machine::PendingMessages;
use super::{WatchSettings, timing};
use crate::api_request::is_gone;
use crate::connection::Connection;
use crate::error::Error;
use crate::stream_info::BucketSpec;
use answers::WatchConsumerAnswer;
use config::{PullLimits, SETTLED_TO};

pub(super) use attach::LastSeen;
pub(super) use config::handed_out;
pub(super) use request::AttachError;
pub(super) use unreadable::UnreadableMessage;

/// What is known of the consumer that was found.
#[derive(Clone, Debug, Default)]
struct Known {
    /// When the stream was created, as the server writes it.
    stream_created: String,
    /// When the consumer was created, likewise.
    created: String,
    /// Up to which sequence all was acknowledged when the consumer was last asked.
    ack_floor: u64,
    stream: StreamNames,
    /// Up to which sequence messages are of before the watch: of those, only values count.
    initial_until: u64,
    pull_limits: PullLimits,
    /// Where the consumer began, if it was created here.
    begins: &'static str,
}

/// The names that requests need.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamNames {
    pub(super) stream: String,
    pub(super) api_prefix: String,
    /// The subject of a key is this and the key.
    pub(super) prefix: String,
}

#[derive(Debug)]
pub(super) struct WatchConsumer {
    pub(super) settings: WatchSettings,
    known: Mutex<Option<Known>>,
    /// Whether the bucket was missing since the watch began: all of it is new then.
    bucket_was_missing: Mutex<bool>,
}

impl WatchConsumer {
    pub(super) fn new(settings: WatchSettings) -> Self {
        Self {
            settings,
            known: Mutex::default(),
            bucket_was_missing: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    fn known(&self) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    pub(super) fn names(&self) -> StreamNames {
        self.known().map(|known| known.stream).unwrap_or_default()
    }

    /// Up to which sequence a marker says nothing new.
    pub(super) fn initial_until(&self) -> u64 {
        self.known().map_or(0, |known| known.initial_until)
    }

    /// Where the consumer begins, for the log.
    pub(super) fn begins(&self) -> &'static str {
        self.known().map_or("", |known| known.begins)
    }

    /// What the consumer waits for.
    pub(super) async fn pending(&self, connection: &Connection) -> Option<PendingMessages> {
        let names = self.names();
        let answer = self.consumer(connection, &names, "INFO", Bytes::new());
        let answer = answer.await.ok()?;
        if answer.error.is_some() {
            return None;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_mut()
            && known.created == answer.created
        {
            known.ack_floor = known.ack_floor.max(answer.ack_floor.stream_seq);
        }
        Some(PendingMessages {
            count: answer.num_ack_pending,
            delivered: answer.delivered.consumer_seq,
            settled_to: config::metadata_number(&answer.config, SETTLED_TO),
            ack_wait: config::ack_wait(&answer.config),
        })
    }

    /// Notes in the consumer that nothing that it has delivered up to here is under way any more.
    pub(super) async fn note_settled(&self, connection: &Connection, settled_to: u64) {
        let names = self.names();
        // Another instance may have changed the configuration since this one has seen it.
        let found = self.consumer(connection, &names, "INFO", Bytes::new());
        if let Ok(found) = found.await
            && found.error.is_none()
        {
            let config = config::with_number(&found.config, SETTLED_TO, settled_to);
            drop(self.put(connection, &names, "update", config).await);
        }
    }

    /// How many messages one pull asks for.
    pub(super) fn pull_size(&self) -> usize {
        self.pull_limits().messages
    }

    fn pull_limits(&self) -> PullLimits {
        let known = self.known();
        known.map(|known| known.pull_limits).unwrap_or_default()
    }

    /// The subject of pulls.
    pub(super) fn pull_subject(&self, names: &StreamNames) -> String {
        format!(
            "{}.CONSUMER.MSG.NEXT.{}.{}",
            names.api_prefix,
            names.stream,
            self.name()
        )
    }

    /// Asks the consumer for messages.
    pub(super) async fn pull(&self, client: &Client, names: &StreamNames, inbox: String) {
        let limits = self.pull_limits();
        let request = json!({
            "batch": limits.messages,
            "expires": config::nanos(limits.expires),
            // The server takes at most half of the pull's time.
            "idle_heartbeat": config::nanos(timing::HEARTBEAT.min(limits.expires / 2)),
        });
        let subject = Subject::from(self.pull_subject(names));
        let request = Bytes::from(request.to_string());
        // If it cannot be sent, the silence of the pull tells.
        drop(client.publish_with_reply(subject, inbox, request).await);
    }

    /// Deletes the consumer. Returns whether it is gone.
    pub(super) async fn delete(&self, connection: &Connection) -> bool {
        let names = match self.known() {
            Some(known) => known.stream,
            // It may be one that an earlier process has created.
            None => {
                let spec = BucketSpec {
                    create: None,
                    ..self.settings.bucket.clone()
                };
                match attach::find_bucket(connection, &spec).await {
                    Ok(names) => names,
                    Err(Error::NoSuchBucket { .. }) => return true,
                    Err(_) => return false,
                }
            }
        };
        let deleted = self.consumer(connection, &names, "DELETE", Bytes::new());
        match deleted.await {
            Ok(answer) => answer.error.as_ref().is_none_or(is_gone),
            Err(_) => false,
        }
    }

    async fn put(
        &self,
        connection: &Connection,
        names: &StreamNames,
        action: &str,
        config: Value,
    ) -> Result<WatchConsumerAnswer, AttachError> {
        let request = json!({
            "stream_name": names.stream,
            "action": action,
            "config": config,
        });
        let request = Bytes::from(request.to_string());
        self.consumer(connection, names, "CREATE", request).await
    }

    async fn consumer(
        &self,
        connection: &Connection,
        names: &StreamNames,
        what: &str,
        payload: Bytes,
    ) -> Result<WatchConsumerAnswer, AttachError> {
        let subject = format!(
            "{}.CONSUMER.{what}.{}.{}",
            names.api_prefix,
            names.stream,
            self.name()
        );
        request::request(connection, &subject, payload).await
    }
}
