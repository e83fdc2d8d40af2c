//! The one replica of a bucket and login, and its users.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::machine::{OffReason, Phase, ReplicaDemand};
use super::memory::ReplicaMemory;
use super::requests::ReplicaSource;
use super::run;
use super::state::ReplicaState;
use super::stats::{BucketCounts, ReplicaCounts, ReplicaStats};
use super::task_slot::TaskSlot;
use crate::connection::Connection;
use crate::stream_info::BucketSpec;

/// What a reader asks of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaMode {
    /// The server answers.
    Off,
    /// The copy answers if it is not older than allowed.
    Bounded,
    /// The copy answers after the leader has said that it is complete.
    Fresh,
}

/// How a bucket's reads use a copy in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// Whether they use one.
    pub mode: ReplicaMode,
    /// How old the copy may be, from 100 ms to an hour.
    pub staleness: Duration,
    /// How many bytes of memory the copy may take. If several users share a copy, the most that one
    /// of them allows.
    pub max_bytes: usize,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            mode: ReplicaMode::Off,
            staleness: Duration::from_secs(1),
            max_bytes: 64 * 1024 * 1024,
        }
    }
}

/// The copies of buckets in this process, and the bound on their memory.
///
/// Buckets of one connection and name share a copy, if they are made with the same `Replicas`.
#[derive(Debug)]
pub struct Replicas {
    memory: Arc<ReplicaMemory>,
    shared: Mutex<HashMap<ReplicaId, Weak<SharedReplica>>>,
    /// By the names of the buckets. None is ever removed.
    counts: Mutex<HashMap<String, Arc<BucketCounts>>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ReplicaId {
    /// The connection's address. A replica keeps its connection, so the address is not used again.
    connection: usize,
    domain: Option<String>,
    bucket: String,
}

impl Replicas {
    /// No copies yet. All of them together may take `max_bytes` of memory.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            memory: Arc::new(ReplicaMemory::new(max_bytes)),
            shared: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// About how many bytes of memory all copies take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.used()
    }

    /// The counts and the state of the copies of each bucket's name that was ever read from a copy.
    ///
    /// The counts only grow. The state is that of the copies that somebody reads: if there is none,
    /// it has no keys, no bytes and no age. Copies of buckets of the same name have different
    /// connections or domains; the age is that of the oldest.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<String, ReplicaStats> {
        let mut by_bucket: BTreeMap<String, ReplicaStats> = {
            let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let read = counts.iter();
            let read = read.filter_map(|(bucket, counts)| Some((bucket.clone(), counts.stats()?)));
            read.collect()
        };
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, replica) in shared.iter() {
            if let Some(replica) = replica.upgrade()
                && replica.state.demand().is_some()
                && let Some(stats) = by_bucket.get_mut(&id.bucket)
            {
                stats.add_state(&replica.stats());
            }
        }
        by_bucket
    }

    pub(crate) fn join(
        &self,
        connection: &Arc<Connection>,
        spec: &BucketSpec,
        source: ReplicaSource,
        settings: ReplicaSettings,
    ) -> ReplicaHandle {
        let id = ReplicaId {
            connection: Arc::as_ptr(connection).addr(),
            domain: spec.domain.clone(),
            bucket: spec.name.clone(),
        };
        let counts = self.counts_of(&spec.name);
        if settings.mode != ReplicaMode::Off {
            counts.note_reader();
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, replica| replica.strong_count() > 0);
        let replica = shared.get(&id).and_then(Weak::upgrade);
        let replica = replica.unwrap_or_else(|| {
            let replica = Arc::new(SharedReplica {
                state: Arc::new(ReplicaState::new(
                    Arc::clone(&self.memory),
                    ReplicaCounts::new(counts),
                )),
                connection: Arc::clone(connection),
                source,
                task: TaskSlot::default(),
            });
            shared.insert(id, Arc::downgrade(&replica));
            replica
        });
        ReplicaHandle::new(replica, settings)
    }

    fn counts_of(&self, bucket: &str) -> Arc<BucketCounts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get(bucket) {
            Some(counts) => Arc::clone(counts),
            None => Arc::clone(counts.entry(bucket.to_owned()).or_default()),
        }
    }
}

/// The replica of a bucket and login.
#[derive(Debug)]
struct SharedReplica {
    state: Arc<ReplicaState>,
    connection: Arc<Connection>,
    source: ReplicaSource,
    task: TaskSlot,
}

impl SharedReplica {
    /// Starts the task, if there is none.
    fn start(&self) {
        let spawn = |cancel| {
            tokio::spawn(run::run(
                Arc::clone(&self.state),
                Arc::clone(&self.connection),
                self.source.clone(),
                cancel,
            ))
        };
        self.task.start(spawn, || {
            tracing::error!(
                stream = self.source.stream,
                "the task that looks after a copy has ended; please report this"
            );
            self.state.publish(None, Phase::Off(OffReason::Ended), None);
        });
    }

    fn stats(&self) -> ReplicaStats {
        let state = &self.state;
        let copy = state.copy();
        let as_of = copy.as_ref().and_then(|copy| copy.complete_as_of());
        ReplicaStats {
            keys: copy.as_ref().map_or(0, |copy| copy.map.len()),
            bytes: copy.as_ref().map_or(0, |copy| copy.map.memory()),
            age: as_of.map(|as_of| state.now().saturating_sub(as_of)),
            off: match state.phase() {
                Phase::Off(reason) => Some(reason.text()),
                _ => None,
            },
            ..state.counts.stats()
        }
    }
}

/// A bucket's use of a replica.
#[derive(Debug)]
pub(crate) struct ReplicaHandle {
    replica: Arc<SharedReplica>,
    settings: ReplicaSettings,
    /// Its number among the users that read.
    number: Option<u64>,
}

impl ReplicaHandle {
    fn new(replica: Arc<SharedReplica>, settings: ReplicaSettings) -> Self {
        let number = (settings.mode != ReplicaMode::Off).then(|| {
            replica.state.join(ReplicaDemand {
                staleness: settings.staleness,
                max_bytes: settings.max_bytes,
            })
        });
        Self {
            replica,
            settings,
            number,
        }
    }

    /// Whether reads use the copy.
    pub(crate) fn is_read_enabled(&self) -> bool {
        self.number.is_some()
    }

    pub(super) fn settings(&self) -> &ReplicaSettings {
        &self.settings
    }

    /// Starts the replica's task if it does not run. Returns what the task and its readers share.
    pub(super) fn start_task(&self) -> &Arc<ReplicaState> {
        self.replica.start();
        &self.replica.state
    }

    /// Records that the server has answered a read, or may have carried out a write whose outcome
    /// is unknown. The copy answers only once it is complete as of a later time than now.
    pub(crate) fn raise_floor_to_now(&self) {
        // A copy that is begun later is complete as of a later question.
        let state = &self.replica.state;
        if state.copy().is_some() {
            state.floors.raise_complete_after(state.now());
        }
    }

    /// What the replica's task and its readers share. The task need not run.
    pub(super) fn state(&self) -> &ReplicaState {
        &self.replica.state
    }

    pub(crate) fn stats(&self) -> ReplicaStats {
        self.replica.stats()
    }
}

impl Drop for ReplicaHandle {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.replica.state.leave(number);
            if self.replica.state.demand().is_none() {
                self.replica.task.stop();
            }
        }
    }
}
