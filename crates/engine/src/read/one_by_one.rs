//! One request for each key: by direct get (ADR-31), or through the stream's leader.

use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::jetstream::stream::RawMessage;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Message, StatusCode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::message::{Stored, is_stored, is_transient};
use crate::pipeline::{AnswerOutcome, Items, Operation, RequestMessage};
use crate::quarantine::{LostConnections, parser_breaker};
use crate::stream_info::{ReadPath, StreamInfo};
use crate::text::LogText;
use crate::tuning;

/// Keys that are read, and what becomes of what they hold.
pub(super) trait Reader {
    /// The key as it stands in the bucket.
    fn key(&self, index: usize) -> &str;

    /// Takes a key's last message; `None`: it has none.
    ///
    /// # Errors
    ///
    /// The answer is over a limit.
    fn take(&mut self, index: usize, last: Option<Stored>) -> Result<(), Error>;
}

/// Reads of some of a reader's keys.
pub(super) struct Reads<'r, R> {
    reader: &'r mut R,
    /// Which of the reader's keys each item is.
    items: Vec<usize>,
    /// How many keys the whole call has.
    total_items: usize,
    /// `None`: the bucket's own.
    path: Option<ReadPath>,
    /// The connections that were lost while some of the keys were being read.
    lost: LostConnections,
    /// The mean size of the values that have come: what an unanswered read is taken to weigh.
    bytes_seen: usize,
    values_seen: usize,
}

impl<'r, R: Reader> Reads<'r, R> {
    pub(super) fn new(reader: &'r mut R, items: Vec<usize>, path: Option<ReadPath>) -> Self {
        Self {
            reader,
            total_items: items.len(),
            items,
            path,
            lost: LostConnections::default(),
            bytes_seen: 0,
            values_seen: 0,
        }
    }

    /// The same reads, which are part of a call for so many keys.
    pub(super) fn total_items(self, total_items: usize) -> Self {
        Self {
            total_items,
            ..self
        }
    }

    /// The same reads, after the call has lost these connections.
    pub(super) fn after(self, lost: LostConnections) -> Self {
        Self { lost, ..self }
    }

    /// If the connection is lost again and again, a message that is read may be the cause.
    fn path(&self, info: &StreamInfo) -> ReadPath {
        match self.path {
            Some(path) => path,
            None if self.lost.are_suspicious() => ReadPath::Leader,
            None => info.path(),
        }
    }

    /// Takes a message as the leader gives it, whose headers no client has parsed.
    fn raw(&mut self, item: usize, raw: RawMessage, info: &StreamInfo) -> AnswerOutcome<Error> {
        if self.lost.are_suspicious()
            && let Some(why) = parser_breaker(&raw)
        {
            info.quarantine.activate(&info.stream, &why);
        }
        match Stored::try_from(raw) {
            Ok(stored) => self.found(item, stored),
            Err(_) => unreadable(&LogText::fixed("it is not base64")),
        }
    }

    fn found(&mut self, item: usize, stored: Stored) -> AnswerOutcome<Error> {
        self.bytes_seen += stored.size();
        self.values_seen += 1;
        self.take(item, Some(stored))
    }

    fn missing(&mut self, item: usize) -> AnswerOutcome<Error> {
        self.take(item, None)
    }

    fn take(&mut self, item: usize, last: Option<Stored>) -> AnswerOutcome<Error> {
        match self.reader.take(self.items[item], last) {
            Ok(()) => AnswerOutcome::Done { sequence: None },
            Err(error) => AnswerOutcome::Failed(error),
        }
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

impl<R: Reader> Items for Reads<'_, R> {
    type Info = StreamInfo;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn total_items(&self) -> usize {
        self.total_items.max(self.items.len())
    }

    fn value_bytes(&self, _item: usize) -> usize {
        self.bytes_seen
            .checked_div(self.values_seen)
            .unwrap_or(tuning::UNSEEN_VALUE_BYTES)
    }

    fn may_group(&self, _item: usize, _info: &StreamInfo) -> bool {
        false
    }

    fn resend_window(&self, _item: usize, _info: &StreamInfo) -> Duration {
        Duration::MAX
    }
}

impl<R: Reader> Operation for Reads<'_, R> {
    fn request(&self, item: usize, info: &StreamInfo) -> RequestMessage {
        let StreamInfo {
            api_prefix,
            stream,
            read_prefix,
            ..
        } = info;
        let key = self.reader.key(self.items[item]);
        let by_leader = |api_prefix: &str, stream: &str| {
            let last_by_subj = &format!("{read_prefix}{key}");
            let request = serde_json::to_vec(&LastBySubject { last_by_subj });
            (
                format!("{api_prefix}.STREAM.MSG.GET.{stream}"),
                request.unwrap_or_default().into(),
            )
        };
        let (subject, payload) = match self.path(info) {
            ReadPath::Direct => (
                format!("{api_prefix}.DIRECT.GET.{stream}.{read_prefix}{key}"),
                Bytes::new(),
            ),
            ReadPath::Leader => by_leader(api_prefix, stream),
            ReadPath::Origin => by_leader(&info.write_api_prefix, &info.write_stream),
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

    fn sequence(&self, _message: &Message, _info: &StreamInfo) -> Option<u64> {
        None
    }

    fn answer(
        &mut self,
        item: usize,
        mut message: Message,
        info: &StreamInfo,
    ) -> AnswerOutcome<Error> {
        if is_stored(&message)
            && let Some(headers) = message.headers.take()
        {
            return self.found(item, Stored::direct(headers, message.payload));
        }
        match message.status {
            Some(StatusCode::NOT_FOUND) => return self.missing(item),
            Some(status) => {
                return AnswerOutcome::Failed(Error::Refused {
                    what: "a read",
                    reason: LogText::of_status(status, message.description.as_deref()),
                });
            }
            None => {}
        }
        match serde_json::from_slice(&message.payload) {
            Ok(LeaderAnswer {
                message: Some(raw), ..
            }) => self.raw(item, raw, info),
            Ok(LeaderAnswer {
                error: Some(error), ..
            }) => match error.error_code() {
                ErrorCode::NO_MESSAGE_FOUND => self.missing(item),
                ErrorCode::STREAM_NOT_FOUND => AnswerOutcome::StreamNotFound,
                _ if is_transient(&error) => AnswerOutcome::TryAgain,
                _ => AnswerOutcome::Failed(Error::Refused {
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

    fn maybe_stored(&self, error: Error) -> Error {
        error
    }

    /// One key that cannot be read makes the answer an error.
    fn failed(&mut self, _item: usize, error: Error) -> ControlFlow<Error> {
        ControlFlow::Break(error)
    }
}

fn unreadable(why: &LogText) -> AnswerOutcome<Error> {
    AnswerOutcome::Failed(Error::Refused {
        what: "a read",
        reason: why.after("its answer cannot be read: "),
    })
}
