//! A bucket as its callers see it: whole batches, within limits.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore};

use super::connection::Connection;
use super::deadline::Deadline;
use super::error::Error;
use super::key::KeyEncoding;
use super::open::{BucketSpec, Opened, open};
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
    /// One permit for each key operation in flight. The queue of a semaphore is fair, so a small
    /// batch waits for a few operations of a large one and not for its end.
    slots: Arc<Semaphore>,
    opened: RwLock<Option<Arc<Opened>>>,
    /// Held while the stream is looked at, so that waiting calls share one look.
    opening: Mutex<()>,
}

impl Bucket {
    /// A bucket whose operations share `slots` with the other buckets of its link.
    #[must_use]
    pub fn new(
        connection: Arc<Connection>,
        spec: BucketSpec,
        encoding: KeyEncoding,
        limits: Limits,
        slots: Arc<Semaphore>,
    ) -> Self {
        Self {
            connection,
            spec,
            encoding,
            limits,
            slots,
            opened: RwLock::default(),
            opening: Mutex::default(),
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

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn encoding(&self) -> KeyEncoding {
        self.encoding
    }

    pub(super) fn slots(&self) -> &Arc<Semaphore> {
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
        let _opening = self.opening.lock().await;
        if let Some(opened) = self.seen()
            && stale.is_none_or(|stale| !Arc::ptr_eq(stale, &opened))
        {
            return Ok(opened);
        }
        let looked = open(&self.connection, &self.spec, deadline).await;
        let opened = looked.map(Arc::new);
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) =
            opened.as_ref().ok().map(Arc::clone);
        opened
    }

    fn seen(&self) -> Option<Arc<Opened>> {
        self.opened
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
