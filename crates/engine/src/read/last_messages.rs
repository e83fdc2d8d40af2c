//! Reading the last messages of keys: their values, their sequences, or the ids of their writes.
//!
//! The leader has every write that was acknowledged. A direct get may be answered by a follower
//! that lags, or by a mirror of the bucket in the same domain. So a call that has to see all writes
//! asks the leader, even if the stream info allows direct gets.

use bytes::Bytes;

use super::single_key_requests::{KeysToRead, SingleKeyReads};
use crate::bucket_state::BucketState;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::message::StoredMessage;
use crate::pipeline;
use crate::read_settings::ReadNode;
use crate::replica::{AnsweredMessage, ReplicaHandle};
use crate::stream_info::ReadPath;

/// The key's value, as this node has it.
pub(crate) async fn get(
    bucket: &BucketState,
    node: ReadNode,
    key: &str,
    deadline: &Deadline,
) -> Result<Option<Bytes>, Error> {
    let encoded = bucket.encoding().encode(key)?;
    let last = read_last_message(bucket, &encoded, path(node), deadline).await?;
    let value = last.and_then(StoredMessage::into_value);
    let size = value.as_ref().map_or(0, Bytes::len);
    bucket.limits().check_bytes(key.len() + size)?;
    Ok(value)
}

/// Whether the key has a value. The server has no request that answers with less than the whole
/// value.
pub(crate) async fn exists(
    bucket: &BucketState,
    node: ReadNode,
    key: &str,
    deadline: &Deadline,
) -> Result<bool, Error> {
    let encoded = bucket.encoding().encode(key)?;
    let last = read_last_message(bucket, &encoded, path(node), deadline).await?;
    Ok(last.and_then(StoredMessage::into_value).is_some())
}

/// `None`: the stream info's read path.
fn path(node: ReadNode) -> Option<ReadPath> {
    match node {
        ReadNode::Leader => Some(ReadPath::Leader),
        ReadNode::Nearest => None,
    }
}

/// The last message of a key. The key is encoded as in the bucket. `path` overrides
/// the stream info's read path.
pub(crate) async fn read_last_message(
    bucket: &BucketState,
    encoded: &str,
    path: Option<ReadPath>,
    deadline: &Deadline,
) -> Result<Option<StoredMessage>, Error> {
    let recorder = bucket.replica().map(ReplicaHandle::floor_recorder);
    let mut target = LastMessage {
        encoded,
        last: None,
    };
    let mut reads = SingleKeyReads::new(&mut target, vec![0], path);
    pipeline::run(bucket, &mut reads, deadline).await?;
    if let Some(recorder) = recorder {
        let last = target.last.as_ref();
        recorder.record_read([last.map(|last| AnsweredMessage {
            key: encoded,
            sequence: last.revision(),
            value: last.value(),
        })]);
    }
    Ok(target.last)
}

/// The `Nats-Msg-Id` that each key's last message was written with, as the leader has it. The keys
/// are encoded as in the bucket.
pub(crate) async fn last_write_ids(
    bucket: &BucketState,
    encoded: &[&str],
    deadline: &Deadline,
) -> Result<Vec<Option<String>>, Error> {
    let mut target = LastWriteIds {
        encoded,
        by_index: vec![None; encoded.len()],
    };
    let all = (0..encoded.len()).collect();
    let mut reads = SingleKeyReads::new(&mut target, all, Some(ReadPath::OriginLeader));
    pipeline::run(bucket, &mut reads, deadline).await?;
    Ok(target.by_index)
}

struct LastWriteIds<'a> {
    encoded: &'a [&'a str],
    by_index: Vec<Option<String>>,
}

impl KeysToRead for LastWriteIds<'_> {
    fn encoded_key(&self, index: usize) -> &str {
        self.encoded[index]
    }

    fn set_last_message(&mut self, index: usize, last: Option<StoredMessage>) -> Result<(), Error> {
        self.by_index[index] = last.and_then(|last| last.write_id().map(str::to_owned));
        Ok(())
    }
}

struct LastMessage<'a> {
    encoded: &'a str,
    last: Option<StoredMessage>,
}

impl KeysToRead for LastMessage<'_> {
    fn encoded_key(&self, _index: usize) -> &str {
        self.encoded
    }

    fn set_last_message(
        &mut self,
        _index: usize,
        last: Option<StoredMessage>,
    ) -> Result<(), Error> {
        self.last = last;
        Ok(())
    }
}

/// The sequence of each key's last message, and how many bytes of values were read for that. A key
/// without a message has 0. The keys are encoded as in the bucket. The whole call has `total_items`
/// keys.
pub(crate) async fn revisions(
    bucket: &BucketState,
    encoded: &[&str],
    total_items: usize,
    deadline: &Deadline,
) -> Result<(Vec<u64>, usize), Error> {
    let mut target = LastRevisions {
        encoded,
        by_index: vec![0; encoded.len()],
        bytes: 0,
    };
    let all = (0..encoded.len()).collect();
    let mut reads = SingleKeyReads::new(&mut target, all, None).with_total_items(total_items);
    pipeline::run(bucket, &mut reads, deadline).await?;
    Ok((target.by_index, target.bytes))
}

struct LastRevisions<'a> {
    encoded: &'a [&'a str],
    by_index: Vec<u64>,
    bytes: usize,
}

impl KeysToRead for LastRevisions<'_> {
    fn encoded_key(&self, index: usize) -> &str {
        self.encoded[index]
    }

    fn set_last_message(&mut self, index: usize, last: Option<StoredMessage>) -> Result<(), Error> {
        if let Some(last) = last {
            self.by_index[index] = last.revision();
            self.bytes += last.size();
        }
        Ok(())
    }
}
