//! Reading keys with one request for each: a direct get (ADR-31), or a request to the stream's
//! leader.

use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::jetstream::stream::RawMessage;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Message, StatusCode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bucket_state::BucketState;
use crate::connection::Connection;
use crate::error::Error;
use crate::message::{StoredMessage, is_stored_message, is_transient};
use crate::pipeline::{AnswerOutcome, Items, Operation, RequestMessage};
use crate::quarantine::{LostConnections, parser_breaker};
use crate::stream_info::{ReadPath, StreamInfo};
use crate::text::LogText;
use crate::tuning;

/// The keys of the reads, and what takes the messages that they have read.
pub(super) trait KeysToRead {
    /// The key, encoded as in the bucket.
    fn encoded_key(&self, index: usize) -> &str;

    /// Takes the last message of a key. `None`: the key has no message.
    ///
    /// # Errors
    ///
    /// The answer to the call is over a limit.
    fn set_last_message(&mut self, index: usize, last: Option<StoredMessage>) -> Result<(), Error>;
}

/// Reads of some of the target's keys, one request for each.
pub(super) struct SingleKeyReads<'t, T> {
    target: &'t mut T,
    /// The index of each item's key in the target.
    indexes: Vec<usize>,
    /// How many keys the whole call has.
    total_items: usize,
    /// Overrides the stream info's read path.
    path: Option<ReadPath>,
    /// How many connections the call has lost so far.
    lost: LostConnections,
    /// The size of all values that have come. Their mean size is the estimate for the next value.
    bytes_read: usize,
    values_read: usize,
}

impl<'t, T: KeysToRead> SingleKeyReads<'t, T> {
    pub(super) fn new(target: &'t mut T, indexes: Vec<usize>, path: Option<ReadPath>) -> Self {
        Self {
            target,
            total_items: indexes.len(),
            indexes,
            path,
            lost: LostConnections::default(),
            bytes_read: 0,
            values_read: 0,
        }
    }

    /// The same reads as part of a call of `total_items` keys.
    pub(super) fn with_total_items(self, total_items: usize) -> Self {
        Self {
            total_items,
            ..self
        }
    }

    /// The same reads, after the call has lost these connections.
    pub(super) fn with_lost_connections(self, lost: LostConnections) -> Self {
        Self { lost, ..self }
    }

    /// Takes a message from the leader. The NATS client has not parsed its headers.
    fn found_by_leader(
        &mut self,
        item: usize,
        raw: RawMessage,
        info: &StreamInfo,
    ) -> AnswerOutcome<Error> {
        if self.lost.are_suspicious()
            && let Some(why) = parser_breaker(&raw)
        {
            info.quarantine.activate(&info.stream, &why);
        }
        match StoredMessage::try_from(raw) {
            Ok(stored) => self.found(item, stored),
            Err(_) => unreadable(&LogText::fixed("it is not base64")),
        }
    }

    fn found(&mut self, item: usize, stored: StoredMessage) -> AnswerOutcome<Error> {
        self.bytes_read += stored.size();
        self.values_read += 1;
        self.set_last_message(item, Some(stored))
    }

    fn missing(&mut self, item: usize) -> AnswerOutcome<Error> {
        self.set_last_message(item, None)
    }

    fn set_last_message(
        &mut self,
        item: usize,
        last: Option<StoredMessage>,
    ) -> AnswerOutcome<Error> {
        match self.target.set_last_message(self.indexes[item], last) {
            Ok(()) => AnswerOutcome::Done { sequence: None },
            Err(error) => AnswerOutcome::OverLimit(error),
        }
    }
}

/// How to read. `path` overrides what the stream info says.
///
/// If the call has lost its connection again and again, a message that it reads may be the cause.
/// The leader's answer is safe, because its headers are base64 text.
pub(super) fn read_path(
    path: Option<ReadPath>,
    lost: LostConnections,
    info: &StreamInfo,
) -> ReadPath {
    match path {
        Some(path) => path,
        None if lost.are_suspicious() => ReadPath::Leader,
        None => info.effective_read_path(),
    }
}

/// The request of `$JS.API.STREAM.MSG.GET`.
#[derive(Serialize)]
struct LastBySubject<'a> {
    last_by_subj: &'a str,
}

