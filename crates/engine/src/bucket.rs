//! A bucket as its callers see it: whole batches, within limits.

use std::sync::Arc;

use bytes::Bytes;

use super::concurrency::ConcurrencyLimit;
use super::connection::Connection;
use super::counter::{self, Counters};
use super::deadline::Deadline;
use super::error::Error;
use super::handle::BucketHandle;
use super::keys::KeyEncoding;
use super::limits::Limits;
use super::list::{self, Page};
use super::read;
use super::stream_info::BucketSpec;
use super::write;

/// A key-value bucket, for as many calls at once as its limits allow.
///
/// The bucket need not exist yet: each operation finds out, and a bucket that is deleted and created
/// again meanwhile is found again.
#[derive(Debug)]
pub struct Bucket {
    handle: BucketHandle,
    counters: Counters,
}

impl Bucket {
    /// A bucket whose operations share `concurrency` with the other buckets of its link.
    #[must_use]
    pub fn new(
        connection: Arc<Connection>,
        spec: BucketSpec,
        encoding: KeyEncoding,
        limits: Limits,
        concurrency: Arc<ConcurrencyLimit>,
    ) -> Self {
        Self {
            handle: BucketHandle::new(connection, spec, encoding, limits, concurrency),
            counters: Counters::default(),
        }
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.handle.name()
    }

    /// What one batch may be.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.handle.limits()
    }

    /// Succeeds if the bucket exists now, or could be created.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBucket`], or why the server could not be asked.
    pub async fn open(&self, deadline: Deadline) -> Result<(), Error> {
        self.handle.fetch_stream_info(&deadline).await.map(drop)
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
        read::get_many(&self.handle, keys, &deadline).await
    }

    /// The key's value, if it has one. What was written before is read.
    ///
    /// # Errors
    ///
    /// Why it could not be read.
    pub async fn get(&self, key: &str, deadline: Deadline) -> Result<Option<Bytes>, Error> {
        read::read_leader(&self.handle, key, &deadline).await
    }

    /// Whether the key has a value. What was written before is seen.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    pub async fn exists(&self, key: &str, deadline: Deadline) -> Result<bool, Error> {
        read::exists(&self.handle, key, &deadline).await
    }

    /// Adds `delta` to the number that is the key's value, 0 if it has none, and returns the sum.
    ///
    /// # Errors
    ///
    /// [`Error::NotANumber`] or [`Error::Overflow`], or why the key could not be read or written.
    pub async fn increment(&self, key: &str, delta: u64, deadline: Deadline) -> Result<u64, Error> {
        counter::increment(&self.handle, &self.counters, key, delta, &deadline).await
    }

    /// A page of the keys that have a value: those that were written last after the place in the
    /// stream that the page before ended at.
    ///
    /// # Errors
    ///
    /// Why the bucket could not be listed.
    pub async fn list_keys(&self, after: u64, deadline: Deadline) -> Result<Page, Error> {
        list::page(&self.handle, after, &deadline).await
    }

    /// Every key that has a value, each once, in no order.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if there are more than the link allows in one answer, or why the bucket
    /// could not be listed.
    pub async fn keys(&self, deadline: Deadline) -> Result<Vec<String>, Error> {
        list::keys(&self.handle, &deadline).await
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
        write::set_many(&self.handle, entries, &deadline).await
    }

    /// Deletes each key. A key that does not exist is no error.
    ///
    /// # Errors
    ///
    /// As [`Bucket::set_many`].
    pub async fn delete_many(&self, keys: Vec<String>, deadline: Deadline) -> Result<(), Error> {
        write::delete_many(&self.handle, keys, &deadline).await
    }
}
