//! Reading many keys.

mod leader;
mod multi_last;
mod one_by_one;

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use super::concurrency::yield_periodically;
use super::deadline::Deadline;
use super::error::Error;
use super::handle::BucketHandle;
use super::limits::Limits;
use super::message::Stored;
use super::pipeline;
use super::quarantine::LostConnections;
use super::response_budget::{self, ResponseBudget, Unbounded};
use super::stream_info::{ReadPath, StreamInfo};
use super::tuning;

pub(crate) use leader::{exists, read_leader, read_one, revisions};

pub(super) async fn get_many(
    bucket: &BucketHandle,
    keys: &[String],
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<Option<Bytes>>, Error> {
    let limits = bucket.limits();
    limits.check_keys(keys.len())?;
    limits.check_bytes(keys.iter().map(String::len).sum())?;
    let mut batch = ReadBatch::new(bucket, keys, budget).await?;
    if !batch.keys.is_empty() {
        let info = bucket.stream_info(deadline).await?;
        read(bucket, &info, &mut batch, deadline).await?;
    }
    batch.into_answer().await
}

/// The same, answered by the stream's leader, which has every write that was acknowledged.
pub(super) async fn get_many_at_leader(
    bucket: &BucketHandle,
    keys: &[String],
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<Option<Bytes>>, Error> {
    let mut batch = ReadBatch::new(bucket, keys, budget).await?;
    let all = batch.unknown();
    let mut reads = one_by_one::Reads::new(&mut batch, all, Some(ReadPath::Leader));
    pipeline::run(bucket, &mut reads, deadline).await?;
    batch.into_answer().await
}

/// Those of the keys that have a value. `encoded` are keys as they stand in the bucket, `lost` the
/// connections that were lost in trying to read them.
pub(super) async fn with_values<'a>(
    bucket: &BucketHandle,
    info: &StreamInfo,
    encoded: &'a [String],
    lost: LostConnections,
    deadline: &Deadline,
) -> Result<Vec<&'a str>, Error> {
    let mut batch = ReadBatch::encoded(encoded);
    batch.lost = lost;
    if !encoded.is_empty() {
        read(bucket, info, &mut batch, deadline).await?;
    }
    let has_value = |key: &KeyRead<'_>| matches!(key.state, KeyState::Value(_));
    let found = batch.keys.iter().zip(encoded);
    Ok(found
        .filter(|(key, _)| has_value(key))
        .map(|(_, key)| key.as_str())
        .collect())
}

async fn read(
    bucket: &BucketHandle,
    info: &StreamInfo,
    batch: &mut ReadBatch<'_>,
    deadline: &Deadline,
) -> Result<(), Error> {
    let direct = info.path() == ReadPath::Direct && !batch.lost.are_suspicious();
    if batch.keys.len() > 1 && direct {
        multi_last::read(bucket, info, batch, deadline).await?;
    }
    // What is left: all keys on an older server, and the keys that `multi_last` did not answer.
    let (unknown, lost) = (batch.unknown(), batch.lost);
    let total_items = batch.total_items;
    let mut reads = one_by_one::Reads::new(batch, unknown, None)
        .total_items(total_items)
        .after(lost);
    pipeline::run(bucket, &mut reads, deadline).await
}

/// What is known of a key's value.
#[derive(Clone)]
enum KeyState {
    Unknown,
    Missing,
    Value(Bytes),
}

/// A distinct key that is asked for.
struct KeyRead<'a> {
    key: &'a str,
    encoded: Cow<'a, str>,
    /// At how many places of the answer its value stands.
    places: usize,
    state: KeyState,
}

/// The keys of one batch, each once, and what is known of them.
struct ReadBatch<'a> {
    keys: Vec<KeyRead<'a>>,
    /// How many keys the call has that this batch is part of.
    total_items: usize,
    /// For each place of the answer, which of `keys` stands there.
    order: Vec<usize>,
    /// Whether the values matter, or only which keys have one.
    keep_values: bool,
    answer_bytes: usize,
    limits: Limits,
    budget: &'a dyn ResponseBudget,
    /// The connections that were lost while some of the keys were being read.
    lost: LostConnections,
}

