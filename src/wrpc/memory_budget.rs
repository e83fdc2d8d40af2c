//! How much the parameters of all calls under way may take.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of parameters that this process holds at once, at most: eight batches of the default
/// `max_batch_bytes`. Only those of calls count that did not come whole in their first message,
/// so that calls that bring much leave the others alone.
pub(super) const MAX_HELD_BYTES: usize = 512 * 1024 * 1024;

/// What all calls hold.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// What one call holds, until this is dropped.
#[derive(Default)]
pub(super) struct Held(usize);

impl Held {
    /// Takes more, if there is room. A call that is alone always finds it: how large it may be is
    /// for its link to say.
    #[must_use]
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        self.0 += bytes;
        let all = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
        all <= MAX_HELD_BYTES || all == self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Ordering::Relaxed);
    }
}
