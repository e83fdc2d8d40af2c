//! A bucket as its callers see it: whole batches, within limits.

mod reads;
mod writes;

use std::sync::Arc;

use super::bucket_state::BucketState;
use super::concurrency::ConcurrencyLimit;
use super::connection::Connection;
use super::counter::Counters;
use super::deadline::Deadline;
use super::error::Error;
use super::keys::KeyEncoding;
use super::limits::Limits;
use super::read_settings::ReadNode;
use super::replica::{ReplicaSettings, ReplicaStats, Replicas};
use super::stream_info::BucketSpec;
use super::write_settings::WriteSettings;

/// A key-value bucket. Any number of calls may use it at once. Its [`ConcurrencyLimit`] bounds how
/// many key operations are in flight.
///
/// The bucket need not exist yet. Each operation asks the server if it has to. So a bucket that is
/// deleted and created again is found again.
#[derive(Debug)]
pub struct Bucket {
    state: Arc<BucketState>,
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
            state: Arc::new(BucketState::new(
                connection,
                spec,
                encoding,
                limits,
                concurrency,
            )),
            counters: Counters::default(),
        }
    }

    /// The same bucket with reads that may be answered from its replica: the copy of the bucket in
    /// this process's memory, and not a node of the stream's cluster.
    ///
    /// [`Bucket::get_many`] and [`Bucket::keys`] may. Single keys and counters are read from the
    /// stream's leader. Later reads see what is written through a bucket of the same `replicas`,
    /// connection and name. So a bucket whose own reads never use a copy
    /// ([`ReplicaMode::Off`](crate::ReplicaMode::Off)) should be made with this too.
    ///
    /// The first read starts a task that loads the copy, in the `tokio` runtime of that read.
    #[must_use]
    pub fn with_replica(self, replicas: &Replicas, settings: ReplicaSettings) -> Self {
        self.state.join_replica(replicas, settings);
        self
    }

    /// The same bucket with writes that are made in this way.
    #[must_use]
    pub fn with_write_settings(self, settings: WriteSettings) -> Self {
        self.state.set_write_settings(settings);
        self
    }

    /// The same bucket with another answer of [`Bucket::single_reads`]. [`Bucket::get`] and
    /// [`Bucket::exists`] ignore it: a front end passes it to [`Bucket::get_from`] and
    /// [`Bucket::exists_from`].
    #[must_use]
    pub fn with_single_reads(self, single_reads: ReadNode) -> Self {
        self.state.set_single_reads(single_reads);
        self
    }

    /// The same bucket with reads that are spread over these connections and its own. They have to
    /// be of the same server and login.
    ///
    /// A server takes the requests of one connection one by one. So a batch of many keys is read
    /// faster over two. Listing keys and writing use the bucket's own connection.
    #[must_use]
    pub fn with_further_connections(self, connections: Vec<Arc<Connection>>) -> Self {
        self.state.set_further_connections(connections);
        self
    }

    /// Which node is to answer reads of one key, where the caller leaves that to the bucket's
    /// settings. See [`Bucket::get_from`].
    #[must_use]
    pub fn single_reads(&self) -> ReadNode {
        self.state.single_reads()
    }

    /// The counts and the state of the copy. `None`: the bucket was made without
    /// [`Bucket::with_replica`].
    #[must_use]
    pub fn replica_stats(&self) -> Option<ReplicaStats> {
        Some(self.state.replica()?.stats())
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.name()
    }

    /// The limits of one batch.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.state.limits()
    }

    /// Succeeds if the bucket exists, or was created now.
    ///
    /// The server is not asked if it has answered for this bucket, in any operation, within the
    /// last ten seconds. If the bucket was deleted meanwhile, the next operation fails.
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
        self.state.open(&deadline).await
    }

    /// Marks the bucket as existing, if the server was asked and the operation has succeeded.
    fn mark_existing_if_ok<T>(
        &self,
        server_asked: bool,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        if server_asked && outcome.is_ok() {
            self.state.mark_existing();
        }
        outcome
    }
}
