//! Answers that do not say by themselves what has become of the batch: the leader is asked.

use super::AtomicRun;
use crate::error::Error;
use crate::read;
use crate::tuning;
use crate::write::atomic::machine::{AtomicAnswer, FoundBatch};
use crate::write::atomic::messages::DoubtfulAnswer;

impl AtomicRun<'_> {
    pub(super) async fn resolve(&self, answer: DoubtfulAnswer) -> AtomicAnswer<Error> {
        match answer {
            DoubtfulAnswer::Stale(error) => {
                let before = &self.messages.info;
                let refreshed = self
                    .bucket
                    .refresh_stream_info(Some(before), self.deadline)
                    .await;
                match refreshed {
                    Ok(info) if info.write_rules_differ_from(before) => {
                        AtomicAnswer::TryAgain(error)
                    }
                    _ => AtomicAnswer::Refused(error),
                }
            }
            DoubtfulAnswer::LimitReached(error) => match self.find_stored().await {
                Ok(FoundBatch::Nothing) => AtomicAnswer::Refused(error),
                _ => AtomicAnswer::PartlyStored(Some(error)),
            },
            DoubtfulAnswer::PartKnown => match self.find_stored().await {
                Ok(FoundBatch::Whole) => AtomicAnswer::Stored(None),
                _ => AtomicAnswer::PartlyStored(None),
            },
        }
    }

    /// What the leader has of the batch. On a stream on several nodes one message proves the
    /// batch, so only a few keys are read.
    pub(super) async fn find_stored(&self) -> Result<FoundBatch, Error> {
        let one_proves_all = self.messages.info.is_replicated;
        let looks = if one_proves_all {
            tuning::ATOMIC_LOOKS
        } else {
            self.messages.writes.len()
        };
        let keys = self.messages.smallest(looks);
        let ids = read::last_write_ids(self.bucket, &keys, self.deadline).await?;
        let is_mine = |id: &Option<String>| id.as_ref().is_some_and(|id| self.messages.is_mine(id));
        let mine = ids.iter().filter(|id| is_mine(id)).count();
        Ok(match mine {
            0 => FoundBatch::Nothing,
            some if some < ids.len() && !one_proves_all => FoundBatch::Part,
            _ => FoundBatch::Whole,
        })
    }
}
