//! What the readers of a replica and its task share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::copy::{ReplicaCopy, nanos};
use super::floors::ReplicaFloors;
use super::machine::{OffReason, Phase, ReplicaDemand};
use super::memory::ReplicaMemory;
use super::stats::{FallbackReason, ReplicaCounts};

/// How often the task is told that somebody still reads.
const TELL: Duration = Duration::from_secs(1);

/// How long a reader waits for the copy, at most. After that, the server is asked.
const WAIT: Duration = Duration::from_millis(100);

/// How long a reader waits for a message that was written, before the leader is asked about it.
const WAIT_FOR_MESSAGE: Duration = Duration::from_millis(3);

#[derive(Debug)]
pub(super) struct ReplicaState {
    /// Times of the replica are since then.
    origin: Instant,
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
    question: AtomicBool,
    /// Since when a question is without an answer, in nanoseconds and one more. 0: there is none.
    unanswered_since: AtomicU64,
    /// Wakes the task.
    pub(super) wanted: Notify,
    /// Wakes readers: the copy has changed.
    changed: Notify,
}

impl ReplicaState {
    pub(super) fn new(memory: Arc<ReplicaMemory>) -> Self {
        Self {
            origin: Instant::now(),
            copy: RwLock::default(),
            phase: Mutex::new(Phase::Off(OffReason::Unused)),
            logged: Mutex::default(),
            floors: ReplicaFloors::default(),
            counts: ReplicaCounts::default(),
            memory,
            users: Mutex::default(),
            next_user: AtomicU64::new(0),
            told: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            question: AtomicBool::new(false),
            unanswered_since: AtomicU64::new(0),
            wanted: Notify::new(),
            changed: Notify::new(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    pub(super) fn instant(&self, time: Duration) -> Instant {
        self.origin + time
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

    /// A copy that may be answered from: complete as of `since` or later, and with all that was written
    /// and read. Waits for it shortly.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) async fn usable(
        &self,
        since: Duration,
        latest: Instant,
    ) -> Result<Arc<ReplicaCopy>, FallbackReason> {
        self.tell_of_reader();
        if let Ok(copy) = self.usable_now(since) {
            return Ok(copy);
        }
        let until = (Instant::now() + WAIT).min(latest);
        let mut patience = (Instant::now() + WAIT_FOR_MESSAGE).min(until);
        let mut has_asked = false;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on, no change is missed.
            changed.as_mut().enable();
            let missing = match self.usable_now(since) {
                Ok(copy) => return Ok(copy),
                Err(missing) => missing,
            };
            match missing {
                Missing::Copy(reason) => return Err(reason),
                // The message is on its way.
                Missing::Message if !has_asked && Instant::now() < patience => {}
                Missing::Message | Missing::Question if has_asked => patience = until,
                Missing::Message | Missing::Question => {
                    has_asked = true;
                    patience = until;
                    self.question.store(true, Ordering::Release);
                    self.wanted.notify_one();
                }
            }
            let waited = timeout_at(patience, changed).await;
            if waited.is_err() && Instant::now() >= until {
                return Err(match missing {
                    Missing::Message => FallbackReason::Behind,
                    _ => FallbackReason::Stale,
                });
            }
        }
    }

    fn usable_now(&self, since: Duration) -> Result<Arc<ReplicaCopy>, Missing> {
        let Some(copy) = self.copy() else {
            return Err(Missing::Copy(match self.phase() {
                Phase::Off(OffReason::Unused) | Phase::Syncing => FallbackReason::Syncing,
                Phase::Off(_) => FallbackReason::Off,
                Phase::Live | Phase::Behind => FallbackReason::Behind,
            }));
        };
        let Some(as_of) = copy.complete_as_of() else {
            return Err(Missing::Copy(FallbackReason::Syncing));
        };
        if as_of >= since && self.floors.are_met(&copy) {
            return Ok(copy);
        }
        if self.phase() == Phase::Behind || self.is_unanswered() {
            return Err(Missing::Copy(FallbackReason::Stale));
        }
        Err(if as_of >= since && self.floors.time_is_met(&copy) {
            Missing::Message
        } else {
            Missing::Question
        })
    }

    /// Whether the leader has been silent for so long that waiting for it makes no sense.
    fn is_unanswered(&self) -> bool {
        match self.unanswered_since.load(Ordering::Relaxed) {
            0 => false,
            since => nanos(self.now()).saturating_sub(since) > nanos(WAIT),
        }
    }

    fn tell_of_reader(&self) {
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

/// What keeps a copy from being answered from now.
#[derive(Clone, Copy)]
enum Missing {
    /// Waiting does not help.
    Copy(FallbackReason),
    /// A message that was written or read.
    Message,
    /// The answer to a question to the leader.
    Question,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
