//! Who waits for which key.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{MutexGuard as TurnGuard, oneshot};

use crate::deadline::Deadline;
use crate::error::Error;

/// The keys of a bucket that are being incremented.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    by_key: Mutex<HashMap<String, Arc<Shared>>>,
}

/// A key that is being incremented. The last of its handles takes it out of the list.
pub(super) struct Counter<'a> {
    counters: &'a Counters,
    encoded: &'a str,
    shared: Arc<Shared>,
}

/// A place among those who wait. It is given up when this is dropped.
pub(super) struct Ticket<'a> {
    queue: &'a Queue,
    number: u64,
    answer: oneshot::Receiver<Result<u64, Error>>,
}

/// What a key was when it was last read or written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) number: u64,
    pub(crate) revision: u64,
}

/// A round under way. It returns what the key is after it, if that is known.
pub(super) type RunningRound = Pin<Box<dyn Future<Output = Option<Last>> + Send>>;

#[derive(Debug, Default)]
struct Shared {
    queue: Arc<Queue>,
    /// Locked by the call that drives the round.
    turn: tokio::sync::Mutex<Turn>,
}

/// What the calls of a key pass on to each other.
#[derive(Default)]
pub(super) struct Turn {
    /// What the key was when it was last read or written, if that is known.
    pub(super) last: Option<Last>,
    /// The round, wherever the call that drove it before has left it.
    round: Option<RunningRound>,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

/// The increments of one key.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Increments>);

#[derive(Debug, Default)]
struct Increments {
    tickets: u64,
    /// Those that wait for the next round.
    waiting: Vec<Increment>,
    /// Those of the round under way.
    round: Vec<Increment>,
    /// Whether the sum of the round has been sent, so that nobody can leave it any more.
    is_sent: bool,
    /// Whether another process has changed the key during the round.
    has_conflicts: bool,
}

/// Whether an increment could be taken back.
pub(super) enum Withdrawal {
    /// It was not sent.
    Done,
    /// It was sent, and nothing was written, because another process had changed the key.
    AfterConflicts,
    /// It was sent and may be written.
    TooLate,
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
        // Who no longer listens has given its own answer.
        let _ = self.answer.send(answer);
    }
}

impl Counters {
    pub(super) fn get<'a>(&'a self, encoded: &'a str) -> Counter<'a> {
        let mut by_key = locked(&self.by_key);
        let shared = match by_key.get(encoded) {
            Some(shared) => Arc::clone(shared),
            None => Arc::clone(by_key.entry(encoded.to_owned()).or_default()),
        };
        Counter {
            counters: self,
            encoded,
            shared,
        }
    }
}

impl Drop for Counter<'_> {
    fn drop(&mut self) {
        let mut by_key = locked(&self.counters.by_key);
        // This handle's and the list's: others are only made while the list is locked.
        if Arc::strong_count(&self.shared) == 2 {
            by_key.remove(self.encoded);
        }
    }
}

impl Counter<'_> {
    /// Joins those who wait.
    pub(super) fn join(&self, delta: u64, deadline: Deadline) -> Ticket<'_> {
        let (sender, answer) = oneshot::channel();
        let queue = &self.shared.queue;
        let mut increments = queue.locked();
        increments.tickets += 1;
        let number = increments.tickets;
        increments.waiting.push(Increment {
            ticket: number,
            delta,
            deadline,
            answer: sender,
        });
        Ticket {
            queue,
            number,
            answer,
        }
    }

    /// Waits for a turn, first come, first served; then drives the round under way, or a new one with all
    /// that wait, to its end. If this is dropped before, the next turn goes on with the round.
    pub(super) async fn drive(
        &self,
        new_round: impl FnOnce(Arc<Queue>, Deadline, Option<Last>) -> RunningRound,
    ) {
        let queue = &self.shared.queue;
        let mut turn = self.turn().await;
        if let Some(deadline) = queue.begin_round() {
            let last = turn.last.take();
            turn.round = Some(new_round(Arc::clone(queue), deadline, last));
            turn.finish_round(queue).await;
        }
    }

    /// Waits for a turn, first come, first served, and for the end of the round under way.
    pub(super) async fn turn(&self) -> TurnGuard<'_, Turn> {
        let mut turn = self.shared.turn.lock().await;
        turn.finish_round(&self.shared.queue).await;
        turn
    }
}

impl Turn {
    /// Drives the round under way to its end, if there is one. Nobody needs one that all have left.
    async fn finish_round(&mut self, queue: &Queue) {
        if queue.is_round_over() {
            self.round = None;
        }
        if let Some(round) = &mut self.round {
            self.last = round.await;
            self.round = None;
        }
    }
}

impl Queue {
    fn locked(&self) -> MutexGuard<'_, Increments> {
        locked(&self.0)
    }

    /// Makes a round of all that wait. Returns the latest of their deadlines; `None` if nobody waits.
    fn begin_round(&self) -> Option<Deadline> {
        let increments = &mut *self.locked();
        increments.round = std::mem::take(&mut increments.waiting);
        increments.is_sent = false;
        increments.has_conflicts = false;
        let deadlines = increments.round.iter().map(|increment| increment.deadline);
        deadlines.max_by_key(Deadline::answer_deadline)
    }

    /// Whether all that were in the round have left it.
    fn is_round_over(&self) -> bool {
        self.locked().round.is_empty()
    }

    /// What the number is after the round's increments. From here on nobody can leave the round.
    ///
    /// An increment that would go over the largest number is answered with an error, which `overflow`
    /// makes. `None` if nothing is left to be written.
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

    /// Whether none of the round's increments would go over the largest number.
    pub(super) fn fits(&self, before: u64) -> bool {
        let increments = self.locked();
        let mut deltas = increments.round.iter().map(|increment| increment.delta);
        deltas.try_fold(before, u64::checked_add).is_some()
    }

    /// Takes note that another process has changed the key, so the sum was not written. Calls may leave
    /// the round again.
    pub(super) fn record_conflict(&self) {
        let increments = &mut *self.locked();
        increments.is_sent = false;
        increments.has_conflicts = true;
    }

    /// Answers each increment of the round, which has been written, with its sum.
    pub(super) fn succeed(&self, before: u64) {
        let mut sum = before;
        for increment in self.end_round() {
            sum += increment.delta;
            increment.answer(Ok(sum));
        }
    }

    fn end_round(&self) -> Vec<Increment> {
        std::mem::take(&mut self.locked().round)
    }

    /// Answers each increment of the round with the error.
    pub(super) fn fail(&self, error: &Error) {
        for increment in self.end_round() {
            increment.answer(Err(error.clone()));
        }
    }
}

impl Ticket<'_> {
    /// The answer of the round that the increment is in.
    pub(super) async fn answer(&mut self) -> Result<Result<u64, Error>, RecvError> {
        (&mut self.answer).await
    }

    /// Takes the increment back, unless it has been sent.
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
