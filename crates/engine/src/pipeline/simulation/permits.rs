//! A fair semaphore, like tokio's. The batch that waits longest collects permits first, maybe a few
//! at a time.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Permits {
    free: usize,
    /// The batches that wait, how many permits each wants, and how many it has collected.
    waiting: VecDeque<(usize, usize, usize)>,
}

impl Permits {
    pub(super) fn new(all: usize) -> Self {
        Self {
            free: all,
            waiting: VecDeque::new(),
        }
    }

    /// Takes `count` permits, or starts to wait for them.
    pub(super) fn take_or_wait(&mut self, batch: usize, count: usize) -> bool {
        if self.free >= count {
            self.free -= count;
            return true;
        }
        self.waiting.push_back((batch, count, 0));
        self.hand_out();
        false
    }

    pub(super) fn waits(&self, batch: usize) -> bool {
        self.waiting.iter().any(|(other, ..)| *other == batch)
    }

    /// The permits that the batch has waited for, if it has collected all of them.
    pub(super) fn collect(&mut self, batch: usize) -> Option<usize> {
        let is_whole =
            |&(other, wants, has): &(usize, usize, usize)| other == batch && wants == has;
        let index = self.waiting.iter().position(is_whole)?;
        self.waiting.remove(index).map(|(_, wants, _)| wants)
    }

    /// Whether the batch has collected all that it waits for.
    pub(super) fn has_for(&self, batch: usize) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|(other, wants, has)| *other == batch && wants == has)
    }

    /// Takes a batch out of those that wait.
    pub(super) fn leave(&mut self, batch: usize) {
        if let Some(index) = self.waiting.iter().position(|(other, ..)| *other == batch)
            && let Some((_, _, has)) = self.waiting.remove(index)
        {
            self.release(has);
        }
    }

    pub(super) fn release(&mut self, count: usize) {
        self.free += count;
        self.hand_out();
    }

    /// Whether nobody holds a permit or waits for one.
    pub(super) fn are_all_free(&self, all: usize) -> bool {
        self.free == all && self.waiting.is_empty()
    }

    fn hand_out(&mut self) {
        for (_, wants, has) in &mut self.waiting {
            let more = (*wants - *has).min(self.free);
            *has += more;
            self.free -= more;
        }
    }
}
