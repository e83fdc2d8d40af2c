//! What was written to a key, and what may be read of it.

use tokio::time::Instant;

/// The operations of a key's only writer, one after the other, numbered from 1. Number 0 is the key
/// before the first one, without a value.
///
/// A writer leaves a key alone from the first operation on that was not acknowledged: the server
/// may carry that one out late, and after a later one it would make the key older.
#[derive(Debug, Default)]
pub(super) struct NumberedKey {
    ops: Vec<NumberedOp>,
}

#[derive(Clone, Copy, Debug)]
struct NumberedOp {
    /// Else it takes the value away.
    sets: bool,
    acknowledged: Option<Instant>,
}

impl NumberedKey {
    /// Notes an operation that is about to be sent, and returns its number.
    pub(super) fn begin(&mut self, sets: bool) -> u64 {
        self.ops.push(NumberedOp {
            sets,
            acknowledged: None,
        });
        self.ops.len() as u64
    }

    /// Notes that the last operation has just been acknowledged.
    pub(super) fn acknowledge(&mut self) {
        if let Some(op) = self.ops.last_mut() {
            op.acknowledged = Some(Instant::now());
        }
    }

    /// The last operation that was acknowledged before this time.
    pub(super) fn acknowledged_before(&self, time: Instant) -> u64 {
        let is_before = |op: &NumberedOp| op.acknowledged.is_some_and(|at| at < time);
        self.ops.partition_point(is_before) as u64
    }

    /// Whether this operation has set the value of this number.
    pub(super) fn sets(&self, number: u64) -> bool {
        self.op(number).is_some_and(|op| op.sets)
    }

    /// The first operation from `floor` on after which the key has a value, or none. `None`: there
    /// has been no such operation.
    pub(super) fn first_from(&self, floor: u64, has_value: bool) -> Option<u64> {
        (floor..=self.ops.len() as u64).find(|&number| self.sets(number) == has_value)
    }

    /// Since when what this operation has left is out of date: when the next one was acknowledged.
    pub(super) fn outdated_since(&self, number: u64) -> Option<Instant> {
        self.op(number + 1)?.acknowledged
    }

    fn op(&self, number: u64) -> Option<&NumberedOp> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.ops.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_found_by_what_they_leave() {
        let mut key = NumberedKey::default();
        assert_eq!(key.first_from(0, false), Some(0));
        assert_eq!(key.first_from(0, true), None);
        assert_eq!(
            [key.begin(true), key.begin(false), key.begin(true)],
            [1, 2, 3]
        );
        assert_eq!(key.first_from(1, false), Some(2));
        assert_eq!(key.first_from(2, true), Some(3));
        assert_eq!(
            key.first_from(3, false),
            None,
            "it was never deleted after 3"
        );
        assert_eq!(
            [0, 1, 2, 3, 4].map(|number| key.sets(number)),
            [false, true, false, true, false]
        );
    }

    #[test]
    fn what_was_acknowledged_before_a_time_is_known() {
        let mut key = NumberedKey::default();
        let begun = Instant::now();
        key.begin(true);
        key.acknowledge();
        key.begin(true);
        let later = begun + std::time::Duration::from_secs(60);
        assert_eq!(key.acknowledged_before(begun), 0);
        assert_eq!(key.acknowledged_before(later), 1, "2 is not acknowledged");
        assert!(key.outdated_since(0).is_some_and(|since| since >= begun));
        assert_eq!(key.outdated_since(1), None);
    }
}
