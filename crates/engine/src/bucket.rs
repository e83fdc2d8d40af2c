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
use super::replica::{ReplicaSettings, ReplicaStats, Replicas};
use super::replicated_reads;
use super::response_budget::{ResponseBudget, Unbounded};
use super::stream_info::BucketSpec;
use super::write;

/// A key-value bucket, for as many calls at once as its limits allow.
///
/// The bucket need not exist yet: each operation finds out, and a bucket that is deleted and created
/// again meanwhile is found again.
#[derive(Debug)]
pub struct Bucket {
    handle: Arc<BucketHandle>,
    counters: Counters,
}

impl Bucket {
    /// A bucket whose operations share `concurrency` with other buckets.
    #[must_use]
    pub fn new(
        connection: Arc<Connection>,
        spec: BucketSpec,
        encoding: KeyEncoding,
        limits: Limits,
        concurrency: Arc<ConcurrencyLimit>,
    ) -> Self {
        Self {
            handle: Arc::new(BucketHandle::new(
                connection,
                spec,
                encoding,
                limits,
                concurrency,
            )),
            counters: Counters::default(),
        }
    }

    /// The same bucket with reads that may be answered from a copy in memory.
    ///
    /// [`Bucket::get_many`] and [`Bucket::keys`] are; single keys and counters are read at the leader. What
    /// is written through a bucket of the same `replicas`, connection and name is seen by later reads. So
    /// buckets of which no read uses a copy ([`ReplicaMode::Off`](crate::ReplicaMode::Off)) are better made
    /// with it, too.
    ///
    /// The copy is read when somebody reads for the first time, by a task of the current `tokio` runtime.
    #[must_use]
    pub fn with_replica(self, replicas: &Replicas, settings: ReplicaSettings) -> Self {
        self.handle.join_replica(replicas, settings);
        self
    }

    /// How the copy does, if the bucket has been made with [`Bucket::with_replica`].
    #[must_use]
    pub fn replica_stats(&self) -> Option<ReplicaStats> {
        Some(self.handle.replica()?.stats())
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

    /// Succeeds if the bucket exists, or could be created.
    ///
    /// The server is not asked if it has answered for this bucket, in whatever operation, within the last
    /// ten seconds. A bucket that was deleted meanwhile is an error of the next operation.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBucket`], or why the server could not be asked.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-open").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.open(within()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(&self, deadline: Deadline) -> Result<(), Error> {
        self.handle.open(&deadline).await
    }

