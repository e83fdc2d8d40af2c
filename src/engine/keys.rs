//! Listing a bucket: the last message of each key, headers only, by a consumer of its own.

mod consumer;

use std::collections::HashSet;

use async_nats::jetstream;
use futures::TryStreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::bucket::Bucket;
use super::deadline::Deadline;
use super::error::Error;
use super::message::is_marker;
use super::open::Opened;
use super::{get, tuning};

pub(super) async fn keys(bucket: &Bucket, deadline: &Deadline) -> Result<Vec<String>, Error> {
    let mut opened = bucket.opened(deadline).await?;
    let mut backoff = tuning::BACKOFF.0;
    loop {
        bucket.ready(deadline).await?;
        let listed = timeout_at(deadline.end(), list(bucket, &opened, deadline));
        match listed.await {
            Ok(Ok(keys)) => return Ok(keys.into_iter().collect()),
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
) -> Result<HashSet<String>, Failure> {
    let mut listing = Listing::new(bucket, opened);
    if !consumer::read(&mut listing, opened, deadline).await? {
        add_unseen(&mut listing, bucket, opened, deadline).await?;
    }
    Ok(listing.keys)
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
            && !listing.has(key)
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

    /// Takes a key's last message in. It may come again while the listing is under way, with another
    /// message.
    fn take(&mut self, message: &jetstream::Message) -> Result<(), Failure> {
        match message.subject.strip_prefix(self.prefix) {
            Some(key) => self.add(key, !is_marker(message.headers.as_ref())),
            None => Ok(()),
        }
    }

    fn add(&mut self, encoded: &str, has_value: bool) -> Result<(), Failure> {
        let key = self.bucket.encoding().decode(encoded);
        if !has_value {
            // What cannot be decoded was never added.
            if let Ok(key) = key
                && self.keys.remove(&key)
            {
                self.bytes -= key.len();
            }
            return Ok(());
        }
        let key = key?;
        let length = key.len();
        if self.keys.insert(key) {
            self.bytes += length;
            let limits = self.bucket.limits();
            limits.check_keys(self.keys.len())?;
            limits.check_bytes(self.bytes)?;
        }
        Ok(())
    }

    fn has(&self, encoded: &str) -> bool {
        let key = self.bucket.encoding().decode(encoded);
        key.is_ok_and(|key| self.keys.contains(&key))
    }
}
