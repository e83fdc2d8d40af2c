//! The messages of an atomic batch, and what the answers say.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::header::{
    HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_MESSAGE_TTL,
};
use async_nats::jetstream::{self, ErrorCode};

use super::machine::AtomicAnswer;
use crate::bucket_state::BucketState;
use crate::error::{BucketFeature, Error, FeatureProblem, NoAnswerReason};
use crate::message::{
    Acknowledgement, KV_OPERATION, delete_operation, is_no_responders, is_transient, ttl_text,
};
use crate::pipeline::RequestMessage;
use crate::stream_info::StreamInfo;
use crate::text::LogText;
use crate::write::key_write::KeyWrite;

const BATCH_ID: &str = "Nats-Batch-Id";
const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
const BATCH_COMMIT: &str = "Nats-Batch-Commit";

/// The most bytes that the headers add to a value.
pub(super) const HEADER_ROOM: usize = 224;

/// The messages of one batch.
pub(super) struct AtomicMessages {
    pub(super) writes: Vec<KeyWrite>,
    pub(super) info: Arc<StreamInfo>,
    /// The `Nats-Msg-Id`s are this and an index. The batch id of an attempt is this and the
    /// attempt.
    id_prefix: String,
    value_ttl: Option<Duration>,
    /// The servers, for errors.
    servers: String,
}

impl AtomicMessages {
    pub(super) fn new(bucket: &BucketState, writes: Vec<KeyWrite>, info: Arc<StreamInfo>) -> Self {
        Self {
            writes,
            info,
            id_prefix: bucket.connection().next_write_id_prefix(),
            value_ttl: bucket.write_settings().value_ttl,
            servers: bucket.connection().servers().to_owned(),
        }
    }

    pub(super) fn subject(&self, item: usize) -> String {
        let prefix = &self.info.write_prefix;
        format!("{prefix}{}", self.writes[item].encoded_key())
    }

    /// The message of a write. The last one commits the batch.
    pub(super) fn request(&self, attempt: u32, item: usize) -> RequestMessage {
        let write = &self.writes[item];
        let ttl = match write.value() {
            Some(_) => self.value_ttl,
            None => self.info.marker_ttl(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("{}{item}", self.id_prefix));
        headers.insert(BATCH_ID, format!("{}{attempt}", self.id_prefix));
        headers.insert(BATCH_SEQUENCE, (item + 1).to_string());
        if item + 1 == self.writes.len() {
            headers.insert(BATCH_COMMIT, "1");
        }
        if write.value().is_none() {
            headers.insert(KV_OPERATION, delete_operation(ttl));
        }
        if let Some(ttl) = ttl {
            headers.insert(NATS_MESSAGE_TTL, ttl_text(ttl));
        }
        RequestMessage {
            subject: self.subject(item),
            headers: Some(headers),
            payload: write.value().cloned().unwrap_or_default(),
        }
    }

    /// Whether a message was written by this batch, by its `Nats-Msg-Id`.
    pub(super) fn is_mine(&self, write_id: &str) -> bool {
        write_id.starts_with(&self.id_prefix)
    }

    /// The keys of the smallest values, to be looked for at the leader. They are encoded as in the
    /// bucket.
    pub(super) fn smallest(&self, count: usize) -> Vec<&str> {
        let mut writes: Vec<_> = self.writes.iter().collect();
        writes.sort_by_key(|write| write.size());
        let keys = writes.into_iter().take(count);
        keys.map(KeyWrite::encoded_key).collect()
    }

    /// What an answer says, to the commit or to another message.
    pub(super) fn answer(
        &self,
        bucket: &BucketState,
        message: &Message,
        commits: bool,
    ) -> Result<AtomicAnswer<Error>, DoubtfulAnswer> {
        if is_no_responders(message) {
            return Ok(AtomicAnswer::NoResponders);
        }
        if message.payload.is_empty() {
            return Ok(AtomicAnswer::Staged);
        }
        let answer: Acknowledgement<'_> = match serde_json::from_slice(&message.payload) {
            Ok(answer) => answer,
            Err(error) => return Ok(bad_answer(LogText::of_json(&error))),
        };
        if answer.is_stored_in(&self.info.write_stream) {
            return Ok(if commits {
                AtomicAnswer::Stored(Some(answer.seq))
            } else {
                AtomicAnswer::StoredAlone(Error::FirstKeyStoredAlone)
            });
        }
        match answer.error {
            Some(error) => self.refusal(bucket, &error, commits),
            None => Ok(bad_answer(LogText::fixed("it is of another stream"))),
        }
    }

