//! The items that are still to be sent.

use std::collections::VecDeque;
use std::ops::Range;

use super::attempts::Attempts;
use super::time::Time;
use crate::retries::RetryReason;

/// An item to be sent again.
#[derive(Debug)]
pub(super) struct Resend {
    /// Not before this time.
    pub(super) due: Time,
    pub(super) item: usize,
    pub(super) attempts: Attempts,
    pub(super) why: RetryReason,
}

/// The items to be sent. Those that are due to be sent again come first. The items that were never
/// sent follow, in order.
#[derive(Debug)]
pub(super) struct SendQueue {
    /// By the time when they are due.
    resends: VecDeque<Resend>,
    /// The first item that was never sent.
    next: usize,
    len: usize,
}

impl SendQueue {
    pub(super) fn new(len: usize) -> Self {
        Self {
            resends: VecDeque::new(),
            next: 0,
            len,
        }
    }

    /// The items that may be sent now, in the order to send them.
    pub(super) fn sendable(&self, now: Time) -> impl Iterator<Item = usize> + '_ {
        let due = self.resends.iter().take_while(move |item| item.due <= now);
        due.map(|resend| resend.item).chain(self.never_sent())
    }

    /// Takes the first item out, if it is one that is due to be sent again.
    pub(super) fn pop_resend(&mut self, now: Time) -> Option<Resend> {
        let is_due = self.resends.front()?.due <= now;
        if is_due {
            self.resends.pop_front()
        } else {
            None
        }
    }

    pub(super) fn never_sent(&self) -> Range<usize> {
        self.next..self.len
    }

    /// Takes the next items out that were never sent, at most `count`.
    pub(super) fn pop_never_sent(&mut self, count: usize) -> Range<usize> {
        let start = self.next;
        self.next = (start + count).min(self.len);
        start..self.next
    }

    /// Puts back the unsent tail of the items that [`Self::pop_never_sent`] took.
    pub(super) fn put_back(&mut self, items: &Range<usize>) {
        if !items.is_empty() {
            self.next = items.start;
        }
    }

    pub(super) fn push_resend(&mut self, resend: Resend) {
        let index = self
            .resends
            .partition_point(|other| other.due <= resend.due);
        self.resends.insert(index, resend);
    }

    /// When the first item is due that is to be sent again.
    pub(super) fn first_due(&self) -> Option<Time> {
        self.resends.front().map(|resend| resend.due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.resends.is_empty() && self.next >= self.len
    }

    /// Takes everything out: the items to be sent again, and the items that were never sent.
    pub(super) fn drain(&mut self) -> (VecDeque<Resend>, Range<usize>) {
        let never_sent = self.pop_never_sent(self.len);
        (std::mem::take(&mut self.resends), never_sent)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_start(Duration::from_millis(millis))
    }

    fn resend(item: usize, due: Time) -> Resend {
        let attempts = Attempts::first(Time::START);
        Resend {
            due,
            item,
            attempts,
            why: RetryReason::NoAnswer,
        }
    }

    #[test]
    fn items_that_are_due_again_come_first_and_in_order() {
        let mut queue = SendQueue::new(4);
        assert_eq!(queue.pop_never_sent(3), 0..3);
        queue.put_back(&(3..3));
        queue.put_back(&(2..3));
        assert_eq!(queue.never_sent(), 2..4);
        queue.push_resend(resend(1, at(5)));
        queue.push_resend(resend(0, at(3)));
        assert_eq!(queue.first_due(), Some(at(3)));
        assert_eq!(queue.sendable(at(4)).collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(queue.sendable(at(5)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(queue.pop_resend(at(2)).is_none());
        assert_eq!(queue.pop_resend(at(3)).map(|resend| resend.item), Some(0));
        assert!(!queue.is_empty());
        let (resends, never_sent) = queue.drain();
        assert_eq!((resends.len(), never_sent), (1, 2..4));
        assert!(queue.is_empty());
    }
}
