//! Quarantine: how a bucket is read that holds a message which breaks the NATS client's parser.
//!
//! Any client that may write to a bucket can store headers that `async-nats` cannot parse: a name
//! with a space, or a value that is not UTF-8 or has a carriage return in it. When such a message
//! is delivered, `async-nats` drops its connection, or ends by a panic. The stream's leader answers
//! `$JS.API.STREAM.MSG.GET` with the headers as base64 text, which nothing has to parse. So a
//! bucket with such a message is put under quarantine: all reads go to the leader, which is slower.

use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessage;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::text::LogText;

/// If one call loses this many connections, its reads count as the likely cause.
const SUSPICIOUS_LOSSES: usize = 2;

/// Whether a bucket is under quarantine.
#[derive(Debug, Default)]
pub(crate) struct Quarantine(AtomicBool);

impl Quarantine {
    /// Whether the bucket has to be read through its leader.
    pub(crate) fn is_active(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Puts the bucket of this stream under quarantine. It lasts until the bucket is found missing,
    /// or as long as the [`Bucket`](crate::Bucket) lives.
    pub(crate) fn activate(&self, stream: &str, why: &LogText) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                stream,
                %why,
                "another client has written what the NATS client cannot parse; from now on \
                 the engine reads through the stream's leader"
            );
        }
    }
}

/// How many connections one call has lost while it waited for answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LostConnections(usize);

impl LostConnections {
    /// Counts one more.
    pub(crate) fn record(&mut self) {
        self.0 += 1;
    }

    /// Whether the likely cause is a message that the call reads, and that the NATS client cannot
    /// parse.
    pub(crate) fn are_suspicious(self) -> bool {
        self.0 >= SUSPICIOUS_LOSSES
    }
}

/// Why this message breaks the client's parser, if it does.
pub(crate) fn parser_breaker(raw: &RawMessage) -> Option<LogText> {
    if StreamMessage::try_from(raw.clone()).is_err() {
        return Some(LogText::fixed("headers that break the NATS protocol"));
    }
    let headers = STANDARD.decode(raw.headers.as_deref()?).ok()?;
    has_lone_return(&headers).then_some(LogText::fixed("a carriage return in a header"))
}

fn has_lone_return(headers: &[u8]) -> bool {
    let mut after = headers.split(|&byte| byte == b'\r').skip(1);
    after.any(|rest| rest.first() != Some(&b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carriage_return_stands_before_a_line_feed() {
        assert!(!has_lone_return(b"NATS/1.0\r\nX: 1\r\n\r\n"));
        assert!(!has_lone_return(b""));
        assert!(has_lone_return(b"NATS/1.0\r\nX: 1\r2\r\n\r\n"));
        assert!(has_lone_return(b"NATS/1.0\r\nX: 1\r\r\n\r\n"));
        assert!(has_lone_return(b"NATS/1.0\r\nX: 1\r"));
    }

    #[test]
    fn the_second_lost_connection_is_suspicious() {
        let mut lost = LostConnections::default();
        lost.record();
        assert!(!lost.are_suspicious());
        lost.record();
        assert!(lost.are_suspicious());
    }
}
