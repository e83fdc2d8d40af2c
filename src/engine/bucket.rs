//! A bucket as its callers see it: whole batches, within limits.

use std::sync::{Arc, PoisonError, RwLock};

use async_nats::jetstream::Context;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::deadline::Deadline;
use super::error::Error;
use super::increment::{self, Counters};
use super::key::KeyEncoding;
use super::keys::Page;
use super::open::{self, BucketSpec, Opened};
use super::slots::Slots;
use super::{get, keys, write};

/// What one link may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Key operations in flight at once, over all calls of the link.
    pub max_concurrency: usize,
    /// Keys in a batch, or in the answer of `keys`.
    pub max_batch_keys: usize,
    /// Bytes of keys and values in a batch, or in its answer.
    pub max_batch_bytes: usize,
}

impl Limits {
    /// No limits.
    pub(super) const NONE: Self = Self {
        max_concurrency: usize::MAX,
        max_batch_keys: usize::MAX,
        max_batch_bytes: usize::MAX,
    };

    pub(super) fn check_keys(&self, keys: usize) -> Result<(), Error> {
        if keys > self.max_batch_keys {
            return Err(self.too_many_keys(keys));
        }
        Ok(())
    }

    pub(super) fn check_bytes(&self, bytes: usize) -> Result<(), Error> {
        if bytes > self.max_batch_bytes {
            return Err(
                self.too_many_bytes(&format!("its keys and values have {bytes} bytes or more"))
            );
        }
        Ok(())
    }

    /// The error for a batch of so many keys.
    #[must_use]
    pub fn too_many_keys(&self, keys: usize) -> Error {
        Error::TooLarge {
            limit: "max_batch_keys",
            max: self.max_batch_keys,
            what: format!("it has {keys} keys or more"),
        }
    }

    /// The error for a batch that is too large in bytes; `what` says how it shows.
    #[must_use]
    pub fn too_many_bytes(&self, what: &str) -> Error {
        Error::TooLarge {
            limit: "max_batch_bytes",
            max: self.max_batch_bytes,
            what: what.to_owned(),
        }
    }
}

/// A key-value bucket. It is looked at when it is first needed, and again when its stream no
/// longer answers, so that it may be missing, deleted and created again meanwhile.
#[derive(Debug)]
pub struct Bucket {
    connection: Arc<Connection>,
    spec: BucketSpec,
    encoding: KeyEncoding,
    limits: Limits,
    slots: Arc<Slots>,
    opened: RwLock<Option<Arc<Opened>>>,
    /// The last look at the stream. Locked while there is one, so that waiting calls share it.
    look: Mutex<Option<Look>>,
    counters: Counters,
}

#[derive(Debug)]
struct Look {
    begun: Instant,
    outcome: Result<Arc<Opened>, Error>,
}

