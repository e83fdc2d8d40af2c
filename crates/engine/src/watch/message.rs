//! Reading what the consumer sends: changes, signs, and ends of pulls.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::header::{HeaderMap, HeaderValue};
use async_nats::{Message, StatusCode, Subject};
use bytes::Bytes;

use super::ChangeKind;
use super::machine::{ChangeId, NewChange, WatchEvent, WatchPullEnd};
use crate::ack_subject::AckSubject;
use crate::message::is_marker;

/// Payloads up to this size are copied, because they would keep a larger read buffer alive.
const COPIED: usize = 32 * 1024;

/// A change as it came, beside what the machine knows of it.
#[derive(Debug)]
pub(super) struct HeldChange {
    /// The key as it stands in the bucket.
    pub(super) key: Arc<str>,
    pub(super) kind: ChangeKind,
    /// When the server stored it.
    pub(super) stored: SystemTime,
    /// Where it is acknowledged.
    pub(super) reply: Subject,
}

/// A message of the stream; `None` if it cannot be read. The machine's part is not yet decided on
/// what is wanted.
pub(super) fn change(message: Message, prefix: &str) -> Option<(HeldChange, AckSubject, bool)> {
    let reply = message.reply?;
    let place = AckSubject::parse(&reply)?;
    let key = Arc::from(message.subject.strip_prefix(prefix)?);
    let headers = message.headers.as_ref();
    let kind = if is_marker(headers) {
        ChangeKind::Delete
    } else {
        ChangeKind::Set(owned(message.payload))
    };
    let replaces = headers.is_some_and(removes_older);
    let stored = SystemTime::UNIX_EPOCH + Duration::from_nanos(place.time);
    let held = HeldChange {
        key,
        kind,
        stored,
        reply,
    };
    Some((held, place, replaces))
}

/// Whether the message has removed the older ones of its key.
///
/// A purge marker alone removes nothing. This crate writes such markers.
fn removes_older(headers: &HeaderMap) -> bool {
    let rollup = headers.get("Nats-Rollup").map(HeaderValue::as_str);
    rollup.is_some_and(|what| {
        ["sub", "all"]
            .iter()
            .any(|it| what.eq_ignore_ascii_case(it))
    })
}

fn owned(payload: Bytes) -> Bytes {
    if payload.len() <= COPIED {
        Bytes::copy_from_slice(&payload)
    } else {
        payload
    }
}

/// Which message it is.
pub(super) fn id(place: AckSubject) -> ChangeId {
    ChangeId {
        sequence: place.stream_sequence,
        time: place.time,
    }
}

/// The machine's part of a change.
pub(super) fn new_change(
    held: &HeldChange,
    place: AckSubject,
    replaces: bool,
    wanted: bool,
) -> NewChange {
    NewChange {
        key: Arc::clone(&held.key),
        id: id(place),
        consumer_sequence: place.consumer_sequence,
        deliveries: place.deliveries,
        wanted,
        replaces,
    }
}

/// What the consumer says beside the changes.
pub(super) fn status(message: &Message) -> WatchEvent {
    match message.status {
        Some(StatusCode::IDLE_HEARTBEAT) => WatchEvent::Heard,
        Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
            WatchEvent::PullEnded(WatchPullEnd::Expired)
        }
        Some(StatusCode::NO_RESPONDERS) => WatchEvent::PullEnded(WatchPullEnd::Gone),
        _ if description(message).contains("Consumer Deleted") => {
            WatchEvent::PullEnded(WatchPullEnd::Gone)
        }
        _ => WatchEvent::PullEnded(WatchPullEnd::Refused),
    }
}

/// Why the server has refused a pull, if it is for another reason than that another instance has
/// one open, or that the consumer's leader changes.
pub(super) fn refusal(message: &Message) -> Option<&str> {
    const PASSING: [&str; 4] = [
        "Exceeded MaxWaiting",
        "Leadership Change",
        "Server Shutdown",
        "Batch Completed",
    ];
    let is_refusal = matches!(
        status(message),
        WatchEvent::PullEnded(WatchPullEnd::Refused)
    );
    let description = description(message);
    let is_passing = PASSING.iter().any(|text| description.contains(text));
    (is_refusal && !is_passing).then_some(description)
}

fn description(message: &Message) -> &str {
    message.description.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rollup_removes_older_values() {
        let headers = |name: &str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            headers
        };
        assert!(removes_older(&headers("Nats-Rollup", "sub")));
        assert!(removes_older(&headers("Nats-Rollup", "all")));
        assert!(!removes_older(&headers("KV-Operation", "PURGE")));
        assert!(!removes_older(&headers("KV-Operation", "DEL")));
    }

    #[test]
    fn a_pull_of_another_instance_is_no_trouble() {
        let message = |description: &str| Message {
            subject: "_INBOX.a.0".into(),
            reply: None,
            payload: Bytes::new(),
            headers: None,
            status: StatusCode::from_u16(409).ok(),
            description: Some(description.to_owned()),
            length: 0,
        };
        assert_eq!(refusal(&message("Exceeded MaxWaiting")), None);
        assert_eq!(refusal(&message("Leadership Change")), None);
        assert_eq!(refusal(&message("Consumer Deleted")), None);
        let limit = "Exceeded MaxRequestBatch of 1000";
        assert_eq!(refusal(&message(limit)), Some(limit));
    }
}
