//! One round: the increments of a key that are carried out together.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::time::Instant;

use super::contended;
use super::number::{Number, pause};
use super::queue::Queue;
use super::turn::KnownNumber;
use crate::bucket_state::BucketState;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::retries::RetryReason;
use crate::text::CallerText;

/// A round under way.
pub(super) struct Round {
    pub(super) bucket: Arc<BucketState>,
    pub(super) key: String,
    pub(super) encoded: String,
    pub(super) queue: Arc<Queue>,
    /// The latest deadline of the increments. Each call also ends at its own deadline.
    pub(super) deadline: Deadline,
}

impl Round {
    /// Carries the round out and answers its increments. Takes and returns the number of the key,
    /// if it is known.
    pub(super) async fn run(self, mut known: Option<KnownNumber>) -> Option<KnownNumber> {
        let mut conflicts = 0;
        loop {
            match self.attempt(known.take()).await {
                Ok(ControlFlow::Break(known)) => return known,
                Ok(ControlFlow::Continue(())) if Instant::now() < self.deadline.send_deadline() => {
                    pause(conflicts).await;
                    conflicts += 1;
                }
                Ok(ControlFlow::Continue(())) => {
                    self.queue.fail(&contended(&self.key));
                    return None;
                }
                Err(error) => {
                    self.queue.fail(&error);
                    return None;
                }
            }
        }
    }

    /// Tries once to write the sum. `Continue`: the key has changed meanwhile.
    async fn attempt(
        &self,
        known: Option<KnownNumber>,
    ) -> Result<ControlFlow<Option<KnownNumber>>, Error> {
        let number_of_key = Number {
            bucket: &self.bucket,
            key: &self.key,
            encoded: &self.encoded,
            deadline: &self.deadline,
        };
        let before = match known {
            // Another process may have set a smaller number since. So read it before an overflow
            // error.
            Some(known) if !self.queue.fits(known.number) => {
                return Ok(ControlFlow::Continue(()));
            }
            Some(known) => known,
            None => number_of_key.read().await?,
        };
        let overflow = |delta| {
            let key = CallerText::key(&self.key);
            Error::Overflow { key, delta }
        };
        let Some(number) = self.queue.add_up(before.number, overflow) else {
            return Ok(ControlFlow::Break(None));
        };
        let Some(revision) = number_of_key.write(number, before.revision).await? else {
            self.queue.record_conflict();
            let connection = self.bucket.connection();
            connection.count_retry(RetryReason::Conflict);
            return Ok(ControlFlow::Continue(()));
        };
        self.queue.succeed(before.number);
        Ok(ControlFlow::Break(Some(KnownNumber { number, revision })))
    }
}
