//! What the readers of a replica and its task share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::atomic_time::AtomicTime;
use super::clock::ReplicaClock;
use super::copy::ReplicaCopy;
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
    /// The last reason in the log why there was no copy.
    logged: Mutex<Option<OffReason>>,
    pub(super) floors: ReplicaFloors,
    pub(super) counts: ReplicaCounts,
    pub(super) memory: Arc<ReplicaMemory>,
    /// What each user asks for.
    users: Mutex<HashMap<u64, ReplicaDemand>>,
    next_user: AtomicU64,
    /// When the task was last told that somebody reads.
    reader_reported_at: AtomicTime,
    /// When the copy last answered.
    answered_at: AtomicTime,
    /// Whether a question to the leader is wanted.
    pub(super) question_wanted: AtomicBool,
    /// Whether a reader has found that the bucket cannot be read by a consumer.
    quarantined: AtomicBool,
    /// When the oldest question without an answer was sent.
    unanswered_since: AtomicTime,
    /// When a reader waited in vain for the copy. Readers do not wait again until the copy has been
    /// completed in good time; that clears this.
    wait_failed_at: AtomicTime,
    /// When a reader that does not wait last asked for a question.
    retry_asked_at: AtomicTime,
    /// Wakes the task.
    pub(super) wake_task: Notify,
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
            reader_reported_at: AtomicTime::default(),
            answered_at: AtomicTime::default(),
            question_wanted: AtomicBool::new(false),
            quarantined: AtomicBool::new(false),
            unanswered_since: AtomicTime::default(),
            wait_failed_at: AtomicTime::default(),
            retry_asked_at: AtomicTime::default(),
            wake_task: Notify::new(),
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
        self.unanswered_since.set(unanswered_since);
        let before = std::mem::replace(&mut *lock(&self.phase), phase);
        self.changed.notify_waiters();
        before
    }

    /// Whether the log does not have yet that there is no copy for this reason.
    pub(super) fn is_news(&self, reason: OffReason) -> bool {
        reason != OffReason::Unused && lock(&self.logged).replace(reason) != Some(reason)
    }

    /// Records that there is a copy again.
    pub(super) fn forget_news(&self) {
        *lock(&self.logged) = None;
    }

    /// Adds a user, and returns its number.
    pub(super) fn join(&self, demand: ReplicaDemand) -> u64 {
        let user = self.next_user.fetch_add(1, Ordering::Relaxed);
        lock(&self.users).insert(user, demand);
        self.wake_task.notify_one();
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

    /// Records that the copy has answered.
    pub(super) fn hit(&self) {
        self.answered_at.set(Some(self.now()));
        self.counts.hit();
    }

    /// Whether the copy has answered lately.
    pub(super) fn has_answered_within(&self, time: Duration) -> bool {
        let answered_at = self.answered_at.get();
        answered_at.is_some_and(|at| self.now().saturating_sub(at) < time)
    }

    /// Whether somebody wants a question since this was last asked.
    pub(super) fn take_question(&self) -> bool {
        self.question_wanted.swap(false, Ordering::AcqRel)
    }

    /// Records that a message of the bucket breaks the client's parser.
    pub(super) fn quarantine(&self) {
        if !self.quarantined.swap(true, Ordering::AcqRel) {
            self.wake_task.notify_one();
        }
    }

    /// Whether a reader has said so since this was last asked.
    pub(super) fn take_quarantine(&self) -> bool {
        self.quarantined.swap(false, Ordering::AcqRel)
    }

    /// Records that a reader has waited in vain for the copy.
    pub(super) fn note_wait_failed(&self) {
        self.wait_failed_at.set(Some(self.now()));
    }

    /// Whether readers do not wait for the copy now, because one has waited in vain.
    pub(super) fn skips_waiting(&self) -> bool {
        self.wait_failed_at.get().is_some()
    }

    /// Whether it is time to have the leader asked again. If so, notes that this is done now.
    pub(super) fn take_retry(&self) -> bool {
        let now = self.now();
        let asked_at = self.retry_asked_at.get();
        let is_due = asked_at.is_none_or(|at| now.saturating_sub(at) > RETRY);
        if is_due {
            self.retry_asked_at.set(Some(now));
        }
        is_due
    }

    /// Lets readers wait for the copy again, if it has just been completed in good time.
    fn recover(&self, copy: &ReplicaCopy) {
        if let Some(failed_at) = self.wait_failed_at.get()
            && let Some(as_of) = copy.complete_as_of()
            && as_of > failed_at
            && self.now().saturating_sub(as_of) < WAIT
        {
            self.wait_failed_at.set(None);
        }
    }

    /// When the oldest question to the leader that has no answer was sent.
    pub(super) fn unanswered_since(&self) -> Option<Duration> {
        self.unanswered_since.get()
    }

    pub(super) fn tell_of_reader(&self) {
        let now = self.now();
        let reported_at = self.reader_reported_at.get();
        if reported_at.is_none_or(|at| now.saturating_sub(at) > TELL) {
            self.reader_reported_at.set(Some(now));
            self.wake_task.notify_one();
        }
    }

    /// Whether anybody has read since the task was told.
    pub(super) fn has_readers(&self) -> bool {
        self.reader_reported_at.get().is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
