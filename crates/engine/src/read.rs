//! Reading keys: many in one request, or with one request for each key.

mod last_messages;
mod multi_last;
mod single_key_requests;

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use super::bucket_state::BucketState;
use super::cooperative::yield_periodically;
use super::deadline::Deadline;
use super::error::Error;
use super::limits::Limits;
use super::message::StoredMessage;
use super::pipeline;
use super::quarantine::LostConnections;
use super::replica::{AnsweredMessage, FloorRecorder, ReplicaHandle};
use super::response_budget::{self, ResponseBudget, Unbounded};
use super::stream_info::{ReadPath, StreamInfo};
use super::tuning;

use single_key_requests::{KeysToRead, SingleKeyReads, read_path};

pub(crate) use last_messages::{exists, get, last_write_ids, read_last_message, revisions};

/// The value of each key. The caller has checked that the limits allow the keys. `path` overrides
/// the stream info's read path. Any path but [`ReadPath::Direct`] takes one request for each key.
pub(super) async fn get_many(
    bucket: &BucketState,
    keys: &[String],
    path: Option<ReadPath>,
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<Option<Bytes>>, Error> {
    let recorder = bucket.replica().map(ReplicaHandle::floor_recorder);
    let mut batch = ReadBatch::new(bucket, keys, budget).await?;
    if !batch.keys.is_empty() {
        let info = bucket.stream_info(deadline).await?;
        read(bucket, &info, &mut batch, path, deadline).await?;
    }
    batch.record_floors(recorder);
    batch.into_values().await
}

/// The keys out of `encoded` that have a value. They are encoded as in the bucket. `path`
/// overrides the stream info's read path. `lost` are the connections that the call has lost so far.
pub(super) async fn keys_with_values<'a>(
    bucket: &BucketState,
    info: &StreamInfo,
    encoded: &'a [String],
    path: Option<ReadPath>,
    lost: LostConnections,
    deadline: &Deadline,
) -> Result<Vec<&'a str>, Error> {
    let mut batch = ReadBatch::of_encoded(encoded);
    batch.lost = lost;
    if !encoded.is_empty() {
        read(bucket, info, &mut batch, path, deadline).await?;
    }
    let has_value = |key: &KeyRead<'_>| matches!(key.state, KeyState::Value(..));
    let found = batch.keys.iter().zip(encoded);
    Ok(found
        .filter(|(key, _)| has_value(key))
        .map(|(_, key)| key.as_str())
        .collect())
}

/// Reads all keys of the batch. `path` overrides the stream info's read path.
async fn read(
    bucket: &BucketState,
    info: &StreamInfo,
    batch: &mut ReadBatch<'_>,
    path: Option<ReadPath>,
    deadline: &Deadline,
) -> Result<(), Error> {
    if batch.keys.len() > 1 && read_path(path, batch.lost, info) == ReadPath::Direct {
        multi_last::read(bucket, info, batch, deadline).await?;
    }
    // The rest is read with one request for each key: all keys on an older server, and the keys
    // that `multi_last` did not answer.
    let (unknown, lost) = (batch.unknown(), batch.lost);
    let total_items = batch.total_items;
    let mut reads = SingleKeyReads::new(batch, unknown, path)
        .with_total_items(total_items)
        .with_lost_connections(lost);
    pipeline::run(bucket, &mut reads, deadline).await
}

/// What is known of a key's value.
#[derive(Clone)]
enum KeyState {
    Unknown,
    /// It has none. The sequence is that of its marker, or 0.
    Missing(u64),
    /// The value, and the sequence of its message.
    Value(Bytes, u64),
}

/// A distinct key of the batch.
struct KeyRead<'a> {
    key: &'a str,
    encoded: Cow<'a, str>,
    /// How often the caller gave the key.
    occurrences: usize,
    state: KeyState,
}

/// The keys of one batch, each once, and what is known of them.
struct ReadBatch<'a> {
    keys: Vec<KeyRead<'a>>,
    /// The size that decides whether the call is large: how many distinct keys it has. A listing
    /// always counts as large.
    total_items: usize,
    /// For each key that the caller gave, its index in `keys`.
    order: Vec<usize>,
    /// Whether to keep the values, or only to note which keys have one.
    keep_values: bool,
    result_bytes: usize,
    limits: Limits,
    budget: &'a dyn ResponseBudget,
    /// How many connections the call has lost so far.
    lost: LostConnections,
}

