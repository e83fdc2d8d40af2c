//! Reading what the consumer sends: changes, signs, and ends of pulls.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::header::HeaderMap;
use async_nats::{Message, StatusCode, Subject};
use bytes::Bytes;

use super::ChangeKind;
use super::machine::{NewChange, WatchEvent, WatchPullEnd};
use crate::ack_subject::AckSubject;
use crate::message::{KV_OPERATION, is_marker};

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
fn removes_older(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| {
        let header = headers.get(name);
        header.is_some_and(|header| header.as_str().eq_ignore_ascii_case(value))
    };
    is("Nats-Rollup", "sub") || is(KV_OPERATION, "PURGE")
}

fn owned(payload: Bytes) -> Bytes {
    if payload.len() <= COPIED {
        Bytes::copy_from_slice(&payload)
    } else {
        payload
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
        sequence: place.stream_sequence,
        consumer_sequence: place.consumer_sequence,
        deliveries: place.deliveries,
        wanted,
        replaces,
    }
}

/// What the consumer says beside the changes.
pub(super) fn status(message: &Message) -> WatchEvent {
    let says = |what: &str| {
        let description = message.description.as_deref().unwrap_or_default();
        description.contains(what)
    };
    match message.status {
        Some(StatusCode::IDLE_HEARTBEAT) => WatchEvent::Heard,
        Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
            WatchEvent::PullEnded(WatchPullEnd::Expired)
        }
        Some(StatusCode::NO_RESPONDERS) => WatchEvent::PullEnded(WatchPullEnd::Gone),
        _ if says("Consumer Deleted") => WatchEvent::PullEnded(WatchPullEnd::Gone),
        _ => WatchEvent::PullEnded(WatchPullEnd::Refused),
    }
}
