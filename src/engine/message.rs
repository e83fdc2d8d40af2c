//! What the messages of a key-value bucket mean.

use std::borrow::Cow;

use async_nats::header::{HeaderMap, NATS_MARKER_REASON};
use async_nats::jetstream;
use async_nats::{Message, StatusCode};
use serde::Deserialize;

pub(super) const KV_OPERATION: &str = "KV-Operation";
pub(super) const KV_DELETE: &str = "DEL";

/// Whether the message says that its key has no value: a delete or purge marker of a client
/// (ADR-8), or one that the server left for an expired or removed key (ADR-43, server ≥ 2.11).
///
/// A message without payload that is neither is an empty value.
pub(super) fn is_marker(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| {
        headers
            .get(KV_OPERATION)
            .is_some_and(|operation| matches!(operation.as_str(), KV_DELETE | "PURGE"))
            || headers.get(NATS_MARKER_REASON).is_some()
    })
}

/// Whether nobody took the request: there is no such stream, or no leader or replica to answer now.
pub(super) fn is_no_responders(message: &Message) -> bool {
    message.status == Some(StatusCode::NO_RESPONDERS)
}

/// The server's answer to a write: where it stands, or why it was refused.
#[derive(Deserialize)]
pub(super) struct Acknowledgement<'a> {
    #[serde(default, borrow)]
    pub(super) stream: Cow<'a, str>,
    #[serde(default)]
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) error: Option<jetstream::Error>,
}

impl Acknowledgement<'_> {
    /// Whether it says that the write is in this stream.
    pub(super) fn is_of(&self, stream: &str) -> bool {
        self.error.is_none() && self.seq > 0 && self.stream == stream
    }
}

/// Whether the cluster is only between leaders or overloaded, so that asking again may help.
pub(super) fn is_transient(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        jetstream::ErrorCode::CLUSTER_NOT_AVAILABLE
            | jetstream::ErrorCode::CLUSTER_NOT_LEADER
            | jetstream::ErrorCode::CLUSTER_INCOMPLETE
            | jetstream::ErrorCode::STREAM_TOO_MANY_REQUESTS
            // The first copy of a write that was sent again is still being replicated.
            | jetstream::ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_told_from_values() {
        let with = |name: &str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            headers
        };
        assert!(is_marker(Some(&with("KV-Operation", "DEL"))));
        assert!(is_marker(Some(&with("KV-Operation", "PURGE"))));
        assert!(is_marker(Some(&with("Nats-Marker-Reason", "MaxAge"))));
        assert!(!is_marker(Some(&with("KV-Operation", "PUT"))));
        assert!(!is_marker(Some(&with("Nats-Msg-Id", "1"))));
        assert!(!is_marker(None));
    }
}
