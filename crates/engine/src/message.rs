//! What the messages of a key-value bucket mean.

use std::borrow::Cow;

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

/// A stored message, as a read answers with it.
pub(super) struct Stored {
    headers: Option<HeaderMap>,
    payload: Bytes,
    /// `None` if a header has it.
    sequence: Option<u64>,
}

impl Stored {
    /// The answer of a direct get, whose headers are the message's and the server's.
    pub(super) fn direct(headers: HeaderMap, payload: Bytes) -> Self {
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

    /// The key's value, unless the message says that it has none.
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
            // The server adds its headers last. The stored message may have one of the same name.
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

/// The answer of a leader.
impl TryFrom<RawMessage> for Stored {
    type Error = DecodeError;

    fn try_from(raw: RawMessage) -> Result<Self, DecodeError> {
        let headers = raw.headers.map(|headers| STANDARD.decode(headers));
        Ok(Self {
            headers: headers.transpose()?.map(|headers| known(&headers)),
            payload: STANDARD.decode(raw.payload)?.into(),
            sequence: Some(raw.sequence),
        })
    }
}

/// The headers that have a meaning for a bucket, out of the bytes of a stored message's headers. Other
/// clients may have written any bytes there; a line that cannot be read is skipped.
fn known(raw: &[u8]) -> HeaderMap {
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

/// Whether a direct get was answered with a stored message. The headers of a stored message name its
/// stream; the server's own answers do not. A status line does not tell, because another client may have
/// stored a message that has one.
pub(super) fn is_stored(message: &Message) -> bool {
    let headers = message.headers.as_ref();
    headers.is_some_and(|headers| headers.get(NATS_STREAM).is_some())
}

/// Whether nobody received the request: the stream does not exist, or has no leader or replica now.
pub(super) fn is_no_responders(message: &Message) -> bool {
    message.status == Some(StatusCode::NO_RESPONDERS) && !is_stored(message)
}

/// The server's answer to a write: the sequence, or why the write was refused.
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
    /// Whether the write is in this stream.
    pub(super) fn is_of(&self, stream: &str) -> bool {
        self.error.is_none() && self.seq > 0 && self.stream == stream
    }
}

/// Whether the cluster is between leaders or overloaded, so that sending again may help.
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

/// Whether the key's last message has another sequence than the write expects.
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
            is_marker(Some(&known(raw.as_bytes())))
        };
        assert!(is_marked("broken\r\nKV-Operation: DEL\r\n"));
        assert!(is_marked("KV-Operation:PURGE\r\n"));
        assert!(is_marked("a b: c\r\nNats-Marker-Reason: MaxAge\r\n"));
        assert!(!is_marked("KV-Operation: PUT\r\n"));
        assert!(!is_marked("X: KV-Operation: DEL\r\n"));
        assert!(!is_marker(Some(&known(b"\xff\xfe"))));
        assert!(!is_marker(Some(&known(b""))));
    }
}
