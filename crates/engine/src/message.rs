//! What the messages of a key-value bucket mean.

use std::borrow::Cow;
use std::time::Duration;

use async_nats::header::{
    HeaderMap, HeaderName, HeaderValue, NATS_MARKER_REASON, NATS_MESSAGE_ID, NATS_SEQUENCE,
    NATS_STREAM,
};
use async_nats::jetstream;
use async_nats::jetstream::stream::RawMessage;
use async_nats::{Message, StatusCode};
use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};
use bytes::Bytes;
use serde::Deserialize;

pub(super) const KV_OPERATION: &str = "KV-Operation";
const KV_DELETE: &str = "DEL";
const KV_PURGE: &str = "PURGE";

/// The `KV-Operation` of a delete marker with this time to live.
///
/// When a DEL marker expires, the server replaces it by a marker of its own, which stays as long
/// again. For a PURGE marker it does not (nats-server `isSubjectDeleteMarker`, from
/// 2.11.7 on; an older one keeps such a marker for twice its time).
/// Clients read both alike.
pub(super) fn delete_operation(ttl: Option<Duration>) -> &'static str {
    match ttl {
        Some(_) => KV_PURGE,
        None => KV_DELETE,
    }
}

/// The value of the header `Nats-TTL` (ADR-43). The server counts whole seconds.
pub(super) fn ttl_text(ttl: Duration) -> String {
    format!("{}s", ttl.as_secs().max(1))
}

/// Whether the message is a marker: it says that its key has no value. Clients write delete and
/// purge markers (ADR-8). The server writes markers for expired and removed keys (ADR-43, server ≥
/// 2.11).
///
/// Any other message without payload is an empty value.
pub(super) fn is_marker(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| {
        headers
            .get(KV_OPERATION)
            .is_some_and(|operation| matches!(operation.as_str(), KV_DELETE | KV_PURGE))
            || headers.get(NATS_MARKER_REASON).is_some()
    })
}

/// A message of the stream, from the answer to a read.
pub(super) struct StoredMessage {
    headers: Option<HeaderMap>,
    payload: Bytes,
    /// `None`: a header has it.
    sequence: Option<u64>,
}

impl StoredMessage {
    /// From the answer to a direct get. Its headers are those of the message, and then the
    /// server's.
    pub(super) fn from_direct_get(headers: HeaderMap, payload: Bytes) -> Self {
        Self {
            headers: Some(headers),
            payload,
            sequence: None,
        }
    }

    /// The payload's size in bytes.
    pub(super) fn size(&self) -> usize {
        self.payload.len()
    }

    /// The key's value, unless the message is a marker.
    pub(super) fn value(&self) -> Option<&[u8]> {
        (!is_marker(self.headers.as_ref())).then_some(self.payload.as_ref())
    }

    /// The same, without the rest of the message.
    pub(super) fn into_value(self) -> Option<Bytes> {
        (!is_marker(self.headers.as_ref())).then_some(self.payload)
    }

    /// The message's sequence in the stream.
    pub(super) fn revision(&self) -> u64 {
        self.sequence.unwrap_or_else(|| {
            // The server's headers come last. The stored message may have a header of the same
            // name.
            let header = self.headers.as_ref();
            let header = header.and_then(|headers| headers.get_last(NATS_SEQUENCE));
            header.map_or(0, |header| header.as_str().parse().unwrap_or(0))
        })
    }

    /// The `Nats-Msg-Id` that the message was written with.
    pub(super) fn write_id(&self) -> Option<&str> {
        let id = self.headers.as_ref()?.get(NATS_MESSAGE_ID)?;
        Some(id.as_str())
    }
}

/// From the answer of a leader.
impl TryFrom<RawMessage> for StoredMessage {
    type Error = DecodeError;

    fn try_from(raw: RawMessage) -> Result<Self, DecodeError> {
        let headers = raw.headers.map(|headers| STANDARD.decode(headers));
        Ok(Self {
            headers: headers.transpose()?.map(|headers| known_headers(&headers)),
            payload: STANDARD.decode(raw.payload)?.into(),
            sequence: Some(raw.sequence),
        })
    }
}

