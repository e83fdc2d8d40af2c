//! `compare-and-swap`: sets a key's number if it is what the caller expects.

use tokio::time::{Instant, timeout_at};

use super::combine::Counters;
use super::{Last, Turn, pause};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::handle::BucketHandle;

/// Sets the key's number to `new` if it is `old`, and answers whether it was.
///
/// The write succeeds only over the revision that was compared, so no other write can come between.
pub(crate) async fn compare_and_swap(
    bucket: &BucketHandle,
    counters: &Counters,
    key: &str,
    old: u64,
    new: u64,
    deadline: &Deadline,
) -> Result<bool, Error> {
    let encoded = bucket.encoding().encode(key)?;
    let counter = counters.get(key, &encoded);
    // Calls of this process would only make each other's revisions stale: they take turns.
    let Ok(mut last) = timeout_at(deadline.settle(), counter.turn()).await else {
        return Err(bucket.explain(deadline));
    };
    let turn = Turn {
        bucket,
        key,
        encoded: &encoded,
        deadline,
    };
    let mut conflicts = 0;
    loop {
        let known = last.take();
        let before = match known {
            // Another process may have changed the key since. If that matters, the write fails.
            Some(known) if known.number == old => known,
            _ => turn.read().await?,
        };
        if before.number != old {
            *last = Some(before);
            return Ok(false);
        }
        if let Some(revision) = turn.write(new, before.revision).await? {
            *last = Some(Last {
                number: new,
                revision,
            });
            return Ok(true);
        }
        if Instant::now() >= deadline.settle() {
            return Err(turn.outrun());
        }
        pause(conflicts).await;
        conflicts += 1;
    }
}
