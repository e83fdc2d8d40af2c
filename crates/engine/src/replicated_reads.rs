//! Reads that are answered from a copy of the bucket in memory, or else by the server.
//!
//! The server's answer must be no older than what the copy, or the server, has answered before. A
//! follower that lags may answer a direct get. So the stream's leader answers `get_many` instead.
//!
//! `keys` asks the leader only if the reads are to be fresh, or if the copy has answered lately.
//! Otherwise it lists with a consumer, which may be on a node that lags.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::bucket_state::BucketState;
use super::cooperative::yield_periodically;
use super::deadline::Deadline;
use super::error::Error;
use super::limits::Limits;
use super::replica::{CopiedValue, CopyReader, ReplicaHandle};
use super::response_budget::{self, ResponseBudget};
use super::stream_info::ReadPath;
use super::{list, read};

/// The value of each key, as [`read::get_many`] answers.
pub(super) async fn get_many(
    bucket: &BucketState,
    replica: &ReplicaHandle,
    keys: &[String],
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<Option<Bytes>>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(reader) = reader(bucket, replica, deadline).await {
        let answer = values(bucket, &reader, keys, budget).await?;
        note_answer(bucket, &reader);
        match answer {
            Some(answer) if reader.may_answer() => return Ok(answer),
            Some(_) => {}
            None => reader.note_expired_value(),
        }
    }
    let answer = read::get_many(bucket, keys, Some(ReadPath::Leader), budget, deadline).await?;
    bucket.note_answer();
    Ok(answer)
}

/// Every key that has a value, as [`list::keys`] answers.
pub(super) async fn keys(
    bucket: &BucketState,
    replica: &ReplicaHandle,
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<String>, Error> {
    if let Some(reader) = reader(bucket, replica, deadline).await {
        let answer = names(bucket, &reader, budget).await?;
        note_answer(bucket, &reader);
        if reader.may_answer() {
            return Ok(answer);
        }
    }
    let answer = if replica.must_be_fresh() || replica.has_answered_lately() {
        list::keys_at_leader(bucket, budget, deadline).await
    } else {
        list::keys(bucket, budget, deadline).await
    };
    replica.raise_floor_to_now();
    let answer = answer?;
    bucket.note_answer();
    Ok(answer)
}

/// A copy that may answer. `None`: the server is to answer.
async fn reader<'a>(
    bucket: &BucketState,
    replica: &'a ReplicaHandle,
    deadline: &Deadline,
) -> Option<CopyReader<'a>> {
    if bucket.is_under_quarantine() {
        replica.quarantine();
        return None;
    }
    // Most of the call's time is left for the server.
    let now = Instant::now();
    let wait_until = now + deadline.call_deadline().saturating_duration_since(now) / 4;
    replica.reader(wait_until).await
}

/// The bucket existed when the copy was last complete.
fn note_answer(bucket: &BucketState, reader: &CopyReader<'_>) {
    let age = reader.age();
    let complete_as_of = age.and_then(|age| Instant::now().checked_sub(age));
    if let Some(complete_as_of) = complete_as_of {
        bucket.note_answer_as_of(complete_as_of);
    }
}

/// The size of an answer, which is checked while the answer grows.
struct ResultSize<'a> {
    limits: &'a Limits,
    budget: &'a dyn ResponseBudget,
    bytes: usize,
}

impl<'a> ResultSize<'a> {
    fn new(bucket: &'a BucketState, budget: &'a dyn ResponseBudget) -> Self {
        Self {
            limits: bucket.limits(),
            budget,
            bytes: 0,
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes;
        self.limits.check_bytes(self.bytes)?;
        response_budget::check(self.budget, self.bytes)
    }
}

/// The value of each key. `None`: the time of one value is over, so only the leader knows whether
/// the value is still there.
async fn values(
    bucket: &BucketState,
    reader: &CopyReader<'_>,
    keys: &[String],
    budget: &dyn ResponseBudget,
) -> Result<Option<Vec<Option<Bytes>>>, Error> {
    let mut size = ResultSize::new(bucket, budget);
    let mut answer: Vec<Option<Bytes>> = Vec::with_capacity(keys.len());
    let mut places = HashMap::with_capacity(keys.len());
    for (place, key) in keys.iter().enumerate() {
        yield_periodically(place).await;
        // A key that is repeated shares its value.
        let first = *places.entry(key.as_str()).or_insert(place);
        let value = if first < place {
            answer[first].clone()
        } else {
            match reader.value(&bucket.encoding().encode(key)?) {
                CopiedValue::Known(value) => value,
                CopiedValue::Doubtful => return Ok(None),
            }
        };
        if let Some(value) = &value {
            size.grow(key.len() + value.len())?;
        }
        answer.push(value);
    }
    Ok(Some(answer))
}

async fn names(
    bucket: &BucketState,
    reader: &CopyReader<'_>,
    budget: &dyn ResponseBudget,
) -> Result<Vec<String>, Error> {
    let limits = bucket.limits();
    let mut size = ResultSize::new(bucket, budget);
    let mut names = Vec::with_capacity(reader.len().min(limits.max_batch_keys));
    for shard in CopyReader::shards() {
        reader.for_each_key(shard, |key| {
            let name = bucket.encoding().decode(key)?;
            size.grow(name.len())?;
            names.push(name);
            limits.check_listed(names.len())
        })?;
        yield_now().await;
    }
    Ok(names)
}
