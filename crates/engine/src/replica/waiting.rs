//! Waiting until the copy may answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::copy::ReplicaCopy;
use super::floors::Floors;
use super::machine::{OffReason, Phase};
use super::state::{ReplicaState, WAIT};
use super::stats::FallbackReason;

/// How long a reader waits for a message that was written, before the leader is asked about it.
const WAIT_FOR_MESSAGE: Duration = Duration::from_millis(3);

/// What keeps a copy from answering now.
#[derive(Clone, Copy)]
enum Missing {
    /// More than waiting brings in time.
    Hopeless(FallbackReason),
    /// A message that was written or read.
    Message,
    /// The answer to a question to the leader.
    Question,
}

impl Missing {
    fn reason(self) -> FallbackReason {
        match self {
            Self::Hopeless(reason) => reason,
            Self::Message => FallbackReason::Behind,
            Self::Question => FallbackReason::Stale,
        }
    }
}

impl ReplicaState {
    /// A copy that may answer: complete as of `required_as_of` or later, and with all that was
    /// written and read when the call began. Waits for it shortly, at most until `wait_until`.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) async fn usable(
        &self,
        required_as_of: Duration,
        floors: &Floors,
        wait_until: Instant,
    ) -> Result<Arc<ReplicaCopy>, FallbackReason> {
        self.tell_of_reader();
        let missing = match self.usable_now(required_as_of, floors) {
            Ok(copy) => return Ok(copy),
            Err(missing) => missing,
        };
        if self.skips_waiting() && !matches!(missing, Missing::Hopeless(_)) {
            if self.take_retry() {
                self.want_question();
            }
            return Err(missing.reason());
        }
        let until = (Instant::now() + WAIT).min(wait_until);
        let mut patience = (Instant::now() + WAIT_FOR_MESSAGE).min(until);
        let mut has_asked = false;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on, no change is missed.
            changed.as_mut().enable();
            let missing = match self.usable_now(required_as_of, floors) {
                Ok(copy) => return Ok(copy),
                Err(missing) => missing,
            };
            match missing {
                Missing::Hopeless(reason) => return Err(reason),
                // The message is on its way.
                Missing::Message if !has_asked && Instant::now() < patience => {}
                Missing::Message | Missing::Question if has_asked => patience = until,
                Missing::Message | Missing::Question => {
                    has_asked = true;
                    patience = until;
                    self.want_question();
                }
            }
            let waited = timeout_at(patience, changed).await;
            if waited.is_err() && Instant::now() >= until {
                self.note_wait_failed();
                return Err(missing.reason());
            }
        }
    }

    /// Has the leader asked.
    pub(super) fn want_question(&self) {
        self.question_wanted.store(true, Ordering::Release);
        self.wake_task.notify_one();
    }

    fn usable_now(
        &self,
        required_as_of: Duration,
        floors: &Floors,
    ) -> Result<Arc<ReplicaCopy>, Missing> {
        let Some(copy) = self.copy() else {
            return Err(Missing::Hopeless(match self.phase() {
                Phase::Off(OffReason::Unused) | Phase::Syncing => FallbackReason::Syncing,
                Phase::Off(_) => FallbackReason::Off,
                Phase::Live | Phase::Behind => FallbackReason::Behind,
            }));
        };
        let Some(as_of) = copy.complete_as_of() else {
            return Err(Missing::Hopeless(FallbackReason::Syncing));
        };
        if as_of >= required_as_of && floors.are_met(&copy) {
            return Ok(copy);
        }
        if self.phase() == Phase::Behind || self.is_unanswered() {
            return Err(Missing::Hopeless(FallbackReason::Stale));
        }
        Err(
            if as_of >= required_as_of && floors.complete_after_is_met(&copy) {
                Missing::Message
            } else {
                Missing::Question
            },
        )
    }

    /// Whether the leader has been silent for so long that waiting for it makes no sense.
    fn is_unanswered(&self) -> bool {
        let since = self.unanswered_since();
        since.is_some_and(|since| self.now().saturating_sub(since) > WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::memory::ReplicaMemory;
    use crate::replica::stats::ReplicaCounts;

    /// A live copy of now, and no task that looks after it.
    fn live() -> (Arc<ReplicaState>, Arc<ReplicaCopy>) {
        let memory = Arc::new(ReplicaMemory::new(1000));
        let state = Arc::new(ReplicaState::new(
            Arc::clone(&memory),
            ReplicaCounts::default(),
        ));
        let copy = Arc::new(ReplicaCopy::begin(&memory, 0).unwrap());
        copy.complete(state.now());
        state.publish(Some(&copy), Phase::Live, None);
        (state, copy)
    }

    async fn read(state: &ReplicaState) -> (Result<(), FallbackReason>, Duration) {
        let begun = Instant::now();
        let (required_as_of, floors) = (state.now(), state.floors.now());
        let usable = state.usable(required_as_of, &floors, begun + Duration::from_secs(30));
        (usable.await.map(drop), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_does_not_become_complete_is_waited_for_once() {
        let (state, copy) = live();
        let (usable, waited) = read(&state).await;
        assert_eq!(usable, Err(FallbackReason::Stale));
        assert!(waited >= WAIT, "{waited:?}");
        for _ in 0..10 {
            let (usable, waited) = read(&state).await;
            assert_eq!(usable, Err(FallbackReason::Stale));
            assert!(waited < WAIT / 10, "{waited:?}");
        }
        // An answer that took too long proves nothing.
        let asked = state.now();
        tokio::time::advance(WAIT * 2).await;
        copy.complete(asked);
        state.publish(Some(&copy), Phase::Live, None);
        assert!(read(&state).await.1 < WAIT / 10);
        copy.complete(state.now());
        state.publish(Some(&copy), Phase::Live, None);
        tokio::time::advance(WAIT / 100).await;
        assert!(read(&state).await.1 >= WAIT, "it is waited for again");
    }

    #[tokio::test(start_paused = true)]
    async fn steady_writes_do_not_keep_a_reader_waiting() {
        let (state, copy) = live();
        let writer = {
            let (state, copy) = (Arc::clone(&state), Arc::clone(&copy));
            async move {
                for sequence in 1.. {
                    state.floors.raise_to(sequence, 0, Some(&copy), state.now());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    // The message comes when the next one has been written.
                    state
                        .floors
                        .raise_to(sequence + 1, 0, Some(&copy), state.now());
                    copy.set_position(sequence);
                    state.publish(Some(&copy), Phase::Live, None);
                }
            }
        };
        let floors_of_now = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let floors = state.floors.now();
            let wait_until = Instant::now() + Duration::from_secs(30);
            state
                .usable(Duration::ZERO, &floors, wait_until)
                .await
                .map(drop)
        };
        let usable = tokio::select! {
            usable = floors_of_now => usable,
            () = writer => unreachable!("it writes on and on"),
        };
        assert_eq!(usable, Ok(()));
    }
}