    fn refusal(
        &self,
        bucket: &BucketState,
        error: &jetstream::Error,
        commits: bool,
    ) -> Result<AtomicAnswer<Error>, DoubtfulAnswer> {
        let refused = || Error::Refused {
            what: "an atomic batch",
            reason: LogText::of_jetstream(error),
        };
        let may_be_part = !self.info.is_replicated;
        match error.error_code() {
            // The server knows an id of this batch, so an earlier attempt is stored.
            ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE if may_be_part => {
                Err(DoubtfulAnswer::PartKnown)
            }
            ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE => Ok(AtomicAnswer::Stored(None)),
            // A server before 2.14 says "incomplete" also if it has too many batches in flight.
            ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH
            | ErrorCode::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT => Ok(self.try_again(error)),
            _ if is_transient(error) => Ok(self.try_again(error)),
            ErrorCode::ATOMIC_PUBLISH_DISABLED => Err(DoubtfulAnswer::Stale(
                bucket.unsupported(BucketFeature::AtomicBatches, FeatureProblem::NotAllowed),
            )),
            // A server 2.12.0 takes no ids in a batch, and stores nothing of it.
            ErrorCode::ATOMIC_PUBLISH_UNSUPPORTED_HEADER => {
                let feature = BucketFeature::AtomicBatches;
                Ok(AtomicAnswer::Refused(
                    bucket.unsupported(feature, FeatureProblem::OldLeader),
                ))
            }
            ErrorCode::MESSAGE_TTL_DISABLED => Err(DoubtfulAnswer::Stale(
                bucket.unsupported(BucketFeature::ValueTtl, FeatureProblem::NotAllowed),
            )),
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Err(DoubtfulAnswer::Stale(refused())),
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
                if may_be_part && commits =>
            {
                Err(DoubtfulAnswer::LimitReached(refused()))
            }
            _ => Ok(AtomicAnswer::Refused(refused())),
        }
    }

    /// The message that makes the server drop what it has staged of an attempt. Its sequence leaves
    /// a gap. The server would otherwise wait for the rest of the batch for ten seconds, and it
    /// takes only 50 batches of a stream at once.
    ///
    /// It expects a revision that no key has. So a node that knows no batches does not store it.
    pub(super) fn abort(&self, attempt: u32) -> (String, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert(BATCH_ID, format!("{}{attempt}", self.id_prefix));
        headers.insert(BATCH_SEQUENCE, (self.writes.len() + 1).to_string());
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, u64::MAX.to_string());
        (self.subject(0), headers)
    }

    fn try_again(&self, error: &jetstream::Error) -> AtomicAnswer<Error> {
        AtomicAnswer::TryAgain(Error::NoAnswer {
            server: self.servers.clone(),
            reason: NoAnswerReason::ServerError(LogText::of_jetstream(error)),
        })
    }
}

/// An answer that does not say by itself what has become of the batch.
pub(super) enum DoubtfulAnswer {
    /// A refusal that may come from a stale stream info.
    Stale(Error),
    /// The commit met a storage limit on a stream on one node. Some messages may be stored.
    LimitReached(Error),
    /// A stream on one node knows the id of a message. The others may not be stored.
    PartKnown,
}

/// An answer that nobody can read says nothing of the batch. Anybody may have sent it.
fn bad_answer(reason: LogText) -> AtomicAnswer<Error> {
    AtomicAnswer::TryAgain(Error::BadAnswer {
        what: "an atomic batch",
        reason,
    })
}
