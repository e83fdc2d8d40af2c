//! `compare-and-swap`: sets a key's number if it is the one that the caller expects.

use tokio::time::{Instant, timeout_at};

use super::contended;
use super::number::{Number, pause};
use super::turn::{Counters, KnownNumber};
use crate::bucket_state::BucketState;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::retries::RetryReason;

/// Sets the key's number to `new` if it is `old`, and returns whether it was.
///
/// The write succeeds only over the revision that was compared, so no other write can come between.
pub(crate) async fn compare_and_swap(
    bucket: &BucketState,
    counters: &Counters,
    key: &str,
    old: u64,
    new: u64,
    deadline: &Deadline,
) -> Result<bool, Error> {
    let encoded = bucket.encoding().encode(key)?;
    let counter = counters.get(&encoded);
    // The calls of this process take turns. Otherwise they would only make each other's revisions
    // stale.
    let Ok(mut turn) = timeout_at(deadline.send_deadline(), counter.turn()).await else {
        return Err(bucket.no_answer_error(deadline));
    };
    let number = Number {
        bucket,
        key,
        encoded: &encoded,
        deadline,
    };
    let mut conflicts = 0;
    loop {
        let known = turn.known.take();
        let before = match known {
            // Another process may have changed the key since. Then the write fails.
            Some(known) if known.number == old => known,
            _ => number.read().await?,
        };
        if before.number != old {
            turn.known = Some(before);
            return Ok(false);
        }
        if let Some(revision) = number.write(new, before.revision).await? {
            turn.known = Some(KnownNumber {
                number: new,
                revision,
            });
            return Ok(true);
        }
        if Instant::now() >= deadline.send_deadline() {
            return Err(contended(key));
        }
        bucket.connection().count_retry(RetryReason::Conflict);
        pause(conflicts).await;
        conflicts += 1;
    }
}
