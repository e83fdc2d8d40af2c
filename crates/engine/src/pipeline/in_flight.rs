//! The books of a batch: what is in flight, and what waits to be sent again.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::stream_info::StreamInfo;

/// How an item has fared so far.
#[derive(Clone, Copy)]
pub(super) struct Attempts {
    /// When it was sent first.
    pub(super) first_sent: Instant,
    pub(super) copies: EarlierAttempts,
}

/// What became of the copies of an item that were sent earlier.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlierAttempts {
    /// None was carried out.
    NotDone,
    /// There was one, in a group of which not all were carried out.
    DoneOrNot,
    /// One stayed unanswered: it may have been carried out, and may still be.
    Unanswered,
}

impl Attempts {
    /// That of an item that is sent now.
    pub(super) fn begin() -> Self {
        Self {
            first_sent: Instant::now(),
            copies: EarlierAttempts::NotDone,
        }
    }

    pub(super) fn may_be_done(self) -> bool {
        self.copies != EarlierAttempts::NotDone
    }

    pub(super) fn with(self, copies: EarlierAttempts) -> Self {
        Self { copies, ..self }
    }
}

/// Requests that have been sent and not all answered, under one reply subject: one, or several
/// whose answers need not be told apart.
pub(super) struct InFlightGroup {
    pub(super) items: Range<usize>,
    /// One for each answer that is still to come.
    pub(super) permits: OwnedSemaphorePermit,
    pub(super) past: Attempts,
    /// Bytes of values that are still to be answered for, about.
    pub(super) weight: usize,
    /// When the last of it was sent.
    pub(super) sent: Instant,
    /// The connection it was sent over.
    pub(super) epoch: u64,
    /// What was known of the bucket.
    pub(super) info: Arc<StreamInfo>,
    pub(super) answers: Answers,
}

impl InFlightGroup {
    /// How many requests are unanswered.
    pub(super) fn outstanding(&self) -> usize {
        self.items.len() - self.answers.all
    }
}

/// The answers that have come to a flight of several requests.
#[derive(Clone, Copy, Default)]
pub(super) struct Answers {
    pub(super) all: usize,
    /// How many of them say that the request was carried out.
    pub(super) done: usize,
    /// How many of them say that nobody took it.
    pub(super) untaken: usize,
}

/// The requests in flight, each group by the last token of its reply subject.
#[derive(Default)]
pub(super) struct InFlight {
    by_token: HashMap<usize, InFlightGroup>,
    /// What was sent when, oldest first; entries of groups that have ended are skipped.
    order: VecDeque<(Instant, usize)>,
    items: usize,
    weight: usize,
}

impl InFlight {
    pub(super) fn launch(&mut self, token: usize, flight: InFlightGroup) {
        self.items += flight.items.len();
        self.weight += flight.weight;
        self.order.push_back((flight.sent, token));
        self.by_token.insert(token, flight);
    }

    /// Adds the next items to a flight that is under way.
    pub(super) fn extend(
        &mut self,
        token: usize,
        items: &Range<usize>,
        permits: OwnedSemaphorePermit,
        weight: usize,
    ) {
        let Some(flight) = self.by_token.get_mut(&token) else {
            return;
        };
        flight.items.end = flight.items.end.max(items.end);
        flight.permits.merge(permits);
        flight.weight += weight;
        flight.sent = Instant::now();
        self.items += items.len();
        self.weight += weight;
        self.order.push_back((flight.sent, token));
    }

    pub(super) fn get(&self, token: usize) -> Option<&InFlightGroup> {
        self.by_token.get(&token)
    }

    pub(super) fn get_mut(&mut self, token: usize) -> Option<&mut InFlightGroup> {
        self.by_token.get_mut(&token)
    }