/// Its answer.
#[derive(Deserialize)]
struct LeaderAnswer {
    message: Option<RawMessage>,
    error: Option<jetstream::Error>,
}

impl<T: KeysToRead> Items for SingleKeyReads<'_, T> {
    type Info = StreamInfo;

    fn len(&self) -> usize {
        self.indexes.len()
    }

    fn total_items(&self) -> usize {
        self.total_items.max(self.indexes.len())
    }

    fn value_bytes(&self, _item: usize) -> usize {
        self.bytes_read
            .checked_div(self.values_read)
            .unwrap_or(tuning::FIRST_VALUE_ESTIMATE)
    }

    fn may_group(&self, _item: usize, _info: &StreamInfo) -> bool {
        false
    }

    fn resend_window(&self, _item: usize, _info: &StreamInfo) -> Duration {
        Duration::MAX
    }
}

impl<T: KeysToRead> Operation for SingleKeyReads<'_, T> {
    fn request(&self, item: usize, info: &StreamInfo) -> RequestMessage {
        let StreamInfo {
            api_prefix,
            stream,
            read_prefix,
            ..
        } = info;
        let key = self.target.encoded_key(self.indexes[item]);
        let by_leader = |api_prefix: &str, stream: &str| {
            let last_by_subj = &format!("{read_prefix}{key}");
            let request = serde_json::to_vec(&LastBySubject { last_by_subj });
            (
                format!("{api_prefix}.STREAM.MSG.GET.{stream}"),
                request.unwrap_or_default().into(),
            )
        };
        let (subject, payload) = match read_path(self.path, self.lost, info) {
            ReadPath::Direct => (
                format!("{api_prefix}.DIRECT.GET.{stream}.{read_prefix}{key}"),
                Bytes::new(),
            ),
            ReadPath::Leader => by_leader(api_prefix, stream),
            ReadPath::OriginLeader => by_leader(&info.write_api_prefix, &info.write_stream),
        };
        RequestMessage {
            subject,
            headers: None,
            payload,
        }
    }

    fn subject(&self, item: usize, info: &StreamInfo) -> String {
        self.request(item, info).subject
    }

    fn connection<'b>(&self, bucket: &'b BucketState) -> &'b Connection {
        bucket.next_read_connection()
    }

    fn shared_answer(&mut self, _message: &Message, _info: &StreamInfo) -> Option<u64> {
        None
    }

    fn answer(
        &mut self,
        item: usize,
        mut message: Message,
        info: &StreamInfo,
    ) -> AnswerOutcome<Error> {
        if is_stored_message(&message)
            && let Some(headers) = message.headers.take()
        {
            return self.found(
                item,
                StoredMessage::from_direct_get(headers, message.payload),
            );
        }
        match message.status {
            Some(StatusCode::NOT_FOUND) => return self.missing(item),
            Some(status) => {
                return AnswerOutcome::Refused(Error::Refused {
                    what: "a read",
                    reason: LogText::of_status(status, message.description.as_deref()),
                });
            }
            None => {}
        }
        match serde_json::from_slice(&message.payload) {
            Ok(LeaderAnswer {
                message: Some(raw), ..
            }) => self.found_by_leader(item, raw, info),
            Ok(LeaderAnswer {
                error: Some(error), ..
            }) => match error.error_code() {
                ErrorCode::NO_MESSAGE_FOUND => self.missing(item),
                ErrorCode::STREAM_NOT_FOUND => AnswerOutcome::StreamNotFound,
                _ if is_transient(&error) => AnswerOutcome::TryAgain,
                _ => AnswerOutcome::Refused(Error::Refused {
                    what: "a read",
                    reason: LogText::of_jetstream(&error),
                }),
            },
            Ok(_) => unreadable(&LogText::fixed("it is empty")),
            Err(error) => unreadable(&LogText::of_json(&error)),
        }
    }

    fn connection_lost(&mut self) {
        self.lost.record();
    }

    fn to_unclear_error(&self, error: Error) -> Error {
        error
    }

    /// One key that cannot be read makes the answer an error.
    fn failed(&mut self, _item: usize, error: Error) -> ControlFlow<Error> {
        ControlFlow::Break(error)
    }
}

fn unreadable(why: &LogText) -> AnswerOutcome<Error> {
    AnswerOutcome::Unusable(Error::BadAnswer {
        what: "a read",
        reason: why.clone(),
    })
}
