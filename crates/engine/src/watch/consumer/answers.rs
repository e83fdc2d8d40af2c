//! What the watch reads of the answers of the JetStream API.

use async_nats::jetstream;
use serde::Deserialize;
use serde_json::Value;

use crate::watch::machine::ChangeRetention;

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

impl StreamConfigAnswer {
    /// How long the bucket keeps changes.
    ///
    /// An older one is gone when so many newer ones of its key have come, unless one of those may
    /// go before it.
    pub(super) fn retention(&self) -> ChangeRetention {
        let goes_in_order = self.deny_delete && !self.allow_msg_ttl;
        let history = match usize::try_from(self.max_msgs_per_subject) {
            Ok(1) => 1,
            Ok(history) if history > 1 && goes_in_order => history,
            // 0 and -1 are no limit.
            Ok(_) | Err(_) => usize::MAX,
        };
        ChangeRetention {
            history,
            keeps_last_only: history == 1 && goes_in_order && self.max_age == 0,
        }
    }
}

#[derive(Default, Deserialize)]
pub(super) struct StreamConfigAnswer {
    #[serde(default)]
    max_msgs_per_subject: i64,
    #[serde(default)]
    allow_msg_ttl: bool,
    #[serde(default)]
    deny_delete: bool,
    #[serde(default)]
    max_age: u64,
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
    pub(super) delivered: SequencesAnswer,
    #[serde(default)]
    pub(super) num_ack_pending: u64,
}

#[derive(Default, Deserialize)]
pub(super) struct SequencesAnswer {
    #[serde(default)]
    pub(super) consumer_seq: u64,
    #[serde(default)]
    pub(super) stream_seq: u64,
}
