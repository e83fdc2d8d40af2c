//! The requests that a replica sends, and what their answers mean.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::copy::nanos;
use super::machine::{Answered, ConsumerCheck, Creation, MessagePull};
use super::stream_state::StreamInfoAnswer;
use crate::api_request::{ApiResponse, api_request, is_gone};
use crate::connection::Connection;
use crate::message::is_transient;

/// How long an answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long a list of all subjects is waited for.
pub(super) const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// After how long without a request the server drops the consumer of a process that has ended.
const INACTIVE: Duration = Duration::from_secs(30);

/// How long a request for messages stays open.
const EXPIRES: Duration = Duration::from_secs(30);

/// Messages asked for at once, at most.
pub(super) const PULL: u64 = 2048;

/// Bytes of messages asked for at once, at most. A larger message is asked for alone.
const PULL_BYTES: usize = 8 * 1024 * 1024;

/// Which stream a replica is of.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaSource {
    pub(crate) api_prefix: String,
    pub(crate) stream: String,
    /// The subject of a key is this and the key.
    pub(crate) prefix: String,
}

#[derive(Deserialize)]
struct ConsumerAnswer {
    #[serde(default)]
    error: Option<jetstream::Error>,
    #[serde(default)]
    delivered: Delivered,
}

#[derive(Default, Deserialize)]
struct Delivered {
    #[serde(default)]
    consumer_seq: u64,
}

impl ReplicaSource {
    /// The subject of all keys.
    pub(super) fn subjects(&self) -> String {
        format!("{}>", self.prefix)
    }

    pub(super) async fn ask(&self, connection: &Connection) -> Answered {
        match self.stream_info(connection, Bytes::new(), TIMEOUT).await {
            ApiResponse::Answer(answer) => answer.answered(&self.subjects()),
            ApiResponse::Denied => Answered::Denied,
            ApiResponse::Silent => Answered::Silent,
        }
    }

    pub(super) async fn create(&self, connection: &Connection, name: &str) -> Creation {
        let config = json!({
            "stream_name": self.stream,
            "action": "create",
            "config": {
                "name": name,
                "description": "follows the bucket for a copy in memory (eventual-batch)",
                "deliver_policy": "all",
                "ack_policy": "none",
                "replay_policy": "instant",
                "max_deliver": -1,
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": nanos(INACTIVE),
            },
        });
        match self
            .consumer(connection, "CREATE", name, config.to_string())
            .await
        {
            ApiResponse::Answer(answer) => match answer.error {
                None => Creation::Created,
                Some(error) if is_transient(&error) || is_gone(&error) => Creation::Silent,
                Some(_) => Creation::Refused,
            },
            ApiResponse::Denied => Creation::Denied,
            ApiResponse::Silent => Creation::Silent,
        }
    }

    pub(super) async fn check(&self, connection: &Connection, name: &str) -> ConsumerCheck {
        match self.consumer(connection, "INFO", name, String::new()).await {
            ApiResponse::Answer(answer) => match answer.error {
                None => ConsumerCheck::Delivered(answer.delivered.consumer_seq),
                Some(error) if is_gone(&error) => ConsumerCheck::Gone,
                Some(_) => ConsumerCheck::Silent,
            },
            ApiResponse::Denied => ConsumerCheck::Denied,
            ApiResponse::Silent => ConsumerCheck::Silent,
        }
    }

    /// Where requests for messages are sent to.
    pub(super) fn pull_subject(&self, name: &str) -> String {
        let Self {
            api_prefix, stream, ..
        } = self;
        format!("{api_prefix}.CONSUMER.MSG.NEXT.{stream}.{name}")
    }

    /// Asks the consumer for messages. Returns whether the request could be sent.
    pub(super) async fn pull(
        &self,
        client: &Client,
        name: &str,
        inbox: String,
        heartbeat: Duration,
        pull: MessagePull,
    ) -> bool {
        let request = json!({
            "batch": pull.messages,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(heartbeat),
            "max_bytes": if pull.bounded { PULL_BYTES } else { 0 },
        });
        let subject = self.pull_subject(name);
        let request = Bytes::from(request.to_string());
        client
            .publish_with_reply(subject, inbox, request)
            .await
            .is_ok()
    }

    /// Deletes the consumer, without waiting for the answer.
    pub(super) async fn delete(&self, client: &Client, name: &str) {
        let subject = format!("{}.CONSUMER.DELETE.{}.{name}", self.api_prefix, self.stream);
        let inbox = client.new_inbox();
        drop(
            client
                .publish_with_reply(subject, inbox, Bytes::new())
                .await,
        );
    }

    pub(super) async fn stream_info(
        &self,
        connection: &Connection,
        payload: Bytes,
        within: Duration,
    ) -> ApiResponse<StreamInfoAnswer> {
        let subject = format!("{}.STREAM.INFO.{}", self.api_prefix, self.stream);
        api_request(connection, subject, payload, within).await
    }

    async fn consumer(
        &self,
        connection: &Connection,
        what: &str,
        name: &str,
        payload: String,
    ) -> ApiResponse<ConsumerAnswer> {
        let subject = format!("{}.CONSUMER.{what}.{}.{name}", self.api_prefix, self.stream);
        api_request(connection, subject, Bytes::from(payload), TIMEOUT).await
    }
}
