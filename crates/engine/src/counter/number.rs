//! Reading the number of a key, and writing it over the revision that was read.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::turn::KnownNumber;
use super::unclear;
use crate::bucket_state::BucketState;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::message::StoredMessage;
use crate::read;
use crate::stream_info::ReadPath;
use crate::text::CallerText;
use crate::tuning;
use crate::write::{self, ReplaceOutcome};

/// One key's number, for one call or round.
pub(super) struct Number<'a> {
    pub(super) bucket: &'a BucketState,
    pub(super) key: &'a str,
    pub(super) encoded: &'a str,
    pub(super) deadline: &'a Deadline,
}

impl Number<'_> {
    pub(super) async fn read(&self) -> Result<KnownNumber, Error> {
        let stored = self.stored().await?;
        let revision = stored.as_ref().map_or(0, StoredMessage::revision);
        let value = stored.and_then(StoredMessage::into_value);
        match value.as_deref() {
            // Other programs may start a counter with an empty value.
            None | Some([]) => Some(0),
            Some(text) => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok()),
        }
        .map(|number| KnownNumber { number, revision })
        .ok_or_else(|| Error::NotANumber {
            key: CallerText::key(self.key),
        })
    }

    /// The key's last message.
    async fn stored(&self) -> Result<Option<StoredMessage>, Error> {
        read::read_last_message(
            self.bucket,
            self.encoded,
            Some(ReadPath::OriginLeader),
            self.deadline,
        )
        .await
    }

    /// Writes the number. Returns the new revision, or `None` if the key has changed meanwhile.
    pub(super) async fn write(&self, number: u64, expected: u64) -> Result<Option<u64>, Error> {
        let value = Bytes::from(number.to_string());
        let written = write::replace(self.bucket, self.key, value, expected, self.deadline);
        match written.await? {
            ReplaceOutcome::Written(revision) => Ok(Some(revision)),
            ReplaceOutcome::Conflict(id) => {
                let stored = self.stored().await?;
                let is_it = |stored: &StoredMessage| stored.write_id() == Some(&id);
                Ok(stored.filter(is_it).map(|stored| stored.revision()))
            }
            // A replicated stream looks at the revision before the id. So it refuses a second copy
            // even if the first one is stored.
            ReplaceOutcome::Unclear(id) => match self.stored().await {
                Ok(Some(stored)) if stored.write_id() == Some(&id) => Ok(Some(stored.revision())),
                Ok(_) | Err(_) => Err(unclear(self.key)),
            },
        }
    }
}

/// Waits for a random time, longer after each conflict. Otherwise two processes could conflict each
/// time.
pub(super) async fn pause(conflicts: u32) {
    let (first, longest) = tuning::CONFLICT_PAUSE;
    let max = (first * 2_u32.saturating_pow(conflicts)).min(longest);
    let random = RandomState::new().build_hasher().finish();
    let max = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
    sleep(Duration::from_micros(random % max.max(1))).await;
}
