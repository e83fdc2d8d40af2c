//! A bucket as its callers see it: whole batches, within limits.

mod reads;
mod writes;

use std::sync::Arc;

use super::bucket_options::BucketOptions;
use super::bucket_state::BucketState;
use super::concurrency::ConcurrencyLimit;
use super::connection::Connection;
use super::counter::Counters;
use super::deadline::Deadline;
use super::error::Error;
use super::keys::KeyEncoding;
use super::limits::Limits;
use super::read_settings::ReadNode;
use super::replica::ReplicaStats;
use super::stream_info::BucketSpec;

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
    /// A bucket with the default options, whose operations share `concurrency` with other buckets.
    #[must_use]
    pub fn new(
        connection: Arc<Connection>,
        spec: BucketSpec,
        encoding: KeyEncoding,
        limits: Limits,
        concurrency: Arc<ConcurrencyLimit>,
    ) -> Self {
        let options = BucketOptions::default();
        Self::with_options(connection, spec, encoding, limits, concurrency, options)
    }

    /// A bucket with these options, whose operations share `concurrency` with other buckets.
    #[must_use]
    pub fn with_options(
        connection: Arc<Connection>,
        spec: BucketSpec,
        encoding: KeyEncoding,
        limits: Limits,
        concurrency: Arc<ConcurrencyLimit>,
        options: BucketOptions<'_>,
    ) -> Self {
        let state = BucketState::new(connection, spec, encoding, limits, concurrency, options);
        Self {
            state: Arc::new(state),
            counters: Counters::default(),
        }
    }

    /// Which node is to answer reads of one key, where the caller leaves that to the bucket's
    /// settings. See [`Bucket::get_from`].
    #[must_use]
    pub fn single_reads(&self) -> ReadNode {
        self.state.single_reads()
    }

    /// The counts and the state of the copy. `None`: the bucket was made without
    /// [`BucketOptions::replica`].
    #[must_use]
    pub fn replica_stats(&self) -> Option<ReplicaStats> {
        Some(self.state.replica()?.stats())
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.name()
    }

    /// Whether the first operation creates the bucket if it does not exist
    /// ([`BucketSpec::create`]).
    #[must_use]
    pub fn is_created_if_missing(&self) -> bool {
        self.state.is_created_if_missing()
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

    /// Notes when the server has last answered for the bucket, if it was asked and the operation has
    /// succeeded. For a while, [`Self::open`] then does not ask it.
    fn note_answer_if_ok<T>(
        &self,
        server_asked: bool,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        if server_asked && outcome.is_ok() {
            self.state.note_answer();
        }
        outcome
    }
}