impl<'a> ReadBatch<'a> {
    async fn new(
        bucket: &BucketHandle,
        asked: &'a [String],
        budget: &'a dyn ResponseBudget,
    ) -> Result<Self, Error> {
        let mut keys: Vec<KeyRead<'a>> = Vec::with_capacity(asked.len());
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(asked.len());
        let mut order = Vec::with_capacity(asked.len());
        for (place, key) in asked.iter().enumerate() {
            yield_periodically(place).await;
            let index = match seen.get(key.as_str()) {
                Some(&index) => index,
                None => {
                    let encoded = bucket.encoding().encode(key)?;
                    keys.push(KeyRead {
                        key,
                        encoded,
                        places: 0,
                        state: KeyState::Unknown,
                    });
                    seen.insert(key, keys.len() - 1);
                    keys.len() - 1
                }
            };
            keys[index].places += 1;
            order.push(index);
        }
        Ok(Self {
            total_items: keys.len(),
            keys,
            order,
            keep_values: true,
            answer_bytes: 0,
            limits: *bucket.limits(),
            budget,
            lost: LostConnections::default(),
        })
    }

    /// Which of these keys, as they stand in the bucket, have a value.
    fn encoded(keys: &'a [String]) -> Self {
        let key = |key: &'a String| KeyRead {
            key,
            encoded: Cow::Borrowed(key),
            places: 0,
            state: KeyState::Unknown,
        };
        Self {
            keys: keys.iter().map(key).collect(),
            // A listing is a large call, however few keys are left to be read.
            total_items: keys.len().max(tuning::LARGE_BATCH),
            order: Vec::new(),
            keep_values: false,
            answer_bytes: 0,
            limits: Limits::NONE,
            budget: &Unbounded,
            lost: LostConnections::default(),
        }
    }

    /// Takes note of a key's value.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] as soon as the answer is over the limit, before more of it is read; and
    /// [`Error::NoMemory`] as soon as there is no memory for it.
    fn found(&mut self, index: usize, value: Bytes) -> Result<(), Error> {
        let key = &mut self.keys[index];
        if matches!(key.state, KeyState::Unknown) {
            self.answer_bytes += key.places * (key.key.len() + value.len());
            let kept = if self.keep_values {
                value
            } else {
                Bytes::new()
            };
            key.state = KeyState::Value(kept);
        }
        self.limits.check_bytes(self.answer_bytes)?;
        response_budget::check(self.budget, self.answer_bytes)
    }

    fn missing(&mut self, index: usize) {
        self.keys[index].state = KeyState::Missing;
    }

    fn unknown(&self) -> Vec<usize> {
        let is_unknown = |&index: &usize| matches!(self.keys[index].state, KeyState::Unknown);
        (0..self.keys.len()).filter(is_unknown).collect()
    }

    async fn into_answer(self) -> Result<Vec<Option<Bytes>>, Error> {
        let mut answer = Vec::with_capacity(self.order.len());
        for (place, index) in self.order.into_iter().enumerate() {
            yield_periodically(place).await;
            answer.push(match &self.keys[index].state {
                KeyState::Value(value) => Some(value.clone()),
                KeyState::Missing => None,
                KeyState::Unknown => {
                    return Err(Error::LeftUnread);
                }
            });
        }
        Ok(answer)
    }
}

impl one_by_one::Reader for ReadBatch<'_> {
    fn key(&self, index: usize) -> &str {
        &self.keys[index].encoded
    }

    fn take(&mut self, index: usize, last: Option<Stored>) -> Result<(), Error> {
        match last.and_then(Stored::into_value) {
            Some(value) => self.found(index, value),
            None => {
                self.missing(index);
                Ok(())
            }
        }
    }
}
