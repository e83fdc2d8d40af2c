//! What is still to be sent.

use std::collections::VecDeque;
use std::ops::Range;

use super::attempts::Attempts;
use super::time::Time;

/// An item to be sent again.
#[derive(Debug)]
pub(super) struct Delayed {
    pub(super) due: Time,
    pub(super) item: usize,
    pub(super) attempts: Attempts,
}

/// Items that have not been sent yet, in order, and before them those that are due to be sent again.
#[derive(Debug)]
pub(super) struct SendQueue {
    next: usize,
    len: usize,
    delayed: VecDeque<Delayed>,
}

impl SendQueue {
    pub(super) fn new(len: usize) -> Self {
        Self {
            next: 0,
            len,
            delayed: VecDeque::new(),
        }
    }

    /// The items to send next, in order, as far as they are due.
    pub(super) fn due(&self, now: Time) -> impl Iterator<Item = usize> + '_ {
        let again = self.delayed.iter().take_while(move |item| item.due <= now);
        again.map(|delayed| delayed.item).chain(self.next..self.len)
    }

    /// Takes the first of the items that [`Self::due`] shows, if it was sent before.
    pub(super) fn pop_again(&mut self, now: Time) -> Option<Delayed> {
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
    pub(super) fn first_due(&self) -> Option<Time> {
        self.delayed.front().map(|delayed| delayed.due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.delayed.is_empty() && self.next >= self.len
    }

    /// Takes all that is left: the items that were sent before, and those that were not.
    pub(super) fn drain(&mut self) -> (VecDeque<Delayed>, Range<usize>) {
        let fresh = self.pop_fresh(self.len);
        (std::mem::take(&mut self.delayed), fresh)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_start(Duration::from_millis(millis))
    }

    fn delayed(item: usize, due: Time) -> Delayed {
        let attempts = Attempts::first(Time::START);
        Delayed {
            due,
            item,
            attempts,
        }
    }

    #[test]
    fn what_is_due_again_comes_first_and_in_order() {
        let mut queue = SendQueue::new(4);
        assert_eq!(queue.pop_fresh(3), 0..3);
        queue.put_back(&(3..3));
        queue.put_back(&(2..3));
        assert_eq!(queue.fresh(), 2..4);
        queue.delay(delayed(1, at(5)));
        queue.delay(delayed(0, at(3)));
        assert_eq!(queue.first_due(), Some(at(3)));
        assert_eq!(queue.due(at(4)).collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(queue.due(at(5)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(queue.pop_again(at(2)).is_none());
        assert_eq!(queue.pop_again(at(3)).map(|delayed| delayed.item), Some(0));
        assert!(!queue.is_empty());
        let (again, fresh) = queue.drain();
        assert_eq!((again.len(), fresh), (1, 2..4));
        assert!(queue.is_empty());
    }
}
