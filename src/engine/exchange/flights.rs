//! The books of a batch: what is in flight, and what waits to be sent again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::engine::open::Opened;

/// How an item has fared so far.
#[derive(Clone, Copy)]
pub(super) struct Past {
    /// When it was sent first.
    pub(super) first_sent: Instant,
    /// Whether an earlier copy of it stayed unanswered, so that it may have been carried out.
    pub(super) may_be_done: bool,
}

/// A request that has been sent and not answered.
pub(super) struct Flight {
    /// Given back when the answer is in.
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) past: Past,
    pub(super) weight: usize,
    /// When it was sent last.
    pub(super) sent: Instant,
    /// The connection it was sent over.
    pub(super) epoch: u64,
    /// What was known of the bucket.
    pub(super) opened: Arc<Opened>,
}

#[derive(Default)]
pub(super) struct Flights {
    by_item: HashMap<usize, Flight>,
    /// What was sent when, oldest first; entries of requests that have landed are skipped.
    order: VecDeque<(Instant, usize)>,
    weight: usize,
}

impl Flights {
    pub(super) fn launch(&mut self, item: usize, flight: Flight) {
        self.weight += flight.weight;
        self.order.push_back((flight.sent, item));
        self.by_item.insert(item, flight);
    }

    pub(super) fn land(&mut self, item: usize) -> Option<Flight> {
        let flight = self.by_item.remove(&item)?;
        self.weight -= flight.weight;
        Some(flight)
    }

    /// The item that has waited longest for its answer, and since when.
    pub(super) fn oldest(&mut self) -> Option<(Instant, usize)> {
        while let Some(&(sent, item)) = self.order.front() {
            let flight = self.by_item.get(&item);
            if flight.is_some_and(|flight| flight.sent == sent) {
                return Some((sent, item));
            }
            self.order.pop_front();
        }
        None
    }

    /// Those sent over an earlier connection than the one of this epoch.
    pub(super) fn before(&self, epoch: u64) -> Vec<usize> {
        let earlier = self
            .by_item
            .iter()
            .filter(|(_, flight)| flight.epoch < epoch);
        earlier.map(|(&item, _)| item).collect()
    }

    pub(super) fn items(&self) -> Vec<usize> {
        self.by_item.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_item.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_item.is_empty()
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
    pub(super) past: Past,
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

    /// The item to send next, if one is due.
    pub(super) fn peek(&self, now: Instant) -> Option<usize> {
        match self.delayed.front() {
            Some(delayed) if delayed.due <= now => Some(delayed.item),
            _ => (self.next < self.len).then_some(self.next),
        }
    }

    /// Takes the item that [`Self::peek`] shows, with its past if it was sent before.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(usize, Option<Past>)> {
        if self
            .delayed
            .front()
            .is_some_and(|delayed| delayed.due <= now)
        {
            let delayed = self.delayed.pop_front()?;
            return Some((delayed.item, Some(delayed.past)));
        }
        let item = (self.next < self.len).then_some(self.next)?;
        self.next += 1;
        Some((item, None))
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
    pub(super) fn drain(&mut self) -> Vec<(usize, Option<Past>)> {
        let delayed = self.delayed.drain(..);
        let delayed = delayed.map(|delayed| (delayed.item, Some(delayed.past)));
        let rest = (self.next..self.len).map(|item| (item, None));
        let all = delayed.chain(rest).collect();
        self.next = self.len;
        all
    }
}
