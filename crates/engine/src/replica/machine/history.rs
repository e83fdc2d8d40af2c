//! How many keys the copy had at each position of late.
//!
//! The leader's answer is about one position of the stream. When it comes, the copy may be past
//! that.

use std::collections::VecDeque;

/// How many positions are remembered, at most.
const MAX: usize = 65_536;

#[derive(Clone, Copy, Debug)]
struct Passed {
    position: u64,
    keys: u64,
    /// When the message of this position was stored. 0: there was none, or that is not known.
    time: u64,
}

/// The positions that were passed since the oldest question that has no answer yet.
#[derive(Debug)]
pub(super) struct History(VecDeque<Passed>);

impl History {
    pub(super) fn new() -> Self {
        Self(VecDeque::from([Passed {
            position: 0,
            keys: 0,
            time: 0,
        }]))
    }

    pub(super) fn push(&mut self, position: u64, keys: u64, time: u64) {
        if self.0.len() == MAX {
            self.0.pop_front();
        }
        self.0.push_back(Passed {
            position,
            keys,
            time,
        });
    }

    /// Records that keys were dropped at the present position.
    pub(super) fn set_keys(&mut self, keys: u64) {
        if let Some(last) = self.0.back_mut() {
            last.keys = keys;
        }
    }

    /// Forgets what was before this position.
    pub(super) fn forget_before(&mut self, position: u64) {
        while self.0.len() > 1 && self.0[1].position <= position {
            self.0.pop_front();
        }
    }

    /// How many keys there were at this position; `None` if that has been forgotten.
    pub(super) fn keys_at(&self, position: u64) -> Option<u64> {
        self.at(position).map(|passed| passed.keys)
    }

    /// When the message of this position was stored, if that is known.
    pub(super) fn time_at(&self, position: u64) -> Option<u64> {
        let passed = self.at(position)?;
        (passed.position == position && passed.time > 0).then_some(passed.time)
    }

    fn at(&self, position: u64) -> Option<&Passed> {
        let after = self.0.partition_point(|passed| passed.position <= position);
        after.checked_sub(1).map(|place| &self.0[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_between_two_messages_has_the_keys_of_the_first() {
        let mut history = History::new();
        history.push(3, 1, 30);
        history.push(7, 2, 70);
        assert_eq!(history.keys_at(0), Some(0));
        assert_eq!(history.keys_at(5), Some(1));
        assert_eq!(
            (history.keys_at(7), history.time_at(7)),
            (Some(2), Some(70))
        );
        assert_eq!(history.time_at(5), None);
        history.forget_before(6);
        assert_eq!((history.keys_at(2), history.keys_at(6)), (None, Some(1)));
        history.set_keys(1);
        assert_eq!(history.keys_at(9), Some(1));
    }
}
