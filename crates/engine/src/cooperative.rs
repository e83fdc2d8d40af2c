//! Loops over large batches that let other tasks run.

use tokio::task::yield_now;

use super::tuning;

/// Lets other calls of the thread run now and then. A loop over a batch calls this for each item.
/// Without it, a batch of 20,000 items would delay the other calls by ten times what a small batch
/// takes.
pub(super) async fn yield_periodically(item: usize) {
    if item % tuning::ITEMS_BETWEEN_YIELDS == tuning::ITEMS_BETWEEN_YIELDS - 1 {
        yield_now().await;
    }
}