    /// Takes note of an answer to one of a flight's several requests, and gives its permit back.
    pub(super) fn answered(&mut self, token: usize) {
        let Some(flight) = self.by_token.get_mut(&token) else {
            return;
        };
        let weight = flight.weight / flight.outstanding().max(1);
        flight.answers.all += 1;
        drop(flight.permits.split(1));
        flight.weight -= weight;
        self.items -= 1;
        self.weight -= weight;
    }

    pub(super) fn land(&mut self, token: usize) -> Option<InFlightGroup> {
        let flight = self.by_token.remove(&token)?;
        self.items -= flight.outstanding();
        self.weight -= flight.weight;
        Some(flight)
    }

    /// The flight that has waited longest for its answers, and since when.
    pub(super) fn oldest(&mut self) -> Option<(Instant, usize)> {
        while let Some(&(sent, token)) = self.order.front() {
            let flight = self.by_token.get(&token);
            if flight.is_some_and(|flight| flight.sent == sent) {
                return Some((sent, token));
            }
            self.order.pop_front();
        }
        None
    }

    /// Those sent over an earlier connection than the one of this epoch.
    pub(super) fn before(&self, epoch: u64) -> Vec<usize> {
        let earlier = self
            .by_token
            .iter()
            .filter(|(_, flight)| flight.epoch < epoch);
        earlier.map(|(&token, _)| token).collect()
    }

    pub(super) fn tokens(&self) -> Vec<usize> {
        self.by_token.keys().copied().collect()
    }

    /// Requests in flight.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// Bytes of values in flight.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }
}

/// An item to be sent again.
pub(super) struct Delayed {
    pub(super) due: Instant,
    pub(super) item: usize,
    pub(super) past: Attempts,
}

/// What is still to be sent: items that have not been sent yet, in order, and before them those
/// that are due to be sent again.
pub(super) struct Queue {
    next: usize,
    len: usize,
    delayed: VecDeque<Delayed>,
}

impl Queue {
    pub(super) fn new(len: usize) -> Self {
        Self {
            next: 0,
            len,
            delayed: VecDeque::new(),
        }
    }

    /// The items to send next, in order, as far as they are due.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = usize> + '_ {
        let again = self.delayed.iter().take_while(move |item| item.due <= now);
        again.map(|delayed| delayed.item).chain(self.next..self.len)
    }

    /// Takes the first of the items that [`Self::due`] shows, if it was sent before.
    pub(super) fn pop_again(&mut self, now: Instant) -> Option<Delayed> {
        let due = self.delayed.front()?.due <= now;
        if due { self.delayed.pop_front() } else { None }
    }

    /// The items that were not sent before.
    pub(super) fn fresh(&self) -> Range<usize> {
        self.next..self.len
    }

    /// Takes the next of them, as many as there are and at most `count`.
    pub(super) fn pop_fresh(&mut self, count: usize) -> Range<usize> {
        let start = self.next;
        self.next = (start + count).min(self.len);
        start..self.next
    }

    /// Puts back the last of the items that [`Self::pop_fresh`] took.
    pub(super) fn put_back(&mut self, items: &Range<usize>) {
        if !items.is_empty() {
            self.next = items.start;
        }
    }

    /// Queues an item to be sent again, in the order in which they are due.
    pub(super) fn delay(&mut self, delayed: Delayed) {
        let place = self
            .delayed
            .partition_point(|other| other.due <= delayed.due);
        self.delayed.insert(place, delayed);
    }

    /// When the first of the delayed items is due.
    pub(super) fn first_due(&self) -> Option<Instant> {
        self.delayed.front().map(|delayed| delayed.due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.delayed.is_empty() && self.next >= self.len
    }

    /// Takes all that is left, with the past of what was sent before.
    pub(super) fn drain(&mut self) -> Vec<(usize, Option<Attempts>)> {
        let delayed = self.delayed.drain(..);
        let delayed = delayed.map(|delayed| (delayed.item, Some(delayed.past)));
        let rest = (self.next..self.len).map(|item| (item, None));
        let all = delayed.chain(rest).collect();
        self.next = self.len;
        all
    }
}