    /// The value of each key, in the order asked; `None` for a key that has none. A key that is given
    /// twice is answered at both places. An empty value is `Some`.
    ///
    /// The answer may be out of date: with `allow_direct` (ADR-31) a replica answers, which may lag behind
    /// the stream's leader. On server ≥ 2.11 one request reads up to 128 keys.
    ///
    /// # Errors
    ///
    /// Any trouble with any key fails the whole call. [`Error::TooLarge`] if the keys or the values are
    /// over [`Limits`].
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-get-many").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.set_many(vec![("color".into(), "red".into())], within()).await?;
    ///
    /// let keys = ["color", "size"].map(String::from);
    /// let values = bucket.get_many(&keys, within()).await?;
    /// assert_eq!(values, [Some("red".into()), None]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many(
        &self,
        keys: &[String],
        deadline: Deadline,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        self.get_many_within(keys, &Unbounded, deadline).await
    }

    /// The same, if there is room for the answer in `budget`.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get_many`]; and [`Error::NoMemory`] as soon as `budget` refuses to grow.
    pub async fn get_many_within(
        &self,
        keys: &[String],
        budget: &dyn ResponseBudget,
        deadline: Deadline,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        match self.handle.replica().filter(|replica| replica.reads()) {
            Some(user) => {
                replicated_reads::get_many(&self.handle, user, keys, budget, &deadline).await
            }
            None => {
                let asks = !keys.is_empty();
                let values = read::get_many(&self.handle, keys, budget, &deadline).await;
                self.note(asks, values)
            }
        }
    }

    /// The key's value, if it has one. The stream's leader answers, so every write that was acknowledged
    /// before is seen.
    ///
    /// # Errors
    ///
    /// Why the key could not be read.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-get").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.set_many(vec![("color".into(), "red".into())], within()).await?;
    /// assert_eq!(bucket.get("color", within()).await?, Some("red".into()));
    /// assert_eq!(bucket.get("size", within()).await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, key: &str, deadline: Deadline) -> Result<Option<Bytes>, Error> {
        self.note(true, read::read_leader(&self.handle, key, &deadline).await)
    }

    /// Whether the key has a value. The stream's leader answers, as for [`Bucket::get`].
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`].
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-exists").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.delete_many(vec!["color".into()], within()).await?;
    /// assert!(!bucket.exists("color", within()).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn exists(&self, key: &str, deadline: Deadline) -> Result<bool, Error> {
        self.note(true, read::exists(&self.handle, key, &deadline).await)
    }

    /// Adds `delta` to the number that is the key's value, and returns the sum. The value is decimal text;
    /// a key without a value counts as 0. Each increment is counted exactly once, through however many
    /// processes.
    ///
    /// # Errors
    ///
    /// [`Error::NotANumber`] or [`Error::Overflow`], which leave the value as it is; or why the key could
    /// not be read or written.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-increment").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.delete_many(vec!["visits".into()], within()).await?;
    /// assert_eq!(bucket.increment("visits", 1, within()).await?, 1);
    /// assert_eq!(bucket.increment("visits", 2, within()).await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn increment(&self, key: &str, delta: u64, deadline: Deadline) -> Result<u64, Error> {
        self.note(
            true,
            counter::increment(&self.handle, &self.counters, key, delta, &deadline).await,
        )
    }

    /// Sets the number that is the key's value to `new` if it is `old`, and answers whether it was. A
    /// key without a value counts as 0.
    ///
    /// # Errors
    ///
    /// [`Error::NotANumber`], or why the key could not be read or written.
    pub async fn compare_and_swap(
        &self,
        key: &str,
        old: u64,
        new: u64,
        deadline: Deadline,
    ) -> Result<bool, Error> {
        self.note(
            true,
            counter::compare_and_swap(&self.handle, &self.counters, key, old, new, &deadline).await,
        )
    }

    /// A page of the keys that have a value: those whose last message comes after the sequence `after` of
    /// the stream. Begin with 0, and go on with [`Page::next`].
    ///
    /// All pages together have every key that had a value all the while. A key that is written meanwhile
    /// may come twice.
    ///
    /// # Errors
    ///
    /// Why the bucket could not be listed.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-list-keys").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.set_many(vec![("color".into(), "red".into())], within()).await?;
    ///
    /// let mut keys = Vec::new();
    /// let mut next = Some(0);
    /// while let Some(after) = next {
    ///     let page = bucket.list_keys(after, within()).await?;
    ///     keys.extend(page.keys);
    ///     next = page.next;
    /// }
    /// assert_eq!(keys, ["color"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_keys(&self, after: u64, deadline: Deadline) -> Result<Page, Error> {
        let page = list::page(&self.handle, after, &deadline).await;
        if let Some(replica) = self.handle.replica() {
            replica.read_at_server();
        }
        self.note(true, page)
    }

    /// Every key that has a value, each once, in any order.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the bucket has more keys than [`Limits`] allow in one answer, or why the
    /// bucket could not be listed.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-keys").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.set_many(vec![("color".into(), "red".into())], within()).await?;
    /// assert_eq!(bucket.keys(within()).await?, ["color"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn keys(&self, deadline: Deadline) -> Result<Vec<String>, Error> {
        self.keys_within(&Unbounded, deadline).await
    }

    /// The same, if there is room for the answer in `budget`.
    ///
    /// # Errors
    ///
    /// As [`Bucket::keys`]; and [`Error::NoMemory`] as soon as `budget` refuses to grow.
    pub async fn keys_within(
        &self,
        budget: &dyn ResponseBudget,
        deadline: Deadline,
    ) -> Result<Vec<String>, Error> {
        match self.handle.replica().filter(|replica| replica.reads()) {
            Some(user) => replicated_reads::keys(&self.handle, user, budget, &deadline).await,
            None => self.note(true, list::keys(&self.handle, budget, &deadline).await),
        }
    }

    /// Sets each key to the last value given for it. Every write that was started has ended, one way or
    /// the other, when this returns. A write whose acknowledgement is lost is sent again with the same
    /// `Nats-Msg-Id`, so that the server drops the second copy.
    ///
    /// # Errors
    ///
    /// [`Error::Partial`] if the server did not acknowledge every write: the other writes are done, and
    /// nothing is rolled back.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-set-many").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// let entries = vec![("color".into(), "red".into()), ("size".into(), "9".into())];
    /// bucket.set_many(entries, within()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_many(
        &self,
        entries: Vec<(String, Bytes)>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let asks = !entries.is_empty();
        self.note(
            asks,
            write::set_many(&self.handle, entries, &deadline).await,
        )
    }

    /// Sets one key.
    ///
    /// # Errors
    ///
    /// Why the key could not be set.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-set").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.set("color".into(), "red".into(), within()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set(&self, key: String, value: Bytes, deadline: Deadline) -> Result<(), Error> {
        self.note(true, write::set(&self.handle, key, value, &deadline).await)
    }

    /// Deletes one key, by a delete marker (ADR-8). A key that does not exist is no error.
    ///
    /// # Errors
    ///
    /// Why the key could not be deleted.
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-delete").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.delete("color".into(), within()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, key: String, deadline: Deadline) -> Result<(), Error> {
        self.note(true, write::delete(&self.handle, key, &deadline).await)
    }

    /// Deletes each key, by a delete marker (ADR-8). A key that does not exist is no error.
    ///
    /// # Errors
    ///
    /// As [`Bucket::set_many`].
    ///
    /// # Examples
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let Some(bucket) = test_bucket("doc-delete-many").await else { return Ok(()) };
    /// let within = || Deadline::after(Duration::from_secs(2));
    /// bucket.delete_many(vec!["color".into(), "no-such-key".into()], within()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_many(&self, keys: Vec<String>, deadline: Deadline) -> Result<(), Error> {
        let asks = !keys.is_empty();
        self.note(
            asks,
            write::delete_many(&self.handle, keys, &deadline).await,
        )
    }

    /// Notes that the bucket is there if an operation that asks the server has succeeded.
    fn note<T>(&self, asks: bool, outcome: Result<T, Error>) -> Result<T, Error> {
        if asks && outcome.is_ok() {
            self.handle.note_answer();
        }
        outcome
    }
}
