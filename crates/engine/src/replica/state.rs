//! What the readers of a replica and its task share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::ReplicaClock;
use super::copy::{ReplicaCopy, nanos};
use super::floors::ReplicaFloors;
use super::machine::{OffReason, Phase, ReplicaDemand};
use super::memory::ReplicaMemory;
use super::stats::ReplicaCounts;

/// How often the task is told that somebody still reads.
const TELL: Duration = Duration::from_secs(1);

/// How long a reader waits for the copy, at most. After that, the server is asked.
pub(super) const WAIT: Duration = Duration::from_millis(100);

/// How often readers that do not wait ask for a question, at most.
const RETRY: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct ReplicaState {
    /// Times of the replica are by this clock.
    clock: ReplicaClock,
    copy: RwLock<Option<Arc<ReplicaCopy>>>,
    phase: Mutex<Phase>,
    /// Why there was no copy, as the log has it.
    logged: Mutex<Option<OffReason>>,
    pub(super) floors: ReplicaFloors,
    pub(super) counts: ReplicaCounts,
    pub(super) memory: Arc<ReplicaMemory>,
    /// What each user asks for.
    users: Mutex<HashMap<u64, ReplicaDemand>>,
    next_user: AtomicU64,
    /// When the task was last told that somebody reads, in nanoseconds.
    told: AtomicU64,
    /// When the copy last answered, in nanoseconds and one more. 0: it has not.
    answered: AtomicU64,
    /// Whether a question to the leader is wanted.
    pub(super) question: AtomicBool,
    /// Whether a reader has found that the bucket cannot be read by a consumer.
    quarantined: AtomicBool,
    /// Since when a question is without an answer, in nanoseconds and one more. 0: there is none.
    unanswered_since: AtomicU64,
    /// When a reader waited in vain for the copy, in nanoseconds and one more. Readers do not wait until
    /// the copy has been completed in good time again. 0: it has been.
    failed: AtomicU64,
    /// When a reader that does not wait last asked for a question, in nanoseconds.
    retried: AtomicU64,
    /// Wakes the task.
    pub(super) wanted: Notify,
    /// Wakes readers: the copy has changed.
    pub(super) changed: Notify,
}

