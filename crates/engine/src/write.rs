//! Setting and deleting keys: one publish each, with the server's acknowledgement.

mod dedupe;
mod written;

use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::Message;
use async_nats::header::{HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::ErrorCode;
use bytes::Bytes;

use super::deadline::Deadline;
use super::error::{Error, Kind, ValueLimit};
use super::handle::BucketHandle;
use super::message::{Acknowledgement, KV_DELETE, KV_OPERATION, is_conflict, is_transient};
use super::pipeline::{self, AnswerOutcome, Items, Operation, RequestMessage};
use super::replica::ReplicaUser;
use super::stream_info::StreamInfo;
use super::text::{CallerText, LogText};
use super::tuning;
use dedupe::{Write, dedupe};
use written::WrittenSequences;

/// What the header block may add to a value: the status line, one `Nats-Msg-Id`, and the operation
/// of a delete.
const HEADER_ROOM: usize = 96;

/// What the revision that a write expects adds to that.
const EXPECTED_ROOM: usize = 64;

pub(super) async fn set_many(
    bucket: &BucketHandle,
    entries: Vec<(String, Bytes)>,
    deadline: &Deadline,
) -> Result<(), Error> {
    let limits = bucket.limits();
    limits.check_keys(entries.len())?;
    limits.check_bytes(
        entries
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum(),
    )?;
    let entries = entries.into_iter().map(|(key, value)| (key, Some(value)));
    let items = dedupe(bucket.encoding(), entries).await?;
    let mut writes = Writes::new(bucket, "set", items);
    writes.check_sizes(bucket, deadline).await?;
    writes.run(bucket, deadline).await
}

/// Sets one key. The error is the cause itself: with one key there is nothing to count.
pub(super) async fn set(
    bucket: &BucketHandle,
    key: String,
    value: Bytes,
    deadline: &Deadline,
) -> Result<(), Error> {
    let set = set_many(bucket, vec![(key, value)], deadline).await;
    set.map_err(cause_of_one)
}

/// Deletes one key, as [`set`] sets one.
pub(super) async fn delete(
    bucket: &BucketHandle,
    key: String,
    deadline: &Deadline,
) -> Result<(), Error> {
    let deleted = delete_many(bucket, vec![key], deadline).await;
    deleted.map_err(cause_of_one)
}

fn cause_of_one(error: Error) -> Error {
    match error {
        Error::Partial { cause, .. } => *cause,
        error => error,
    }
}

/// What became of a write that expects a revision.
pub(super) enum Replaced {
    /// The write is the key's last message, and has this revision.
    Written(u64),
    /// Another message than expected is the key's last one. It may be this write itself: during a change
    /// of leader a cluster can hand a write to the old and the new leader, and one of them refuses it. The
    /// write's id tells.
    Conflict(String),
    /// The same, but the write was sent more than once, so another write may also have followed it.
    Unclear(String),
}

/// Sets a key, if its last message is still that of the revision `expected` (0: there is none).
pub(super) async fn replace(
    bucket: &BucketHandle,
    key: &str,
    value: Bytes,
    expected: u64,
    deadline: &Deadline,
) -> Result<Replaced, Error> {
    let write = Write::new(bucket.encoding(), key.to_owned(), Some(value))?;
    let mut writes = Writes::new(bucket, "set", vec![write]);
    writes.expected = Some(expected);
    writes.check_sizes(bucket, deadline).await?;
    writes.send(bucket, deadline).await?;
    if let Some(cause) = writes.failures.cause {
        return Err(cause);
    }
    Ok(match writes.revision {
        Some(revision) => Replaced::Written(revision),
        None if writes.may_be_duplicated => Replaced::Unclear(writes.id(0)),
        None => Replaced::Conflict(writes.id(0)),
    })
}

pub(super) async fn delete_many(
    bucket: &BucketHandle,
    keys: Vec<String>,
    deadline: &Deadline,
) -> Result<(), Error> {
    let limits = bucket.limits();
    limits.check_keys(keys.len())?;
    limits.check_bytes(keys.iter().map(String::len).sum())?;
    let entries = keys.into_iter().map(|key| (key, None));
    let items = dedupe(bucket.encoding(), entries).await?;
    Writes::new(bucket, "deleted", items)
        .run(bucket, deadline)
        .await
}

/// The writes of one batch: one for each distinct key.
struct Writes {
    verb: &'static str,
    /// With the write's place it is the `Nats-Msg-Id`, by which the server knows a second copy.
    batch_id: String,
    max_payload: usize,
    /// The revision that the last message of the key has to have.
    expected: Option<u64>,
    /// The revision of what was written last.
    revision: Option<u64>,
    /// The sequences of the writes that were acknowledged.
    written: WrittenSequences,
    /// Whether a write that may have been carried out, or has been by another node than answered,
    /// was sent again.
    may_be_duplicated: bool,
    items: Vec<Write>,
    failures: Failures,
}

#[derive(Default)]
struct Failures {
    count: usize,
    named: Vec<CallerText>,
    cause: Option<Error>,
}

impl Writes {
    /// Writes of distinct keys.
    fn new(bucket: &BucketHandle, verb: &'static str, items: Vec<Write>) -> Self {
        Self {
            verb,
            batch_id: bucket.connection().next_batch_id(),
            max_payload: usize::MAX,
            expected: None,
            revision: None,
            written: WrittenSequences::default(),
            may_be_duplicated: false,
            items,
            failures: Failures::default(),
        }
    }

    /// Refuses, before anything is written, a value that the server or the bucket cannot take.
    async fn check_sizes(
        &mut self,
        bucket: &BucketHandle,
        deadline: &Deadline,
    ) -> Result<(), Error> {
        let Some(largest) = self.items.iter().max_by_key(|write| write.size()) else {
            return Ok(());
        };
        let size = largest.size();
        let too_large = |limit, max| {
            Err(Error::ValueTooLarge {
                key: CallerText::key(&largest.key),
                size,
                limit,
                max,
            })
        };
        let mut info = bucket.stream_info(deadline).await?;
        if info.max_message.is_some_and(|max| size > max) {
            // The bucket may have been changed since its stream info was fetched.
            info = bucket.refresh_stream_info(Some(&info), deadline).await?;
        }
        if let Some(max) = info.max_message.filter(|&max| size > max) {
            return too_large(ValueLimit::BucketMaxValueSize, max);
        }
        self.max_payload = bucket.connection().client().max_payload();
        if size > self.max_payload {
            return too_large(ValueLimit::ServerMaxPayload, self.max_payload);
        }
        Ok(())
    }

    async fn run(mut self, bucket: &BucketHandle, deadline: &Deadline) -> Result<(), Error> {
        if self.items.is_empty() {
            return Ok(());
        }
        let info = bucket.stream_info(deadline).await?;
        // The bucket may have been changed since its stream info was fetched.
        if !info.takes_writes
            && !bucket
                .refresh_stream_info(Some(&info), deadline)
                .await?
                .takes_writes
        {
            let bucket = bucket.name().to_owned();
            return Err(Error::ReadOnly { bucket });
        }
        self.send(bucket, deadline).await?;
        match self.failures.cause {
            None => Ok(()),
            Some(cause) => Err(Error::Partial {
                failed: self.failures.count,
                total: self.items.len(),
                verb: self.verb,
                keys: self.failures.named,
                cause: Box::new(cause),
            }),
        }
    }

    /// Sends the writes. A copy of the bucket is not read without those that were acknowledged.
    async fn send(&mut self, bucket: &BucketHandle, deadline: &Deadline) -> Result<(), Error> {
        let position = bucket.replica().map(ReplicaUser::position);
        let sent = pipeline::run(bucket, self, deadline).await;
        if let (Some(replica), Some(position)) = (bucket.replica(), position) {
            if let Some(sequences) = self.written.range() {
                replica.wrote(sequences, position);
            }
            if sent.is_err() || self.failures.count > 0 {
                replica.read_at_server();
            }
        }
        sent
    }

    /// Whether the write has an id by which the server knows it again.
    ///
    /// The server counts headers as part of the message, so a value at the very limit of the
    /// server or the bucket only fits without one, as does a delete in a bucket for tiny values.
    fn has_id(&self, item: usize, info: &StreamInfo) -> bool {
        let max = info
            .max_message
            .map_or(self.max_payload, |max| max.min(self.max_payload));
        let expected = self.expected.map_or(0, |_| EXPECTED_ROOM);
        self.value_bytes(item) + HEADER_ROOM + expected <= max
    }

    fn id(&self, item: usize) -> String {
        format!("{}{item}", self.batch_id)
    }
}

impl Items for Writes {
    type Info = StreamInfo;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn value_bytes(&self, item: usize) -> usize {
        self.items[item].size()
    }

    /// If one write of a group fails, the whole group is sent again. So the bucket's duplicate window has
    /// to be longer than a group takes.
    fn may_group(&self, item: usize, info: &StreamInfo) -> bool {
        self.has_id(item, info) && info.duplicate_window >= tuning::GROUP_DUPLICATE_WINDOW
    }

    /// A write is repeated only while the server would know it again, or it could be applied
    /// twice, and over somebody else's newer value.
    fn resend_window(&self, item: usize, info: &StreamInfo) -> Duration {
        if self.has_id(item, info) {
            info.duplicate_window / 2
        } else {
            Duration::ZERO
        }
    }
}

impl Operation for Writes {
    fn request(&self, item: usize, info: &StreamInfo) -> RequestMessage {
        let write = &self.items[item];
        let mut headers = HeaderMap::new();
        if self.has_id(item, info) {
            headers.insert(NATS_MESSAGE_ID, self.id(item));
        }
        if let Some(expected) = self.expected {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        }
        if write.value.is_none() {
            headers.insert(KV_OPERATION, KV_DELETE);
        }
        RequestMessage {
            subject: self.subject(item, info),
            headers: (!headers.is_empty()).then_some(headers),
            payload: write.value.clone().unwrap_or_default(),
        }
    }

    fn subject(&self, item: usize, info: &StreamInfo) -> String {
        let Write { key, encoded, .. } = &self.items[item];
        format!("{}{}", info.write_prefix, encoded.as_ref().unwrap_or(key))
    }

    fn sequence(&self, message: &Message, info: &StreamInfo) -> Option<u64> {
        let answer: Acknowledgement<'_> = serde_json::from_slice(&message.payload).ok()?;
        let sequence = answer.is_of(&info.write_stream).then_some(answer.seq);
        sequence.inspect(|&sequence| self.written.add(sequence))
    }

    fn may_duplicate(&mut self) {
        self.may_be_duplicated = true;
    }

    fn answer(&mut self, item: usize, message: Message, info: &StreamInfo) -> AnswerOutcome<Error> {
        let answer: Acknowledgement<'_> = match serde_json::from_slice(&message.payload) {
            Ok(answer) => answer,
            Err(error) => return not_acknowledged(&LogText::of_json(&error)),
        };
        if answer.is_of(&info.write_stream) {
            self.revision = Some(answer.seq);
            self.written.add(answer.seq);
            return AnswerOutcome::Done {
                sequence: Some(answer.seq),
            };
        }
        match answer.error {
            None => not_acknowledged(&LogText::fixed("it is of another stream")),
            Some(error) if is_transient(&error) => {
                // While a node has not noticed that it no longer leads, a cluster hands a write to
                // it and to the new leader: one refuses it, the other carries it out.
                self.may_be_duplicated = true;
                AnswerOutcome::TryAgain
            }
            Some(error) if self.expected.is_some() && is_conflict(&error) => {
                AnswerOutcome::Done { sequence: None }
            }
            Some(error) if error.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
                let size = self.value_bytes(item);
                if let Some(max) = info.max_message.filter(|&max| size > max) {
                    return AnswerOutcome::Failed(Error::ValueTooLarge {
                        key: CallerText::key(&self.items[item].key),
                        size,
                        limit: ValueLimit::BucketMaxValueSize,
                        max,
                    });
                }
                AnswerOutcome::FailedUnlessStale(Error::Refused {
                    what: "a write",
                    reason: LogText::joined(&[
                        &LogText::of_jetstream(&error),
                        &"; the bucket's max_value_size counts a message's headers, of which a delete \
                          has some 40 bytes",
                    ]),
                })
            }
            Some(error) => AnswerOutcome::Failed(Error::Refused {
                what: "a write",
                reason: LogText::of_jetstream(&error),
            }),
        }
    }

    fn maybe_stored(&self, why: Error) -> Error {
        match why {
            // A permission that is denied may be that of an inbox, to which the acknowledgement goes.
            why if matches!(why.kind(), Kind::Unavailable | Kind::AccessDenied) => {
                Error::UnclearWrite(Box::new(why))
            }
            why => why,
        }
    }

    fn failed(&mut self, item: usize, error: Error) -> ControlFlow<Error> {
        self.failures.count += 1;
        if self.failures.named.len() < tuning::NAMED_KEYS {
            let key = CallerText::key(&self.items[item].key);
            self.failures.named.push(key);
        }
        self.failures.cause.get_or_insert(error);
        ControlFlow::Continue(())
    }
}

fn not_acknowledged(why: &LogText) -> AnswerOutcome<Error> {
    AnswerOutcome::Failed(Error::Refused {
        what: "a write",
        reason: why.after("the answer is no acknowledgement: "),
    })
}