/// The headers that mean something for a bucket, from the raw headers of a stored message. Other
/// clients may have written any bytes there. A line that cannot be read is skipped.
fn known_headers(raw: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in raw.split(|&byte| byte == b'\n') {
        let Ok(line) = str::from_utf8(line) else {
            continue;
        };
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let known = match name {
            KV_OPERATION => HeaderName::from_static(KV_OPERATION),
            "Nats-Marker-Reason" => NATS_MARKER_REASON,
            "Nats-Msg-Id" => NATS_MESSAGE_ID,
            _ => continue,
        };
        if let Ok(value) = value.trim().parse::<HeaderValue>() {
            headers.append(known, value);
        }
    }
    headers
}

/// Whether the answer to a direct get is a stored message. A stored message has a header with its
/// stream's name, and the server's other answers do not. A status line proves nothing, because
/// another client may have stored a message with one.
pub(super) fn is_stored_message(message: &Message) -> bool {
    let headers = message.headers.as_ref();
    headers.is_some_and(|headers| headers.get(NATS_STREAM).is_some())
}

/// Whether nobody received the request. Then the stream does not exist, or has no leader and no
/// follower now.
pub(super) fn is_no_responders(message: &Message) -> bool {
    message.status == Some(StatusCode::NO_RESPONDERS) && !is_stored_message(message)
}

/// The server's answer to a write. It has the sequence of the stored message, or an error.
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
    /// Whether the write is stored in this stream.
    pub(super) fn is_stored_in(&self, stream: &str) -> bool {
        self.error.is_none() && self.seq > 0 && self.stream == stream
    }

    /// Whether the first copy of the write is still being replicated in this stream. Servers since 2.11
    /// say that by an error.
    pub(super) fn is_being_stored_in(&self, stream: &str) -> bool {
        self.error.is_none() && self.seq == 0 && self.stream == stream
    }
}

/// Whether the same request may succeed later, because the cluster is between leaders or
/// overloaded.
pub(super) fn is_transient(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        jetstream::ErrorCode::CLUSTER_NOT_AVAILABLE
            | jetstream::ErrorCode::CLUSTER_NOT_LEADER
            | jetstream::ErrorCode::CLUSTER_INCOMPLETE
            | jetstream::ErrorCode::STREAM_TOO_MANY_REQUESTS
            // The first copy of the write is still being replicated.
            | jetstream::ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT
    )
}

/// Whether a replicated stream checks for this problem before it checks the write's id. So the
/// stream may give this error for a copy of a write that it has stored.
pub(super) fn is_checked_before_id(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        jetstream::ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | jetstream::ErrorCode::INSUFFICIENT_RESOURCES
    )
}

/// Whether the key's last message has another revision than the write expects.
pub(super) fn is_conflict(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        jetstream::ErrorCode::STREAM_WRONG_LAST_SEQUENCE
            // Another write of the key is being replicated (server ≥ 2.12).
            | jetstream::ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_is_being_replicated_is_told_from_a_stored_one() {
        let is = |json: &str| {
            let answer: Acknowledgement<'_> = serde_json::from_str(json).unwrap();
            (answer.is_stored_in("a"), answer.is_being_stored_in("a"))
        };
        assert_eq!(is(r#"{"stream":"a","seq":7}"#), (true, false));
        // As nats-server 2.10 answers a second copy.
        let second = r#"{"stream":"a","seq":0,"duplicate": true}"#;
        assert_eq!(is(second), (false, true));
        assert_eq!(is(r#"{"stream":"b","seq":0}"#), (false, false));
        assert_eq!(is(r#"{"stream":"b","seq":7}"#), (false, false));
        let error = r#"{"stream":"a","seq":0,"error":{"code":400,"err_code":10077}}"#;
        assert_eq!(is(error), (false, false));
    }

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

    #[test]
    fn markers_are_told_from_values_among_headers_that_cannot_be_read() {
        let is_marked = |lines: &str| {
            let raw = format!("NATS/1.0\r\n{lines}\r\n");
            is_marker(Some(&known_headers(raw.as_bytes())))
        };
        assert!(is_marked("broken\r\nKV-Operation: DEL\r\n"));
        assert!(is_marked("KV-Operation:PURGE\r\n"));
        assert!(is_marked("a b: c\r\nNats-Marker-Reason: MaxAge\r\n"));
        assert!(!is_marked("KV-Operation: PUT\r\n"));
        assert!(!is_marked("X: KV-Operation: DEL\r\n"));
        assert!(!is_marker(Some(&known_headers(b"\xff\xfe"))));
        assert!(!is_marker(Some(&known_headers(b""))));
    }
}
