//! Listing a bucket: the last message of each key, headers only, by a consumer of its own.

mod consumer;
mod page;

use std::collections::HashSet;
use std::sync::Arc;

use async_nats::Message;
use futures::TryStreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::bucket::Bucket;
use super::deadline::Deadline;
use super::error::Error;
use super::message::is_marker;
use super::open::Opened;
use super::{get, tuning};

pub use page::Page;

pub(super) async fn keys(bucket: &Bucket, deadline: &Deadline) -> Result<Vec<String>, Error> {
    let list = |opened: Arc<Opened>| async move { list(bucket, &opened, deadline).await };
    uninterrupted(bucket, deadline, list).await
}

/// A page of the keys: those whose last message comes after this place in the stream.
pub(super) async fn page(bucket: &Bucket, after: u64, deadline: &Deadline) -> Result<Page, Error> {
    let read =
        |opened: Arc<Opened>| async move { page::read(bucket, &opened, after, deadline).await };
    uninterrupted(bucket, deadline, read).await
}

/// Does some listing until it goes through without interruption, or the time is over.
async fn uninterrupted<T, F>(
    bucket: &Bucket,
    deadline: &Deadline,
    list: impl Fn(Arc<Opened>) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut opened = bucket.opened(deadline).await?;
    let mut backoff = tuning::BACKOFF.0;
    loop {
        bucket.ready(deadline).await?;
        let begun = Instant::now();
        let is_asked_for = |subject: &str| consumer::asks_for(&opened, subject);
        let listed = tokio::select! {
            listed = timeout_at(deadline.end(), list(Arc::clone(&opened))) => listed,
            // A request that is refused has no answer.
            refused = bucket.connection().until_refused(begun, is_asked_for) => {
                return Err(refused);
            }
        };
        match listed {
            Ok(Ok(listed)) => return Ok(listed),
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Interrupted)) if Instant::now() < deadline.settle() => {
                sleep(backoff).await;
                backoff = (backoff * 2).min(tuning::BACKOFF.1);
                opened = bucket.look_again(Some(&opened), deadline).await?;
            }
            Ok(Err(Failure::Interrupted)) | Err(_) => return Err(bucket.explain(deadline)),
        }
    }
}

enum Failure {
    /// Something is missing of the listing: it has to begin again.
    Interrupted,
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

async fn list(
    bucket: &Bucket,
    opened: &Opened,
    deadline: &Deadline,
) -> Result<Vec<String>, Failure> {
    let mut listing = Listing::new(bucket, opened);
    if !consumer::read(&mut listing, opened, deadline).await? {
        add_unseen(&mut listing, bucket, opened, deadline).await?;
    }
    Ok(listing.finish())
}

/// Completes a listing that keys have slipped through, because they were written while it was under
/// way: the stream knows its subjects, and those that were not seen are read.
async fn add_unseen(
    listing: &mut Listing<'_>,
    bucket: &Bucket,
    opened: &Opened,
    deadline: &Deadline,
) -> Result<(), Failure> {
    let stream = opened
        .context
        .get_stream_no_info(&opened.stream)
        .await
        .map_err(|_| Failure::Interrupted)?;
    let mut subjects = stream
        .info_with_subjects(format!("{}>", opened.read_prefix))
        .await
        .map_err(|_| Failure::Interrupted)?;
    let mut unseen = Vec::new();
    loop {
        let subject = subjects
            .try_next()
            .await
            .map_err(|_| Failure::Interrupted)?;
        let ended = subject.is_none();
        if let Some((subject, _)) = subject
            && let Some(key) = subject.strip_prefix(&opened.read_prefix)
            && !bucket
                .encoding()
                .decode(key)
                .is_ok_and(|key| listing.keys.contains(&key))
        {
            unseen.push(key.to_owned());
        }
        if ended || unseen.len() == tuning::LIST_PAGE {
            for key in get::with_values(bucket, opened, &unseen, deadline).await? {
                listing.add(key, true)?;
            }
            unseen.clear();
        }
        if ended {
            return Ok(());
        }
    }
}

/// The keys that have a value, as far as is known.
///
/// A key may come more than once: written while the listing is under way, or before it began if the
/// consumer is at a replica that lags behind the leader. Messages come in the stream's order, so the
/// last one counts.
struct Listing<'a> {
    bucket: &'a Bucket,
    prefix: &'a str,
    keys: HashSet<String>,
    bytes: usize,
}

impl<'a> Listing<'a> {
    fn new(bucket: &'a Bucket, opened: &'a Opened) -> Self {
        Self {
            bucket,
            prefix: &opened.read_prefix,
            keys: HashSet::new(),
            bytes: 0,
        }
    }

    /// Takes a key's last message in, as far as that is known yet.
    fn take(&mut self, message: &Message) -> Result<(), Failure> {
        match message.subject.strip_prefix(self.prefix) {
            Some(key) => self.add(key, !is_marker(message.headers.as_ref())),
            None => Ok(()),
        }
    }

    fn add(&mut self, encoded: &str, has_value: bool) -> Result<(), Failure> {
        let key = match self.bucket.encoding().decode(encoded) {
            Ok(key) => key,
            Err(error) if has_value => return Err(error.into()),
            // What cannot be decoded was never added.
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
            limits.check_keys(self.keys.len())?;
            limits.check_bytes(self.bytes)?;
        }
        Ok(())
    }

    fn finish(self) -> Vec<String> {
        self.keys.into_iter().collect()
    }
}
