//! The state of one bucket, which its operations share: the connection, key rules, limits and the
//! cached stream info.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::jetstream::Context;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::bucket_options::BucketOptions;
use super::concurrency::ConcurrencyLimit;
use super::connection::Connection;
use super::deadline::Deadline;
use super::error::{BucketFeature, Error, FeatureProblem, Kind};
use super::keys::KeyEncoding;
use super::limits::Limits;
use super::read_settings::ReadNode;
use super::replica::{ReplicaHandle, ReplicaSource};
use super::stream_info::{self, BucketSpec, StreamInfo};
use super::tuning;
use super::write_settings::WriteSettings;

/// For how long a bucket counts as there after the server has answered for it.
const KNOWN_TO_EXIST: Duration = Duration::from_secs(10);

/// One bucket. Its stream info is fetched when it is first needed, and again when the stream no
/// longer answers. So the bucket may be missing at first, and may be deleted and created again.
#[derive(Debug)]
pub(crate) struct BucketState {
    connection: Arc<Connection>,
    spec: BucketSpec,
    encoding: KeyEncoding,
    limits: Limits,
    concurrency: Arc<ConcurrencyLimit>,
    writes: WriteSettings,
    single_reads: ReadNode,
    /// The connections that reads use beside the bucket's own.
    further_connections: Vec<Arc<Connection>>,
    /// How many reads have chosen a connection.
    reads_started: AtomicUsize,
    /// A permit for each atomic batch under way.
    atomic_batches: Arc<Semaphore>,
    /// The handle of the copy in memory. A bucket whose own reads never use the copy has it too: what
    /// it reads and writes raises the floors for the reads of others.
    replica: Option<ReplicaHandle>,
    cached: RwLock<Option<Arc<StreamInfo>>>,
    /// The last fetch of the stream info. Locked during a fetch, so that waiting calls share it.
    last_fetch: Mutex<Option<Fetch>>,
    /// When the server last answered for the bucket: with its stream info, or in an operation.
    last_answer: RwLock<Option<Instant>>,
}

#[derive(Debug)]
struct Fetch {
    started: Instant,
    outcome: Result<Arc<StreamInfo>, Error>,
}

impl BucketState {
    pub(crate) fn new(
        connection: Arc<Connection>,
        spec: BucketSpec,
        encoding: KeyEncoding,
        limits: Limits,
        concurrency: Arc<ConcurrencyLimit>,
        options: BucketOptions<'_>,
    ) -> Self {
        let replica = options.replica.map(|(replicas, settings)| {
            let source = ReplicaSource {
                api_prefix: stream_info::api_prefix(&spec),
                stream: stream_info::stream_of(&spec.name),
                prefix: format!("$KV.{}.", spec.name),
            };
            replicas.join(&connection, &spec, source, settings)
        });
        Self {
            connection,
            spec,
            encoding,
            limits,
            concurrency,
            writes: options.writes,
            single_reads: options.single_reads,
            further_connections: options.further_connections,
            reads_started: AtomicUsize::new(0),
            atomic_batches: Arc::new(Semaphore::new(tuning::ATOMIC_BATCHES)),
            replica,
            cached: RwLock::default(),
            last_fetch: Mutex::default(),
            last_answer: RwLock::default(),
        }
    }

    pub(crate) fn write_settings(&self) -> WriteSettings {
        self.writes
    }

    pub(crate) fn single_reads(&self) -> ReadNode {
        self.single_reads
    }

    /// How many connections reads are spread over.
    pub(crate) fn read_connections(&self) -> usize {
        1 + self.further_connections.len()
    }

    /// The connection for the next request that reads. The connections take turns. One that is down
    /// is left out, unless all are.
    pub(crate) fn next_read_connection(&self) -> &Connection {
        let further = &self.further_connections;
        if further.is_empty() {
            return &self.connection;
        }
        let count = 1 + further.len();
        let turn = self.reads_started.fetch_add(1, Ordering::Relaxed);
        let mut in_turn = (0..count).map(|n| {
            let index = turn.wrapping_add(n) % count;
            further.get(index).unwrap_or(&self.connection)
        });
        let is_up = |connection: &&Arc<Connection>| connection.is_up();
        in_turn.find(is_up).unwrap_or(&self.connection)
    }

    /// A permit for each atomic batch under way.
    pub(crate) fn atomic_batches(&self) -> Arc<Semaphore> {
        Arc::clone(&self.atomic_batches)
    }