impl ReplicaState {
    pub(super) fn new(memory: Arc<ReplicaMemory>, counts: ReplicaCounts) -> Self {
        Self {
            clock: ReplicaClock::start(),
            copy: RwLock::default(),
            phase: Mutex::new(Phase::Off(OffReason::Unused)),
            logged: Mutex::default(),
            floors: ReplicaFloors::default(),
            counts,
            memory,
            users: Mutex::default(),
            next_user: AtomicU64::new(0),
            told: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            question: AtomicBool::new(false),
            quarantined: AtomicBool::new(false),
            unanswered_since: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            wanted: Notify::new(),
            changed: Notify::new(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    pub(super) fn instant(&self, time: Duration) -> Instant {
        self.clock.instant(time)
    }

    pub(super) fn copy(&self) -> Option<Arc<ReplicaCopy>> {
        let copy = self.copy.read().unwrap_or_else(PoisonError::into_inner);
        copy.clone()
    }

    pub(super) fn phase(&self) -> Phase {
        *lock(&self.phase)
    }

    /// Shows readers what the task knows. Returns the phase of before.
    pub(super) fn publish(
        &self,
        copy: Option<&Arc<ReplicaCopy>>,
        phase: Phase,
        unanswered_since: Option<Duration>,
    ) -> Phase {
        let is_same = match (
            &*self.copy.read().unwrap_or_else(PoisonError::into_inner),
            copy,
        ) {
            (Some(shown), Some(copy)) => Arc::ptr_eq(shown, copy),
            (shown, copy) => shown.is_none() && copy.is_none(),
        };
        if !is_same {
            *self.copy.write().unwrap_or_else(PoisonError::into_inner) = copy.cloned();
        }
        if let Some(copy) = copy {
            self.floors.forget_met(copy);
            self.recover(copy);
        }
        let unanswered = unanswered_since.map_or(0, |since| nanos(since).saturating_add(1));
        self.unanswered_since.store(unanswered, Ordering::Relaxed);
        let before = std::mem::replace(&mut *lock(&self.phase), phase);
        self.changed.notify_waiters();
        before
    }

    /// Whether the log does not have yet that there is no copy for this reason.
    pub(super) fn is_news(&self, reason: OffReason) -> bool {
        reason != OffReason::Unused && lock(&self.logged).replace(reason) != Some(reason)
    }

    /// Takes note that there is a copy again.
    pub(super) fn forget_news(&self) {
        *lock(&self.logged) = None;
    }

    /// Adds a user, and returns its number.
    pub(super) fn join(&self, demand: ReplicaDemand) -> u64 {
        let user = self.next_user.fetch_add(1, Ordering::Relaxed);
        lock(&self.users).insert(user, demand);
        self.wanted.notify_one();
        user
    }

    pub(super) fn leave(&self, user: u64) {
        lock(&self.users).remove(&user);
    }

    /// What satisfies every user; `None` if there is none.
    pub(super) fn demand(&self) -> Option<ReplicaDemand> {
        let users = lock(&self.users);
        Some(ReplicaDemand {
            staleness: users.values().map(|user| user.staleness).min()?,
            max_bytes: users.values().map(|user| user.max_bytes).max()?,
        })
    }

    /// Takes note that the copy has answered.
    pub(super) fn hit(&self) {
        let now = nanos(self.now()).saturating_add(1);
        self.answered.store(now, Ordering::Relaxed);
        self.counts.hit();
    }

    /// Whether the copy has answered lately.
    pub(super) fn has_answered_within(&self, time: Duration) -> bool {
        match self.answered.load(Ordering::Relaxed) {
            0 => false,
            at => nanos(self.now()).saturating_sub(at) < nanos(time),
        }
    }

    /// Whether somebody wants a question since this was last asked.
    pub(super) fn take_question(&self) -> bool {
        self.question.swap(false, Ordering::AcqRel)
    }

    /// Takes note that a message of the bucket breaks the client's parser.
    pub(super) fn quarantine(&self) {
        if !self.quarantined.swap(true, Ordering::AcqRel) {
            self.wanted.notify_one();
        }
    }

    /// Whether a reader has said so since this was last asked.
    pub(super) fn take_quarantine(&self) -> bool {
        self.quarantined.swap(false, Ordering::AcqRel)
    }

    /// Takes note that a reader has waited in vain for the copy.
    pub(super) fn fail(&self) {
        let now = nanos(self.now()).saturating_add(1);
        self.failed.store(now, Ordering::Relaxed);
    }

    /// Whether to wait for the copy makes no sense.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed) > 0
    }

    /// Whether a reader that does not wait is to ask for a question.
    pub(super) fn is_retry_due(&self) -> bool {
        let now = nanos(self.now());
        let retried = self.retried.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(retried) > nanos(RETRY);
        if is_due {
            self.retried.store(now, Ordering::Relaxed);
        }
        is_due
    }

    /// Lets readers wait for the copy again, if it has just been completed in good time.
    fn recover(&self, copy: &ReplicaCopy) {
        let failed = self.failed.load(Ordering::Relaxed);
        if failed > 0
            && let Some(as_of) = copy.complete_as_of()
            && nanos(as_of) >= failed
            && self.now().saturating_sub(as_of) < WAIT
        {
            self.failed.store(0, Ordering::Relaxed);
        }
    }

    /// Since when a question to the leader is without an answer.
    pub(super) fn unanswered_since(&self) -> Option<Duration> {
        let since = self.unanswered_since.load(Ordering::Relaxed);
        since.checked_sub(1).map(Duration::from_nanos)
    }

    pub(super) fn tell_of_reader(&self) {
        let now = nanos(self.now()).max(1);
        let told = self.told.load(Ordering::Relaxed);
        if told == 0 || now.saturating_sub(told) > nanos(TELL) {
            self.told.store(now, Ordering::Relaxed);
            self.wanted.notify_one();
        }
    }

    /// Whether anybody has read since the task was told.
    pub(super) fn has_readers(&self) -> bool {
        self.told.load(Ordering::Relaxed) > 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