impl Bucket {
    /// A bucket whose operations share `slots` with the other buckets of its link.
    #[must_use]
    pub fn new(
        connection: Arc<Connection>,
        spec: BucketSpec,
        encoding: KeyEncoding,
        limits: Limits,
        slots: Arc<Slots>,
    ) -> Self {
        Self {
            connection,
            spec,
            encoding,
            limits,
            slots,
            opened: RwLock::default(),
            look: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What one batch may be.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Succeeds if the bucket exists now, or could be created.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBucket`], or why the server could not be asked.
    pub async fn open(&self, deadline: Deadline) -> Result<(), Error> {
        let seen = self.seen();
        self.look_again(seen.as_ref(), &deadline).await.map(drop)
    }

    /// The value of each key, in the order asked; `None` for a key that has none.
    ///
    /// # Errors
    ///
    /// Any trouble with any key.
    pub async fn get_many(
        &self,
        keys: &[String],
        deadline: Deadline,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        get::get_many(self, keys, &deadline).await
    }

    /// The key's value, if it has one. What was written before is read.
    ///
    /// # Errors
    ///
    /// Why it could not be read.
    pub async fn get(&self, key: &str, deadline: Deadline) -> Result<Option<Bytes>, Error> {
        get::get(self, key, &deadline).await
    }

    /// Whether the key has a value. What was written before is seen.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub async fn exists(&self, key: &str, deadline: Deadline) -> Result<bool, Error> {
        get::exists(self, key, &deadline).await
    }

    /// Adds `delta` to the number that is the key's value, 0 if it has none, and returns the sum.
    ///
    /// # Errors
    ///
    /// [`Error::NotANumber`] or [`Error::Overflow`], or why the key could not be read or written.
    pub async fn increment(&self, key: &str, delta: u64, deadline: Deadline) -> Result<u64, Error> {
        increment::increment(self, key, delta, &deadline).await
    }

    /// A page of the keys that have a value: those that were written last after the place in the
    /// stream that the page before ended at.
    ///
    /// # Errors
    ///
    /// Why the bucket could not be listed.
    pub async fn list_keys(&self, after: u64, deadline: Deadline) -> Result<Page, Error> {
        keys::page(self, after, &deadline).await
    }

    /// Every key that has a value, each once, in no order.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if there are more than the link allows in one answer, or why the bucket
    /// could not be listed.
    pub async fn keys(&self, deadline: Deadline) -> Result<Vec<String>, Error> {
        keys::keys(self, &deadline).await
    }

    /// Sets each key to the last value given for it. Every write that was started has ended, or
    /// was given up on without an answer, when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Partial`] if some writes were not acknowledged; nothing is rolled back.
    pub async fn set_many(
        &self,
        entries: Vec<(String, Bytes)>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        write::set_many(self, entries, &deadline).await
    }

    /// Deletes each key. A key that does not exist is no error.
    ///
    /// # Errors
    ///
    /// As [`Bucket::set_many`].
    pub async fn delete_many(&self, keys: Vec<String>, deadline: Deadline) -> Result<(), Error> {
        write::delete_many(self, keys, &deadline).await
    }

    /// Waits until there is a connection to the server.
    pub(super) async fn ready(&self, deadline: &Deadline) -> Result<(), Error> {
        self.connection.ready(&self.spec.name, deadline).await
    }

    /// Why there was no answer: the best that is known when a call's time is over.
    pub(super) fn explain(&self, deadline: &Deadline) -> Error {
        self.connection.explain(&self.spec.name, deadline)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// JetStream, to ask it about the bucket.
    pub(super) fn context(&self) -> Context {
        open::context(&self.connection, &self.spec)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn encoding(&self) -> KeyEncoding {
        self.encoding
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The bucket as it was when last looked at.
    pub(super) async fn opened(&self, deadline: &Deadline) -> Result<Arc<Opened>, Error> {
        match self.seen() {
            Some(opened) => Ok(opened),
            None => self.look_again(None, deadline).await,
        }
    }

    /// Looks at the stream again, unless somebody has done so since `stale` was got.
    pub(super) async fn look_again(
        &self,
        stale: Option<&Arc<Opened>>,
        deadline: &Deadline,
    ) -> Result<Arc<Opened>, Error> {
        let asked = Instant::now();
        let Ok(mut last) = timeout_at(deadline.settle(), self.look.lock()).await else {
            return Err(self.explain(deadline));
        };
        if let Some(look) = &*last
            && look.begun >= asked
        {
            return look.outcome.clone();
        }
        let seen = self.seen();
        if let Some(opened) = &seen
            && stale.is_none_or(|stale| !Arc::ptr_eq(stale, opened))
        {
            return Ok(Arc::clone(opened));
        }
        let begun = Instant::now();
        let outcome = open::open(&self.connection, &self.spec, deadline)
            .await
            .map(|mut opened| {
                if let Some(before) = &seen {
                    opened.inherit(before);
                }
                Arc::new(opened)
            });
        match &outcome {
            Ok(opened) => self.warn_of_differences(stale.map(Arc::as_ref), opened),
            // Says something of this call's time, and nothing of the bucket.
            Err(Error::Unavailable { .. }) => return outcome,
            Err(_) => {}
        }
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) =
            outcome.as_ref().ok().map(Arc::clone);
        *last = Some(Look {
            begun,
            outcome: outcome.clone(),
        });
        outcome
    }

    /// A bucket that exists is used as it is; whoever set other values on the link should know,
    /// once.
    fn warn_of_differences(&self, before: Option<&Opened>, now: &Opened) {
        let known = before.map_or("", |opened| opened.differences.as_str());
        if !now.differences.is_empty() && now.differences != known {
            tracing::warn!(
                bucket = self.spec.name,
                differences = now.differences,
                "the bucket exists with other settings than the link names; it is used as it is"
            );
        }
    }

    fn seen(&self) -> Option<Arc<Opened>> {
        self.opened
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
