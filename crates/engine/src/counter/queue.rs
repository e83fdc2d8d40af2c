//! The increments of one key: those that wait for the next round, and those of the current round.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

use crate::deadline::Deadline;
use crate::error::Error;

/// The increments of one key that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Increments>);

#[derive(Debug, Default)]
struct Increments {
    /// How many tickets were given out.
    tickets: u64,
    /// The increments that wait for the next round.
    waiting: Vec<Increment>,
    /// The increments of the current round.
    round: Vec<Increment>,
    /// Whether the sum of the round is sent. No increment can leave the round then.
    is_sent: bool,
    /// Whether another process has changed the key during the round.
    has_conflicts: bool,
}

/// An increment that is not answered yet.
#[derive(Debug)]
struct Increment {
    ticket: u64,
    delta: u64,
    deadline: Deadline,
    answer: oneshot::Sender<Result<u64, Error>>,
}

impl Increment {
    fn answer(self, answer: Result<u64, Error>) {
        // If the call does not listen any more, it has given its own answer.
        let _ = self.answer.send(answer);
    }
}

/// A call's increment in the queue. When this is dropped, the increment leaves the queue if it can.
pub(super) struct Ticket<'a> {
    queue: &'a Queue,
    number: u64,
    answer: oneshot::Receiver<Result<u64, Error>>,
}

/// What came of taking an increment back.
pub(super) enum Withdrawal {
    /// It was not sent.
    Done,
    /// It was sent, but not stored, because another process had changed the key.
    AfterConflicts,
    /// It is sent, and may be stored.
    TooLate,
}

impl Queue {
    /// Adds an increment for the next round.
    pub(super) fn join(&self, delta: u64, deadline: Deadline) -> Ticket<'_> {
        let (sender, answer) = oneshot::channel();
        let mut increments = self.locked();
        increments.tickets += 1;
        let number = increments.tickets;
        increments.waiting.push(Increment {
            ticket: number,
            delta,
            deadline,
            answer: sender,
        });
        Ticket {
            queue: self,
            number,
            answer,
        }
    }

    /// Makes a round of all waiting increments. Returns the latest of their deadlines. `None`: no
    /// increment waits.
    pub(super) fn begin_round(&self) -> Option<Deadline> {
        let increments = &mut *self.locked();
        increments.round = std::mem::take(&mut increments.waiting);
        increments.is_sent = false;
        increments.has_conflicts = false;
        let deadlines = increments.round.iter().map(|increment| increment.deadline);
        deadlines.max_by_key(Deadline::call_deadline)
    }

    /// Whether no increment is in the round.
    pub(super) fn is_round_empty(&self) -> bool {
        self.locked().round.is_empty()
    }

    /// The number after the increments of the round. From here on no increment can leave the round.
    ///
    /// An increment that would exceed the largest number gets the error of `overflow`. `None`: no
    /// increment is left.
    pub(super) fn add_up(&self, before: u64, overflow: impl Fn(u64) -> Error) -> Option<u64> {
        let increments = &mut *self.locked();
        let mut sum = before;
        let over =
            increments
                .round
                .extract_if(.., |increment| match sum.checked_add(increment.delta) {
                    Some(added) => {
                        sum = added;
                        false
                    }
                    None => true,
                });
        for increment in over {
            let error = overflow(increment.delta);
            increment.answer(Err(error));
        }
        increments.is_sent = !increments.round.is_empty();
        increments.is_sent.then_some(sum)
    }

    /// Whether the sum of the round does not exceed the largest number.
    pub(super) fn fits(&self, before: u64) -> bool {
        let increments = self.locked();
        let mut deltas = increments.round.iter().map(|increment| increment.delta);
        deltas.try_fold(before, u64::checked_add).is_some()
    }

    /// Notes that another process has changed the key, so the sum was not stored. Increments may
    /// leave the round again.
    pub(super) fn record_conflict(&self) {
        let increments = &mut *self.locked();
        increments.is_sent = false;
        increments.has_conflicts = true;
    }

    /// Answers each increment of the round, which is stored, with its sum.
    pub(super) fn succeed(&self, before: u64) {
        let mut sum = before;
        for increment in self.end_round() {
            sum += increment.delta;
            increment.answer(Ok(sum));
        }
    }

    /// Answers each increment of the round with the error.
    pub(super) fn fail(&self, error: &Error) {
        for increment in self.end_round() {
            increment.answer(Err(error.clone()));
        }
    }

    fn end_round(&self) -> Vec<Increment> {
        std::mem::take(&mut self.locked().round)
    }

    fn locked(&self) -> MutexGuard<'_, Increments> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// Waits for the answer to the increment.
    pub(super) async fn answer(&mut self) -> Result<Result<u64, Error>, RecvError> {
        (&mut self.answer).await
    }

    /// Takes the increment back, unless it is sent.
    pub(super) fn withdraw(&self) -> Withdrawal {
        let increments = &mut *self.queue.locked();
        let is_this = |increment: &mut Increment| increment.ticket == self.number;
        if increments.waiting.extract_if(.., is_this).count() > 0 {
            Withdrawal::Done
        } else if increments.is_sent || increments.round.extract_if(.., is_this).count() == 0 {
            Withdrawal::TooLate
        } else if increments.has_conflicts {
            Withdrawal::AfterConflicts
        } else {
            Withdrawal::Done
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.withdraw();
    }
}
