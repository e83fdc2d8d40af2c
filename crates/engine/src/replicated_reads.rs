//! Reads that are answered from a copy of the bucket in memory, or else by the server.

use bytes::Bytes;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::bucket_state::BucketState;
use super::concurrency::yield_periodically;
use super::deadline::Deadline;
use super::error::Error;
use super::replica::{CopyReader, ReplicaUser};
use super::response_budget::{self, ResponseBudget};
use super::{list, read};

/// The value of each key, as [`read::get_many`] answers.
pub(super) async fn get_many(
    bucket: &BucketState,
    user: &ReplicaUser,
    keys: &[String],
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<Option<Bytes>>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(reader) = user.reader(latest(deadline)).await {
        let answer = values(bucket, &reader, keys, budget).await?;
        if reader.is_of_late() {
            bucket.note_answer();
        }
        if reader.finish() {
            return Ok(answer);
        }
    }
    // A node that lags must not answer with less than the copy has answered with.
    let answer = if user.has_answered_lately() {
        read::get_many_at_leader(bucket, keys, budget, deadline).await
    } else {
        read::get_many(bucket, keys, budget, deadline).await
    };
    noted(bucket, user, answer)
}

/// Every key that has a value, as [`list::keys`] answers.
pub(super) async fn keys(
    bucket: &BucketState,
    user: &ReplicaUser,
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<String>, Error> {
    if let Some(reader) = user.reader(latest(deadline)).await {
        let answer = names(bucket, &reader, budget).await?;
        if reader.is_of_late() {
            bucket.note_answer();
        }
        if reader.finish() {
            return Ok(answer);
        }
    }
    let answer = list::keys(bucket, budget, deadline).await;
    noted(bucket, user, answer)
}

/// Notes what the server has answered in place of the copy.
fn noted<T>(
    bucket: &BucketState,
    user: &ReplicaUser,
    answer: Result<T, Error>,
) -> Result<T, Error> {
    user.note_server_answered();
    if answer.is_ok() {
        bucket.note_answer();
    }
    answer
}

/// How long a call may wait for the copy: most of its time is left for the server.
fn latest(deadline: &Deadline) -> Instant {
    let now = Instant::now();
    now + deadline.answer_deadline().saturating_duration_since(now) / 4
}

async fn values(
    bucket: &BucketState,
    reader: &CopyReader<'_>,
    keys: &[String],
    budget: &dyn ResponseBudget,
) -> Result<Vec<Option<Bytes>>, Error> {
    let mut bytes = 0;
    let mut answer = Vec::with_capacity(keys.len());
    for (place, key) in keys.iter().enumerate() {
        yield_periodically(place).await;
        let value = reader.value(&bucket.encoding().encode(key)?);
        if let Some(value) = &value {
            bytes += key.len() + value.len();
            bucket.limits().check_bytes(bytes)?;
        }
        answer.push(value);
    }
    response_budget::check(budget, bytes)?;
    Ok(answer)
}

async fn names(
    bucket: &BucketState,
    reader: &CopyReader<'_>,
    budget: &dyn ResponseBudget,
) -> Result<Vec<String>, Error> {
    let limits = bucket.limits();
    let mut names = Vec::with_capacity(reader.len().min(limits.max_batch_keys));
    let mut bytes = 0;
    for shard in CopyReader::shards() {
        reader.for_each_key(shard, |key| {
            let name = bucket.encoding().decode(key)?;
            bytes += name.len();
            names.push(name);
            limits.check_keys(names.len())?;
            limits.check_bytes(bytes)
        })?;
        response_budget::check(budget, bytes)?;
        yield_now().await;
    }
    Ok(names)
}
