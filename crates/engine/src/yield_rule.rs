//! When a large batch yields to small ones.

/// How many requests a large batch keeps in flight while small batches are expected over the same
/// concurrency limit. A server answers in the order in which requests come, so a small batch would
/// wait behind all of the large batch's requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct YieldRule {
    /// A batch of at least this many items is large.
    pub(super) large_batch: usize,
    /// The window of a large batch while small batches are expected.
    pub(super) window_beside_small: usize,
    /// The same, if the large batch is late.
    pub(super) window_when_late: usize,
}

impl YieldRule {
    /// The most requests in flight of a batch of `total` items. `None`: it need not yield.
    /// `small_expected` and `is_late` are called only for a large batch, because they read the
    /// clock.
    pub(super) fn window(
        &self,
        total: usize,
        small_expected: impl FnOnce() -> bool,
        is_late: impl FnOnce() -> bool,
    ) -> Option<usize> {
        if total < self.large_batch || !small_expected() {
            None
        } else if is_late() {
            Some(self.window_when_late)
        } else {
            Some(self.window_beside_small)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_batch_yields_while_small_ones_are_expected_and_less_so_if_it_is_late() {
        let rule = YieldRule {
            large_batch: 2000,
            window_beside_small: 8,
            window_when_late: 32,
        };
        let window = |total, small, late| rule.window(total, || small, || late);
        assert_eq!(window(2000, true, false), Some(8));
        assert_eq!(window(2000, true, true), Some(32));
        assert_eq!(window(2000, false, true), None, "no small one");
        assert_eq!(window(1999, true, true), None, "it is not large");
    }
}