    pub(crate) fn replica(&self) -> Option<&ReplicaHandle> {
        self.replica.as_ref()
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(crate) fn is_created_if_missing(&self) -> bool {
        self.spec.create.is_some()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Waits until there is a connection to the server.
    pub(crate) async fn wait_connected(&self, deadline: &Deadline) -> Result<(), Error> {
        self.connection
            .wait_connected(&self.spec.name, deadline)
            .await
    }

    /// The error of a call whose time is over: the best reason that is known.
    pub(crate) fn no_answer_error(&self, deadline: &Deadline) -> Error {
        self.connection.no_answer_error(&self.spec.name, deadline)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A JetStream client for the bucket's domain.
    pub(crate) fn context(&self) -> Context {
        stream_info::context(&self.connection, &self.spec)
    }

    pub(crate) fn encoding(&self) -> KeyEncoding {
        self.encoding
    }

    pub(crate) fn concurrency(&self) -> &ConcurrencyLimit {
        &self.concurrency
    }

    /// The stream info, cached or fetched now.
    pub(crate) async fn stream_info(&self, deadline: &Deadline) -> Result<Arc<StreamInfo>, Error> {
        match self.cached() {
            Some(info) => Ok(info),
            None => self.refresh_stream_info(None, deadline).await,
        }
    }

    /// The cached stream info, if `suits` holds for it. Otherwise the stream info is fetched again
    /// (the bucket may have been changed), and returned whether `suits` holds or not.
    pub(crate) async fn stream_info_refreshed_unless(
        &self,
        suits: impl Fn(&StreamInfo) -> bool,
        deadline: &Deadline,
    ) -> Result<Arc<StreamInfo>, Error> {
        let info = self.stream_info(deadline).await?;
        if suits(&info) {
            return Ok(info);
        }
        self.refresh_stream_info(Some(&info), deadline).await
    }

    /// Fetches the stream info again, unless another call has done so since `stale` was fetched.
    pub(crate) async fn refresh_stream_info(
        &self,
        stale: Option<&Arc<StreamInfo>>,
        deadline: &Deadline,
    ) -> Result<Arc<StreamInfo>, Error> {
        let called = Instant::now();
        let Ok(mut last) = timeout_at(deadline.send_deadline(), self.last_fetch.lock()).await
        else {
            return Err(self.no_answer_error(deadline));
        };
        if let Some(fetch) = &*last
            && fetch.started >= called
        {
            return fetch.outcome.clone();
        }
        let cached = self.cached();
        if let Some(info) = &cached
            && stale.is_none_or(|stale| !Arc::ptr_eq(stale, info))
        {
            return Ok(Arc::clone(info));
        }
        let started = Instant::now();
        let outcome = stream_info::fetch_or_create(&self.connection, &self.spec, deadline)
            .await
            .map(|mut info| {
                if let Some(before) = &cached {
                    info.share_quarantine(before);
                }
                Arc::new(info)
            });
        match &outcome {
            Ok(info) => {
                self.note_answer();
                self.warn_of_differences(stale.map(Arc::as_ref), info);
            }
            // This error is about this call's time, and not about the bucket. So it is not cached.
            Err(error) if error.kind() == Kind::Unavailable => return outcome,
            Err(_) => {}
        }
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) =
            outcome.as_ref().ok().map(Arc::clone);
        *last = Some(Fetch {
            started,
            outcome: outcome.clone(),
        });
        outcome
    }

    /// The stream info, if the bucket can do this.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`], or why the stream info could not be fetched.
    pub(crate) async fn require(
        &self,
        feature: BucketFeature,
        deadline: &Deadline,
    ) -> Result<Arc<StreamInfo>, Error> {
        let can = |info: &StreamInfo| info.problem(feature).is_none();
        let info = self.stream_info_refreshed_unless(can, deadline).await?;
        match info.problem(feature) {
            None => Ok(info),
            Some(problem) => Err(self.unsupported(feature, problem)),
        }
    }

    /// Succeeds if the bucket takes writes.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], or why the stream info could not be fetched.
    pub(crate) async fn require_writes(&self, deadline: &Deadline) -> Result<(), Error> {
        let takes_writes = |info: &StreamInfo| info.takes_writes && !info.is_outdated_for_writes();
        let info = self
            .stream_info_refreshed_unless(takes_writes, deadline)
            .await?;
        if info.takes_writes {
            Ok(())
        } else {
            let bucket = self.spec.name.clone();
            Err(Error::ReadOnly { bucket })
        }
    }

    /// The error that the bucket cannot do this.
    pub(crate) fn unsupported(&self, feature: BucketFeature, problem: FeatureProblem) -> Error {
        let problem = match problem {
            // If the server is too old, that is the real reason: none of its buckets allows it.
            FeatureProblem::NotAllowed | FeatureProblem::OldLeader => {
                FeatureProblem::of_server(feature, &self.connection.client()).unwrap_or(problem)
            }
            problem => problem,
        };
        Error::Unsupported {
            bucket: self.spec.name.clone(),
            feature,
            problem,
        }
    }

    /// Succeeds if the bucket exists. The server is asked, unless it has answered for the bucket
    /// within the last ten seconds.
    pub(crate) async fn open(&self, deadline: &Deadline) -> Result<(), Error> {
        let cached = self.cached();
        if cached.is_some() && self.is_known_to_exist() && self.connection.is_up() {
            return Ok(());
        }
        self.refresh_stream_info(cached.as_ref(), deadline)
            .await
            .map(drop)
    }

    /// Marks the bucket as existing now, because the server has just answered for it.
    pub(crate) fn note_answer(&self) {
        self.note_answer_as_of(Instant::now());
    }

    /// Marks the bucket as existing at this time, unless it is known to have existed later.
    pub(crate) fn note_answer_as_of(&self, time: Instant) {
        let mut last = self
            .last_answer
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(Some(time));
    }

    fn is_known_to_exist(&self) -> bool {
        let last = *self
            .last_answer
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < KNOWN_TO_EXIST)
    }

    /// Whether a message of the bucket is known to break the NATS client's parser.
    pub(crate) fn is_under_quarantine(&self) -> bool {
        self.cached()
            .is_some_and(|info| info.quarantine.is_active())
    }

    /// Warns once if the bucket exists with other settings than the spec asks for.
    fn warn_of_differences(&self, before: Option<&StreamInfo>, now: &StreamInfo) {
        let known = before.map_or("", |info| info.differences.as_str());
        if !now.differences.is_empty() && now.differences != known {
            tracing::warn!(
                bucket = self.spec.name,
                differences = now.differences,
                "the bucket exists with other settings than it would be created with; it is used \
                 as it is"
            );
        }
    }

    fn cached(&self) -> Option<Arc<StreamInfo>> {
        self.cached
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
