//! Turns: of all calls that count the same key, one at a time works on the key.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::MutexGuard as TurnGuard;

use super::queue::{Queue, Ticket};
use crate::deadline::Deadline;

/// The counters of a bucket that are in use.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    by_key: Mutex<HashMap<String, Arc<Shared>>>,
}

/// A call's handle of one counter. The last handle removes the counter from the list.
pub(super) struct Counter<'a> {
    counters: &'a Counters,
    encoded: &'a str,
    shared: Arc<Shared>,
}

/// The number and the revision of a key, as they were last read or written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownNumber {
    pub(crate) number: u64,
    pub(crate) revision: u64,
}

/// A round under way. It returns the key's number after it, if that is known.
pub(super) type RunningRound = Pin<Box<dyn Future<Output = Option<KnownNumber>> + Send>>;

#[derive(Debug, Default)]
struct Shared {
    queue: Arc<Queue>,
    /// Locked by the call whose turn it is.
    turn: tokio::sync::Mutex<Turn>,
}

/// What each call leaves to the next one.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) known: Option<KnownNumber>,
    /// The round, if the call that drove it ended before the round did.
    round: Option<RunningRound>,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

impl Counters {
    pub(super) fn get<'a>(&'a self, encoded: &'a str) -> Counter<'a> {
        let mut by_key = self.locked();
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

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Arc<Shared>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counter<'_> {
    fn drop(&mut self) {
        let mut by_key = self.counters.locked();
        // One is this handle's, one the list's. No other handle can be made while the list is
        // locked.
        if Arc::strong_count(&self.shared) == 2 {
            by_key.remove(self.encoded);
        }
    }
}

impl Counter<'_> {
    /// Adds an increment for the next round.
    pub(super) fn join(&self, delta: u64, deadline: Deadline) -> Ticket<'_> {
        self.shared.queue.join(delta, deadline)
    }

    /// Waits for a turn, then drives a round of all waiting increments to its end. If this is
    /// dropped before that, the next turn drives the round on.
    pub(super) async fn drive_round(
        &self,
        new_round: impl FnOnce(Arc<Queue>, Deadline, Option<KnownNumber>) -> RunningRound,
    ) {
        let queue = &self.shared.queue;
        let mut turn = self.turn().await;
        if let Some(deadline) = queue.begin_round() {
            let known = turn.known.take();
            turn.round = Some(new_round(Arc::clone(queue), deadline, known));
            turn.finish_round(queue).await;
        }
    }

    /// Waits for a turn, first come, first served. Then drives the round to its end that the last
    /// turn has left.
    pub(super) async fn turn(&self) -> TurnGuard<'_, Turn> {
        let mut turn = self.shared.turn.lock().await;
        turn.finish_round(&self.shared.queue).await;
        turn
    }
}

impl Turn {
    /// Drives the round to its end, if there is one. A round that all increments have left is
    /// dropped.
    async fn finish_round(&mut self, queue: &Queue) {
        if queue.is_round_empty() {
            self.round = None;
        }
        if let Some(round) = &mut self.round {
            self.known = round.await;
            self.round = None;
        }
    }
}
