//! One round: the increments of a key that are carried out together.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::time::Instant;

use super::contended;
use super::number::{Number, pause};
use super::waiting::{Last, Queue};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::handle::BucketHandle;
use crate::text::CallerText;

/// A round under way.
pub(super) struct Round {
    pub(super) bucket: Arc<BucketHandle>,
    pub(super) key: String,
    pub(super) encoded: String,
    pub(super) queue: Arc<Queue>,
    /// The latest of the increments' deadlines. Each call keeps to its own besides.
    pub(super) deadline: Deadline,
}

impl Round {
    /// Carries the round out and answers its increments. `last` is what the key was when it was last read
    /// or written, if that is known. Returns the same for the next round.
    pub(super) async fn run(self, mut last: Option<Last>) -> Option<Last> {
        let mut conflicts = 0;
        loop {
            match self.attempt(last.take()).await {
                Ok(ControlFlow::Break(last)) => return last,
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

    /// Adds the increments up once. `Continue`: the key has changed meanwhile.
    async fn attempt(&self, known: Option<Last>) -> Result<ControlFlow<Option<Last>>, Error> {
        let number_of_key = Number {
            bucket: &self.bucket,
            key: &self.key,
            encoded: &self.encoded,
            deadline: &self.deadline,
        };
        let before = match known {
            // The key may have been set to less since.
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
            return Ok(ControlFlow::Continue(()));
        };
        self.queue.succeed(before.number);
        Ok(ControlFlow::Break(Some(Last { number, revision })))
    }
}
