//! The writes of one batch, and what is checked before and counted after they are sent.

use std::time::Duration;

use crate::bucket_state::BucketState;
use crate::deadline::Deadline;
use crate::error::{BucketFeature, Error, FeatureProblem, ValueLimit};
use crate::pipeline;
use crate::replica::ReplicaHandle;
use crate::stream_info::StreamInfo;
use crate::text::CallerText;

use super::key_write::KeyWrite;
use super::written::WrittenSequences;

/// The most bytes that the headers add to a value: the status line, one `Nats-Msg-Id`, and the
/// operation of a delete.
const HEADER_ROOM: usize = 96;

/// The bytes that the header with the expected revision adds besides.
const EXPECTED_REVISION_ROOM: usize = 64;

/// The bytes that the header with a time to live adds besides.
const TTL_ROOM: usize = 32;

/// The writes of one batch: one for each distinct key.
pub(super) struct WriteBatch {
    bucket: String,
    /// `set` or `deleted`, for errors.
    verb: &'static str,
    /// The `Nats-Msg-Id` of a write is this and the write's index. By the id the server recognizes
    /// a second copy.
    id_prefix: String,
    /// The most bytes of a message, by the server's word. 0 until [`Self::send`], which knows it.
    max_payload: usize,
    /// How long each value lives.
    pub(super) value_ttl: Option<Duration>,
    /// Set for a batch of one write that expects a revision.
    pub(super) compare_and_set: Option<CompareAndSet>,
    /// The sequences of the acknowledged writes.
    pub(super) written: WrittenSequences,
    pub(super) writes: Vec<KeyWrite>,
    pub(super) failures: Failures,
}

/// What a write of one key expects, and what came of it.
#[derive(Default)]
pub(super) struct CompareAndSet {
    /// The revision that the last message of the key must have. 0: there is no message.
    pub(super) expected: u64,
    /// The revision of the write, if it was acknowledged.
    pub(super) revision: Option<u64>,
    /// Whether the server may have taken the write more than once: as two copies, or as one copy
    /// that a cluster handed to two nodes.
    pub(super) may_be_duplicated: bool,
}

#[derive(Default)]
pub(super) struct Failures {
    pub(super) count: usize,
    /// The first few keys that failed.
    pub(super) named_keys: Vec<CallerText>,
    pub(super) first_cause: Option<Error>,
}

impl WriteBatch {
    /// The writes are of distinct keys.
    pub(super) fn new(bucket: &BucketState, verb: &'static str, writes: Vec<KeyWrite>) -> Self {
        Self {
            bucket: bucket.name().to_owned(),
            value_ttl: bucket.write_settings().value_ttl,
            verb,
            id_prefix: bucket.connection().next_write_id_prefix(),
            max_payload: 0,
            compare_and_set: None,
            written: WrittenSequences::default(),
            writes,
            failures: Failures::default(),
        }
    }

    /// One write that is stored only if the last message of its key has the revision `expected`.
    pub(super) fn replacing(bucket: &BucketState, write: KeyWrite, expected: u64) -> Self {
        Self {
            compare_and_set: Some(CompareAndSet {
                expected,
                ..CompareAndSet::default()
            }),
            ..Self::new(bucket, super::SET, vec![write])
        }
    }

    /// Succeeds if the server and the bucket can take every value. Nothing is sent before that.
    pub(super) async fn check_values(
        &self,
        bucket: &BucketState,
        deadline: &Deadline,
    ) -> Result<(), Error> {
        let values = self.writes.iter().filter(|write| write.value().is_some());
        let Some(largest) = values.max_by_key(|write| write.size()) else {
            return Ok(());
        };
        let size = largest.size();
        let too_large = |limit, max| {
            Err(Error::ValueTooLarge {
                key: CallerText::key(largest.key()),
                size,
                limit,
                max,
            })
        };
        if self.value_ttl.is_some() {
            bucket.require(BucketFeature::ValueTtl, deadline).await?;
        }
        let fits = |info: &StreamInfo| info.max_message.is_none_or(|max| size <= max);
        let info = bucket.stream_info_refreshed_unless(fits, deadline).await?;
        if let Some(max) = info.max_message.filter(|&max| size > max) {
            return too_large(ValueLimit::BucketMaxValueSize, max);
        }
        let max_payload = bucket.connection().client().max_payload();
        if size > max_payload {
            return too_large(ValueLimit::ServerMaxPayload, max_payload);
        }
        Ok(())
    }

    pub(super) async fn run(
        mut self,
        bucket: &BucketState,
        deadline: &Deadline,
    ) -> Result<(), Error> {
        if self.writes.is_empty() {
            return Ok(());
        }
        self.send(bucket, deadline).await?;
        match self.failures.first_cause {
            None => Ok(()),
            Some(cause) => Err(Error::Partial {
                failed: self.failures.count,
                total: self.writes.len(),
                verb: self.verb,
                keys: self.failures.named_keys,
                cause: Box::new(cause),
            }),
        }
    }

    /// Sends the writes. Raises the floors of the replica, so that later reads from memory see the
    /// acknowledged writes.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] if the bucket takes no writes, or why they could not be sent at all.
    pub(super) async fn send(
        &mut self,
        bucket: &BucketState,
        deadline: &Deadline,
    ) -> Result<(), Error> {
        bucket.require_writes(deadline).await?;
        // The server says it when a connection begins; before the first, the client has a guess.
        self.max_payload = bucket.connection().client().max_payload();
        let recorder = bucket.replica().map(ReplicaHandle::floor_recorder);
        let sent = pipeline::run(bucket, self, deadline).await;
        if let Some(recorder) = recorder {
            if let Some(sequences) = self.written.range() {
                recorder.record_written(sequences);
            }
            if sent.is_err() || self.failures.count > 0 {
                recorder.record_unclear_write();
            }
        }
        sent
    }

    /// Whether the write is sent with an id, by which the server recognizes a second copy.
    ///
    /// The server counts headers as part of the message. So a value at the very limit of the server
    /// or the bucket fits only without an id. The same holds for a delete in a bucket for tiny
    /// values.
    pub(super) fn has_id(&self, item: usize, info: &StreamInfo) -> bool {
        let max = info
            .max_message
            .map_or(self.max_payload, |max| max.min(self.max_payload));
        let expected = match self.compare_and_set {
            Some(_) => EXPECTED_REVISION_ROOM,
            None => 0,
        };
        let ttl = self.ttl(item, info).map_or(0, |_| TTL_ROOM);
        self.writes[item].size() + HEADER_ROOM + expected + ttl <= max
    }

    /// How long the value or the delete marker stays. `None`: until it is overwritten.
    pub(super) fn ttl(&self, item: usize, info: &StreamInfo) -> Option<Duration> {
        match self.writes[item].value() {
            Some(_) => self.value_ttl,
            None => info.marker_ttl(),
        }
    }

    /// The error that the stream takes no message with a time to live.
    pub(super) fn ttl_refused(&self) -> Error {
        Error::Unsupported {
            bucket: self.bucket.clone(),
            feature: BucketFeature::ValueTtl,
            problem: FeatureProblem::NotAllowed,
        }
    }

    /// The write's `Nats-Msg-Id`.
    pub(super) fn id(&self, item: usize) -> String {
        format!("{}{item}", self.id_prefix)
    }
}
