//! Listing a bucket: the last message of each key, headers only, by a consumer of its own.

mod consumer;
mod page;
mod pull_consumer;

use std::collections::HashSet;
use std::sync::Arc;

use async_nats::Message;
use futures::TryStreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::deadline::Deadline;
use super::error::Error;
use super::handle::BucketHandle;
use super::keys::shorten;
use super::message::is_marker;
use super::quarantine::LostConnections;
use super::stream_info::StreamInfo;
use super::{read, tuning};

pub use page::Page;

pub(super) async fn keys(bucket: &BucketHandle, deadline: &Deadline) -> Result<Vec<String>, Error> {
    let list = |info: Arc<StreamInfo>, tried: Tried| async move {
        list(bucket, &info, tried, deadline).await
    };
    uninterrupted(bucket, deadline, list).await
}

/// A page of the keys: those whose last message comes after this place in the stream.
pub(super) async fn page(
    bucket: &BucketHandle,
    after: u64,
    deadline: &Deadline,
) -> Result<Page, Error> {
    let read = |info: Arc<StreamInfo>, tried: Tried| async move {
        if tried.needs_quarantine() {
            return Err(unpaged(bucket).into());
        }
        page::read(bucket, &info, after, tried.interrupted, deadline).await
    };
    uninterrupted(bucket, deadline, read).await
}

/// That a page cannot be read: messages are delivered whole, whatever is in them.
fn unpaged(bucket: &BucketHandle) -> Error {
    Error::Unavailable {
        what: format!("a page of the bucket `{}` could not be read", bucket.name()),
        reason: "the connection was lost over it again and again; if nothing else breaks it, another \
                 client has written a key or headers that the NATS client cannot parse: `keys` lists \
                 such a bucket"
            .to_owned(),
    }
}

/// How a listing has fared so far.
#[derive(Clone, Copy, Default)]
struct Tried {
    /// How many times it was interrupted.
    interrupted: usize,
    /// The connections that were lost meanwhile.
    lost: LostConnections,
    /// Whether the bucket is under quarantine.
    quarantined: bool,
}

impl Tried {
    /// Whether a message of the bucket breaks the client's parser, or is likely to. A consumer delivers
    /// such a message again to the next listing, which loses its connection too.
    fn needs_quarantine(self) -> bool {
        self.lost.are_suspicious() || self.quarantined
    }
}

/// Does some listing until it goes through without interruption, or the time is over.
async fn uninterrupted<T, F>(
    bucket: &BucketHandle,
    deadline: &Deadline,
    list: impl Fn(Arc<StreamInfo>, Tried) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut info = bucket.stream_info(deadline).await?;
    let mut backoff = tuning::BACKOFF.0;
    let mut tried = Tried::default();
    let mut last_epoch = None;
    loop {
        bucket.ready(deadline).await?;
        tried.quarantined = info.quarantine.is_active();
        let epoch = bucket.connection().epoch();
        if last_epoch.replace(epoch).is_some_and(|last| last < epoch) {
            tried.lost.record();
        }
        let begun = Instant::now();
        let is_asked_for = |subject: &str| consumer::asks_for(&info, subject);
        let listed = tokio::select! {
            listed = timeout_at(deadline.end(), list(Arc::clone(&info), tried)) => listed,
            () = bucket.connection().until_lost(epoch), if !tried.needs_quarantine() => {
                Ok(Err(Failure::Interrupted))
            }
            // A request that is refused has no answer.
            refused = bucket.connection().until_refused(begun, is_asked_for) => {
                return Err(refused);
            }
        };
        match listed {
            Ok(Ok(listed)) => return Ok(listed),
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Interrupted)) if Instant::now() < deadline.settle() => {
                tried.interrupted += 1;
                sleep(backoff).await;
                backoff = (backoff * 2).min(tuning::BACKOFF.1);
                info = bucket.refresh_stream_info(Some(&info), deadline).await?;
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

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

async fn list(
    bucket: &BucketHandle,
    info: &StreamInfo,
    tried: Tried,
    deadline: &Deadline,
) -> Result<Vec<String>, Failure> {
    let mut listing = Listing::new(bucket, info);
    let by_consumer = tried.interrupted < tuning::LIST_INTERRUPTIONS && !tried.needs_quarantine();
    if !by_consumer || !consumer::read(&mut listing, info, deadline).await? {
        add_unseen(&mut listing, info, tried.lost, deadline).await?;
    }
    Ok(listing.finish())
}

/// Completes a listing that keys have slipped through, because they were written while it was under
/// way: the stream knows its subjects, and those that were not seen are read.
async fn add_unseen(
    listing: &mut Listing<'_>,
    info: &StreamInfo,
    lost: LostConnections,
    deadline: &Deadline,
) -> Result<(), Failure> {
    let bucket = listing.bucket;
    let stream = bucket
        .context()
        .get_stream_no_info(&info.stream)
        .await
        .map_err(|_| Failure::Interrupted)?;
    let mut subjects = stream
        .info_with_subjects(format!("{}>", info.read_prefix))
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
            && let Some(key) = subject.strip_prefix(&info.read_prefix)
            && !listing.has(key)
        {
            unseen.push(key.to_owned());
        }
        if ended || unseen.len() == tuning::LIST_UNSEEN {
            for key in read::with_values(bucket, info, &unseen, lost, deadline).await? {
                listing.add(key, true)?;
            }
            listing.check_names(&unseen, info)?;
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
    bucket: &'a BucketHandle,
    prefix: &'a str,
    keys: HashSet<String>,
    bytes: usize,
}

impl<'a> Listing<'a> {
    fn new(bucket: &'a BucketHandle, info: &'a StreamInfo) -> Self {
        Self {
            bucket,
            prefix: &info.read_prefix,
            keys: HashSet::new(),
            bytes: 0,
        }
    }

    /// Makes room for so many keys, unless they are more than the link allows.
    fn reserve(&mut self, keys: u64) {
        let max = self.bucket.limits().max_batch_keys;
        self.keys
            .reserve(usize::try_from(keys).unwrap_or(max).min(max));
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

    /// The server's list of subjects has another character in place of what is no UTF-8, so that a
    /// key that holds such bytes cannot be found under the name it has there.
    fn check_names(&self, encoded: &[String], info: &StreamInfo) -> Result<(), Error> {
        let is_lost = |key: &&String| key.contains('\u{fffd}') && !self.has(key);
        match encoded.iter().find(is_lost) {
            None => Ok(()),
            Some(key) => {
                info.quarantine.activate(&info.stream, "a key is not UTF-8");
                Err(Error::Unreadable(format!(
                    "the bucket holds a key that is not UTF-8, something like {:?}; purge it",
                    shorten(key)
                )))
            }
        }
    }

    fn has(&self, encoded: &str) -> bool {
        let key = self.bucket.encoding().decode(encoded);
        key.is_ok_and(|key| self.keys.contains(&key))
    }

    fn finish(self) -> Vec<String> {
        self.keys.into_iter().collect()
    }
}
