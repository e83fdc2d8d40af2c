//! Setting and deleting keys: one publish for each key, which the server acknowledges.

mod atomic;
mod batch;
mod dedupe;
mod key_write;
mod operation;
mod written;

use bytes::Bytes;

use super::bucket_state::BucketState;
use super::deadline::Deadline;
use super::error::Error;
use batch::WriteBatch;
use dedupe::dedupe;
use key_write::KeyWrite;

/// What a write does, for errors.
const SET: &str = "set";
const DELETED: &str = "deleted";

pub(super) async fn set_many(
    bucket: &BucketState,
    entries: Vec<(String, Bytes)>,
    deadline: &Deadline,
) -> Result<(), Error> {
    let sizes = entries.iter().map(|(key, value)| key.len() + value.len());
    bucket.limits().check_entries(sizes)?;
    let entries = entries.into_iter().map(|(key, value)| (key, Some(value)));
    let writes = dedupe(bucket.encoding(), entries).await?;
    write_all(bucket, SET, writes, deadline).await
}

pub(super) async fn delete_many(
    bucket: &BucketState,
    keys: Vec<String>,
    deadline: &Deadline,
) -> Result<(), Error> {
    bucket
        .limits()
        .check_entries(keys.iter().map(String::len))?;
    let entries = keys.into_iter().map(|key| (key, None));
    let writes = dedupe(bucket.encoding(), entries).await?;
    write_all(bucket, DELETED, writes, deadline).await
}

/// Writes these distinct keys as a whole or each by itself, as the bucket's settings say.
async fn write_all(
    bucket: &BucketState,
    verb: &'static str,
    writes: Vec<KeyWrite>,
    deadline: &Deadline,
) -> Result<(), Error> {
    if bucket.write_settings().atomic {
        atomic::write(bucket, verb, writes, deadline).await
    } else {
        write_each(bucket, verb, writes, deadline).await
    }
}

/// Writes these distinct keys, with one request for each.
async fn write_each(
    bucket: &BucketState,
    verb: &'static str,
    writes: Vec<KeyWrite>,
    deadline: &Deadline,
) -> Result<(), Error> {
    let batch = WriteBatch::new(bucket, verb, writes);
    batch.check_values(bucket, deadline).await?;
    batch.run(bucket, deadline).await
}

/// Sets one key. The error is the cause itself, without a count of keys.
pub(super) async fn set(
    bucket: &BucketState,
    key: String,
    value: Bytes,
    deadline: &Deadline,
) -> Result<(), Error> {
    let size = key.len() + value.len();
    bucket.limits().check_entries([size].into_iter())?;
    let write = KeyWrite::new(bucket.encoding(), key, Some(value))?;
    let set = write_each(bucket, SET, vec![write], deadline).await;
    set.map_err(cause_of_one)
}

/// Deletes one key. The error is the cause itself, without a count of keys.
pub(super) async fn delete(
    bucket: &BucketState,
    key: String,
    deadline: &Deadline,
) -> Result<(), Error> {
    bucket.limits().check_entries([key.len()].into_iter())?;
    let write = KeyWrite::new(bucket.encoding(), key, None)?;
    let deleted = write_each(bucket, DELETED, vec![write], deadline).await;
    deleted.map_err(cause_of_one)
}

fn cause_of_one(error: Error) -> Error {
    match error {
        Error::Partial { cause, .. } => *cause,
        error => error,
    }
}

/// What became of a write that expects a revision.
pub(super) enum ReplaceOutcome {
    /// The write is the key's last message, and has this revision.
    Written(u64),
    /// The key's last message is another one than expected. It may be this write itself: during a
    /// change of leader a cluster can hand a write to the old and the new leader, and one of them
    /// refuses it. The write's id, given here, tells.
    Conflict(String),
    /// As `Conflict`, but the write was sent more than once. So another write may also have
    /// followed it.
    Unclear(String),
}

/// Sets a key if its last message still has the revision `expected`. 0 means that there is no
/// message.
pub(super) async fn replace(
    bucket: &BucketState,
    key: &str,
    value: Bytes,
    expected: u64,
    deadline: &Deadline,
) -> Result<ReplaceOutcome, Error> {
    let write = KeyWrite::new(bucket.encoding(), key.to_owned(), Some(value))?;
    let mut batch = WriteBatch::replacing(bucket, write, expected);
    batch.check_values(bucket, deadline).await?;
    batch.send(bucket, deadline).await?;
    if let Some(cause) = batch.failures.first_cause {
        return Err(cause);
    }
    let outcome = batch.compare_and_set.take().unwrap_or_default();
    Ok(match outcome.revision {
        Some(revision) => ReplaceOutcome::Written(revision),
        None if outcome.may_be_duplicated => ReplaceOutcome::Unclear(batch.id(0)),
        None => ReplaceOutcome::Conflict(batch.id(0)),
    })
}