impl<'a> ReadBatch<'a> {
    async fn new(
        bucket: &BucketState,
        given: &'a [String],
        budget: &'a dyn ResponseBudget,
    ) -> Result<Self, Error> {
        let mut keys: Vec<KeyRead<'a>> = Vec::with_capacity(given.len());
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(given.len());
        let mut order = Vec::with_capacity(given.len());
        for (position, key) in given.iter().enumerate() {
            yield_periodically(position).await;
            let index = match seen.get(key.as_str()) {
                Some(&index) => index,
                None => {
                    let encoded = bucket.encoding().encode(key)?;
                    keys.push(KeyRead {
                        key,
                        encoded,
                        occurrences: 0,
                        state: KeyState::Unknown,
                    });
                    seen.insert(key, keys.len() - 1);
                    keys.len() - 1
                }
            };
            keys[index].occurrences += 1;
            order.push(index);
        }
        Ok(Self {
            total_items: keys.len(),
            keys,
            order,
            keep_values: true,
            result_bytes: 0,
            limits: *bucket.limits(),
            budget,
            lost: LostConnections::default(),
        })
    }

    /// A batch that only finds out which keys have a value. The keys are encoded as in the bucket.
    fn of_encoded(keys: &'a [String]) -> Self {
        let key = |key: &'a String| KeyRead {
            key,
            encoded: Cow::Borrowed(key),
            occurrences: 0,
            state: KeyState::Unknown,
        };
        Self {
            keys: keys.iter().map(key).collect(),
            // A listing counts as a large call, even if it reads only a few keys here.
            total_items: keys.len().max(tuning::LARGE_BATCH),
            order: Vec::new(),
            keep_values: false,
            result_bytes: 0,
            limits: Limits::NONE,
            budget: &Unbounded,
            lost: LostConnections::default(),
        }
    }

    /// Notes a key's value, and the sequence of its message.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] as soon as the answer is over the limit, and [`Error::NoMemory`] as soon
    /// as there is no memory for it. Then the call reads no more values.
    fn found(&mut self, index: usize, value: Bytes, sequence: u64) -> Result<(), Error> {
        let key = &mut self.keys[index];
        if matches!(key.state, KeyState::Unknown) {
            self.result_bytes += key.occurrences * (key.key.len() + value.len());
            let kept = if self.keep_values {
                value
            } else {
                Bytes::new()
            };
            key.state = KeyState::Value(kept, sequence);
        }
        self.limits.check_bytes(self.result_bytes)?;
        response_budget::check(self.budget, self.result_bytes)
    }

    /// Notes that a key has no value. `sequence` is that of its marker; 0: there is none.
    fn missing(&mut self, index: usize, sequence: u64) {
        self.keys[index].state = KeyState::Missing(sequence);
    }

    /// Raises the floors of the replica to what the server has answered.
    fn record_floors(&self, recorder: Option<FloorRecorder<'_>>) {
        let Some(recorder) = recorder else {
            return;
        };
        recorder.record_read(self.keys.iter().map(|key| {
            let (value, sequence) = match &key.state {
                KeyState::Unknown => return None,
                KeyState::Missing(sequence) => (None, *sequence),
                KeyState::Value(value, sequence) => (Some(value.as_ref()), *sequence),
            };
            let key = key.encoded.as_ref();
            Some(AnsweredMessage {
                key,
                sequence,
                value,
            })
        }));
    }

    /// The keys that are still to be read.
    fn unknown(&self) -> Vec<usize> {
        let is_unknown = |&index: &usize| matches!(self.keys[index].state, KeyState::Unknown);
        (0..self.keys.len()).filter(is_unknown).collect()
    }

    async fn into_values(self) -> Result<Vec<Option<Bytes>>, Error> {
        let mut answer = Vec::with_capacity(self.order.len());
        for (position, index) in self.order.into_iter().enumerate() {
            yield_periodically(position).await;
            answer.push(match &self.keys[index].state {
                KeyState::Value(value, _) => Some(value.clone()),
                KeyState::Missing(_) => None,
                KeyState::Unknown => {
                    return Err(Error::LeftUnread);
                }
            });
        }
        Ok(answer)
    }
}

impl KeysToRead for ReadBatch<'_> {
    fn encoded_key(&self, index: usize) -> &str {
        &self.keys[index].encoded
    }

    fn set_last_message(&mut self, index: usize, last: Option<StoredMessage>) -> Result<(), Error> {
        let sequence = last.as_ref().map_or(0, StoredMessage::revision);
        match last.and_then(StoredMessage::into_value) {
            Some(value) => self.found(index, value, sequence),
            None => {
                self.missing(index, sequence);
                Ok(())
            }
        }
    }
}
