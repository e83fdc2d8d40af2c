//! What the watch reads of the answers of the JetStream API.

use async_nats::jetstream;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct StreamAnswer {
    #[serde(default)]
    pub(super) error: Option<jetstream::Error>,
    #[serde(default)]
    pub(super) created: String,
    #[serde(default)]
    pub(super) state: StreamStateAnswer,
    #[serde(default)]
    pub(super) config: StreamConfigAnswer,
}

#[derive(Default, Deserialize)]
pub(super) struct StreamStateAnswer {
    #[serde(default)]
    pub(super) last_seq: u64,
}

#[derive(Default, Deserialize)]
pub(super) struct StreamConfigAnswer {
    #[serde(default)]
    pub(super) max_msgs_per_subject: i64,
}

#[derive(Deserialize)]
pub(super) struct WatchConsumerAnswer {
    #[serde(default)]
    pub(super) error: Option<jetstream::Error>,
    #[serde(default)]
    pub(super) created: String,
    #[serde(default)]
    pub(super) config: Value,
    #[serde(default)]
    pub(super) ack_floor: SequencesAnswer,
    #[serde(default)]
    pub(super) num_ack_pending: u64,
}

#[derive(Default, Deserialize)]
pub(super) struct SequencesAnswer {
    #[serde(default)]
    pub(super) stream_seq: u64,
}
