//! Listing the keys of a bucket.
//!
//! An ephemeral pull consumer delivers the last message of each key, headers only, many at a time.
//! The consumer misses keys that are written during the listing. They are found by comparing with
//! the stream's subject list, and read one by one.

mod consumer;
mod page;
mod pull_consumer;

use std::collections::HashSet;
use std::sync::Arc;

use async_nats::Message;
use futures::TryStreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::bucket_state::BucketState;
use super::deadline::Deadline;
use super::error::Error;
use super::message::is_marker;
use super::quarantine::LostConnections;
use super::response_budget::{self, ResponseBudget};
use super::retries::RetryReason;
use super::stream_info::{ReadPath, StreamInfo};
use super::text::{CallerText, LogText};
use super::{read, tuning};

pub use page::Page;

pub(super) async fn keys(
    bucket: &BucketState,
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<String>, Error> {
    keys_by(bucket, |_| None, budget, deadline).await
}

/// As [`keys`], from the stream's leader. If the stream has several nodes, each key is read there.
pub(super) async fn keys_at_leader(
    bucket: &BucketState,
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<String>, Error> {
    // A consumer is on any of the stream's nodes.
    let path = |info: &StreamInfo| info.is_replicated.then_some(ReadPath::Leader);
    keys_by(bucket, path, budget, deadline).await
}

/// As [`keys`]. With a `path`, each key is read in this way.
async fn keys_by(
    bucket: &BucketState,
    path: impl Fn(&StreamInfo) -> Option<ReadPath> + Copy,
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<String>, Error> {
    let list = |info: Arc<StreamInfo>, attempts: ListAttempts| async move {
        list(bucket, &info, attempts, path(&info), budget, deadline).await
    };
    retry_until_complete(bucket, deadline, list).await
}

/// One page of the keys. Their last messages come after the sequence `after` of the stream.
pub(super) async fn page(
    bucket: &BucketState,
    after: u64,
    deadline: &Deadline,
) -> Result<Page, Error> {
    let read = |info: Arc<StreamInfo>, attempts: ListAttempts| async move {
        if attempts.needs_quarantine() {
            return Err(page_error(bucket).into());
        }
        page::read(bucket, &info, after, attempts.interrupted, deadline).await
    };
    retry_until_complete(bucket, deadline, read).await
}

/// The error for a bucket under quarantine. For a page the server has to deliver messages with
/// their headers, which the NATS client may be unable to parse.
fn page_error(bucket: &BucketState) -> Error {
    Error::PageLost {
        bucket: bucket.name().to_owned(),
    }
}

/// What has gone wrong so far with a listing.
#[derive(Clone, Copy, Default)]
struct ListAttempts {
    /// How many times it was interrupted.
    interrupted: usize,
    /// The connections that the call has lost so far.
    lost: LostConnections,
    /// Whether the bucket is under quarantine.
    quarantined: bool,
}

impl ListAttempts {
    /// Whether a message of the bucket breaks the NATS client's parser, or is likely to. A consumer
    /// would deliver the message again, and the connection would be lost again.
    fn needs_quarantine(self) -> bool {
        self.lost.are_suspicious() || self.quarantined
    }
}

/// Runs a listing, again if it is interrupted, until it is complete or the call's time is over.
async fn retry_until_complete<T, F>(
    bucket: &BucketState,
    deadline: &Deadline,
    list: impl Fn(Arc<StreamInfo>, ListAttempts) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, ListError>>,
{
    let mut info = bucket.stream_info(deadline).await?;
    let mut backoff = tuning::BACKOFF.first;
    let mut attempts = ListAttempts::default();
    let mut last_epoch = None;
    loop {
        bucket.wait_connected(deadline).await?;
        attempts.quarantined = info.quarantine.is_active();
        let epoch = bucket.connection().epoch();
        if last_epoch.replace(epoch).is_some_and(|last| last < epoch) {
            attempts.lost.record();
        }
        let started = Instant::now();
        let is_mine = |subject: &str| consumer::is_request(&info, subject);
        let listing = timeout_at(deadline.call_deadline(), list(Arc::clone(&info), attempts));
        let listed = tokio::select! {
            listed = listing => listed,
            () = bucket.connection().until_reconnected(epoch), if !attempts.needs_quarantine() => {
                Ok(Err(ListError::Interrupted))
            }
            // The server never answers a request that it denies.
            error = bucket.connection().until_permission_error(started, is_mine) => {
                return Err(error);
            }
        };
        match listed {
            Ok(Ok(listed)) => return Ok(listed),
            Ok(Err(ListError::Final(error))) => return Err(error),
            Ok(Err(ListError::Interrupted)) if Instant::now() < deadline.send_deadline() => {
                attempts.interrupted += 1;
                let connection = bucket.connection();
                connection.count_retry(RetryReason::ListingInterrupted);
                sleep(backoff).await;
                backoff = tuning::BACKOFF.after(backoff);
                info = bucket.refresh_stream_info(Some(&info), deadline).await?;
            }
            Ok(Err(ListError::Interrupted)) | Err(_) => {
                return Err(bucket.no_answer_error(deadline));
            }
        }
    }
}

enum ListError {
    /// The listing is incomplete, and has to start again.
    Interrupted,
    /// To start again would not help.
    Final(Error),
}

impl<E: Into<Error>> From<E> for ListError {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

/// Lists the keys. With a `path`, without a consumer: each key is read in this way.
async fn list(
    bucket: &BucketState,
    info: &StreamInfo,
    attempts: ListAttempts,
    path: Option<ReadPath>,
    budget: &dyn ResponseBudget,
    deadline: &Deadline,
) -> Result<Vec<String>, ListError> {
    let mut listing = Listing::new(bucket, info, budget);
    let by_consumer = attempts.interrupted < tuning::LIST_INTERRUPTIONS
        && !attempts.needs_quarantine()
        && path.is_none();
    if !by_consumer || !consumer::read(&mut listing, info, deadline).await? {
        add_missed_keys(&mut listing, info, path, attempts.lost, deadline).await?;
    }
    Ok(listing.finish())
}

/// Completes a listing. The consumer may have missed keys that were written meanwhile. The stream's
/// subject list has them, so each key of the list is read that the listing has not met.
async fn add_missed_keys(
    listing: &mut Listing<'_>,
    info: &StreamInfo,
    path: Option<ReadPath>,
    lost: LostConnections,
    deadline: &Deadline,
) -> Result<(), ListError> {
    let bucket = listing.bucket;
    let stream = bucket
        .context()
        .get_stream_no_info(&info.stream)
        .await
        .map_err(|_| ListError::Interrupted)?;
    let mut subjects = stream
        .info_with_subjects(format!("{}>", info.read_prefix))
        .await
        .map_err(|_| ListError::Interrupted)?;
    let mut missed = Vec::new();
    loop {
        let subject = subjects
            .try_next()
            .await
            .map_err(|_| ListError::Interrupted)?;
        let ended = subject.is_none();
        if let Some((subject, _)) = subject
            && let Some(key) = subject.strip_prefix(&info.read_prefix)
            && !listing.has(key)
        {
            missed.push(key.to_owned());
        }
        if ended || missed.len() == tuning::LIST_MISSED_KEYS {
            for key in read::keys_with_values(bucket, info, &missed, path, lost, deadline).await? {
                listing.add(key, true)?;
            }
            listing.check_utf8(&missed, info)?;
            missed.clear();
        }
        if ended {
            return Ok(());
        }
    }
}

/// The keys that have a value, so far.
///
/// A key may come more than once, if it is written during the listing, or if the consumer is on a
/// follower that lags behind the leader. Messages come in the stream's order, so the last message
/// of a key counts.
struct Listing<'a> {
    bucket: &'a BucketState,
    budget: &'a dyn ResponseBudget,
    prefix: &'a str,
    keys: HashSet<String>,
    bytes: usize,
}

impl<'a> Listing<'a> {
    fn new(bucket: &'a BucketState, info: &'a StreamInfo, budget: &'a dyn ResponseBudget) -> Self {
        Self {
            bucket,
            budget,
            prefix: &info.read_prefix,
            keys: HashSet::new(),
            bytes: 0,
        }
    }

    /// Allocates memory for this many keys, up to the limit.
    fn reserve(&mut self, keys: u64) {
        let max = self.bucket.limits().max_batch_keys;
        self.keys
            .reserve(usize::try_from(keys).unwrap_or(max).min(max));
    }

    /// Adds or removes the key of a message.
    fn add_message(&mut self, message: &Message) -> Result<(), ListError> {
        match message.subject.strip_prefix(self.prefix) {
            Some(key) => self.add(key, !is_marker(message.headers.as_ref())),
            None => Ok(()),
        }
    }

    /// Adds a key if it has a value, or else removes it.
    fn add(&mut self, encoded: &str, has_value: bool) -> Result<(), ListError> {
        let key = match self.bucket.encoding().decode(encoded) {
            Ok(key) => key,
            Err(error) if has_value => return Err(error.into()),
            // A key that cannot be decoded was never added.
            Err(_) => return Ok(()),
        };
        let bytes = key.len();
        if !has_value {
            if self.keys.remove(&key) {
                self.bytes -= bytes;
            }
            return Ok(());
        }
        if self.keys.insert(key) {
            self.bytes += bytes;
            let limits = self.bucket.limits();
            limits.check_listed(self.keys.len())?;
            limits.check_bytes(self.bytes)?;
            response_budget::check(self.budget, self.bytes)?;
        }
        Ok(())
    }

    /// Succeeds if all of the missed keys are UTF-8. If a key is not, the server's subject list has
    /// a replacement character in its name. So the key cannot be read by that name.
    fn check_utf8(&self, encoded: &[String], info: &StreamInfo) -> Result<(), Error> {
        let is_not_utf8 = |key: &&String| key.contains('\u{fffd}') && !self.has(key);
        match encoded.iter().find(is_not_utf8) {
            None => Ok(()),
            Some(key) => {
                let why = LogText::fixed("a key is not UTF-8");
                info.quarantine.activate(&info.stream, &why);
                Err(Error::NotUtf8 {
                    key: CallerText::key(key),
                })
            }
        }
    }

    /// Whether the listing has the key.
    fn has(&self, encoded: &str) -> bool {
        let key = self.bucket.encoding().decode(encoded);
        key.is_ok_and(|key| self.keys.contains(&key))
    }

    fn finish(self) -> Vec<String> {
        self.keys.into_iter().collect()
    }
}
