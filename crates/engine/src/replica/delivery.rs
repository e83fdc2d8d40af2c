//! Reading what the consumer sends: messages of the stream, heartbeats, and ends of requests.

use async_nats::header::HeaderMap;
use async_nats::{Message, StatusCode};

use super::machine::{Delivery, MessageTtl, PullEnd, ReplicaEvent};
use crate::ack_subject::AckSubject;
use crate::message::is_marker;

const ROLLUP: &str = "Nats-Rollup";
const TTL: &str = "Nats-TTL";
const SECOND: u64 = 1_000_000_000;

/// A message of the stream as an event; `None` if it cannot be read.
pub(super) fn delivered<'a>(message: &'a Message, prefix: &str) -> Option<ReplicaEvent<'a>> {
    let place = AckSubject::parse(message.reply.as_deref()?)?;
    let headers = message.headers.as_ref();
    let rollup = headers.and_then(|headers| headers.get(ROLLUP));
    Some(ReplicaEvent::Delivered(Delivery {
        key: message.subject.strip_prefix(prefix)?,
        value: (!is_marker(headers)).then_some(message.payload.as_ref()),
        sequence: place.stream_sequence,
        delivered: place.consumer_sequence,
        time: place.time,
        ttl: ttl(headers),
        replaces_all: rollup.is_some_and(|rollup| rollup.as_str().eq_ignore_ascii_case("all")),
    }))
}

/// What the consumer says beside the stream's messages, in answer to this request for messages.
pub(super) fn status(message: &Message, pull: u64) -> ReplicaEvent<'static> {
    let number = |name: &str| {
        let header = message.headers.as_ref()?.get(name)?;
        header.as_str().parse().ok()
    };
    match message.status {
        Some(StatusCode::IDLE_HEARTBEAT) => {
            match (number("Nats-Last-Consumer"), number("Nats-Last-Stream")) {
                (Some(delivered), Some(position)) => ReplicaEvent::Heartbeat {
                    pull,
                    delivered,
                    position,
                },
                _ => ReplicaEvent::Tick,
            }
        }
        Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => ReplicaEvent::PullEnded {
            pull,
            end: PullEnd::Over,
        },
        _ => ReplicaEvent::PullEnded {
            pull,
            end: conflict(message.description.as_deref().unwrap_or_default()),
        },
    }
}

/// What the server means by a status that is neither a heartbeat nor the end of a request's time.
fn conflict(description: &str) -> PullEnd {
    if description.contains("Exceeds MaxBytes") {
        PullEnd::Full
    } else if description.contains("Batch Completed") {
        PullEnd::Over
    } else {
        PullEnd::Trouble
    }
}

fn ttl(headers: Option<&HeaderMap>) -> MessageTtl {
    let Some(ttl) = headers.and_then(|headers| headers.get(TTL)) else {
        return MessageTtl::None;
    };
    match ttl.as_str() {
        "never" => MessageTtl::Never,
        text => parse_ttl(text).map_or(MessageTtl::Unclear, MessageTtl::After),
    }
}

/// A number of seconds, or a duration as Go writes it, of which the server drops parts of seconds.
fn parse_ttl(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return (seconds > 0).then(|| seconds.saturating_mul(SECOND));
    }
    let mut rest = text;
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            // Anything finer, and fractions: the copy does without.
            _ => return None,
        };
        rest = &rest[unit_end..];
        seconds = seconds.saturating_add(number.saturating_mul(unit));
    }
    (seconds > 0).then(|| seconds.saturating_mul(SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_request_is_told_from_trouble() {
        for (description, end) in [
            ("Message Size Exceeds MaxBytes", PullEnd::Full),
            ("Batch Completed", PullEnd::Over),
            ("Consumer Deleted", PullEnd::Trouble),
            ("Exceeded MaxWaiting", PullEnd::Trouble),
            ("Leadership Change", PullEnd::Trouble),
            ("", PullEnd::Trouble),
        ] {
            assert_eq!(conflict(description), end, "{description}");
        }
    }

    #[test]
    fn times_to_live_are_read_as_the_server_reads_them() {
        for (text, seconds) in [
            ("5", Some(5)),
            ("5s", Some(5)),
            ("1h2m3s", Some(3723)),
            ("0", None),
            ("1.5s", None),
            ("100ms", None),
            ("soon", None),
        ] {
            assert_eq!(parse_ttl(text), seconds.map(|s| s * SECOND), "{text}");
        }
    }
}
