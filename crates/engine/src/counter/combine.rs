//! Who waits for which key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{MutexGuard as Turn, oneshot};

use super::unclear;
use crate::error::Error;

/// The keys of a bucket that are being incremented.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    by_key: Mutex<HashMap<String, Arc<Shared>>>,
}

/// A key that is being incremented. The last of its handles takes it out of the list.
pub(super) struct Counter<'a> {
    counters: &'a Counters,
    key: &'a str,
    encoded: &'a str,
    shared: Arc<Shared>,
}

/// A place among those who wait. It is given up when this is dropped.
pub(super) struct Ticket<'a> {
    counter: &'a Counter<'a>,
    number: u64,
    answer: oneshot::Receiver<Result<u64, Error>>,
}

/// What a key was when it was last read or written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) number: u64,
    pub(crate) revision: u64,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Queue>,
    /// Held by the one that carries them out.
    turn: tokio::sync::Mutex<Option<Last>>,
}

#[derive(Debug, Default)]
struct Queue {
    tickets: u64,
    waiting: Vec<Waiting>,
}

/// An increment that waits to be carried out.
#[derive(Debug)]
pub(super) struct Waiting {
    ticket: u64,
    delta: u64,
    answer: oneshot::Sender<Result<u64, Error>>,
}

impl Waiting {
    pub(super) fn delta(&self) -> u64 {
        self.delta
    }

    pub(super) fn answer(self, answer: Result<u64, Error>) {
        // Who no longer listens has given its own answer.
        let _ = self.answer.send(answer);
    }
}

impl Counters {
    pub(super) fn get<'a>(&'a self, key: &'a str, encoded: &'a str) -> Counter<'a> {
        let mut by_key = locked(&self.by_key);
        let shared = match by_key.get(encoded) {
            Some(shared) => Arc::clone(shared),
            None => Arc::clone(by_key.entry(encoded.to_owned()).or_default()),
        };
        Counter {
            counters: self,
            key,
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
    pub(super) fn wait(&self, delta: u64) -> Ticket<'_> {
        let (sender, answer) = oneshot::channel();
        let mut queue = locked(&self.shared.waiting);
        queue.tickets += 1;
        let number = queue.tickets;
        queue.waiting.push(Waiting {
            ticket: number,
            delta,
            answer: sender,
        });
        Ticket {
            counter: self,
            number,
            answer,
        }
    }

    /// Waits until nobody else carries increments of the key out; first come, first served.
    pub(super) async fn turn(&self) -> Turn<'_, Option<Last>> {
        self.shared.turn.lock().await
    }

    pub(super) fn take_waiting(&self) -> Vec<Waiting> {
        std::mem::take(&mut locked(&self.shared.waiting).waiting)
    }
}

impl Ticket<'_> {
    pub(super) async fn answer(&mut self) -> Result<u64, Error> {
        let answer = (&mut self.answer).await;
        // Whoever had taken it was cut off.
        answer.unwrap_or_else(|_| Err(unclear(self.counter.key)))
    }

    /// Gives the place up. Answers whether it was still there.
    pub(super) fn withdraw(&self) -> bool {
        let waiting = &mut locked(&self.counter.shared.waiting).waiting;
        let before = waiting.len();
        waiting.retain(|waiting| waiting.ticket != self.number);
        waiting.len() < before
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
