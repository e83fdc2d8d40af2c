//! The number that is a key's value: reading it, and writing it over the revision that was read.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::unclear;
use super::waiting::Last;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::handle::BucketHandle;
use crate::message::Stored;
use crate::read;
use crate::stream_info::ReadPath;
use crate::text::CallerText;
use crate::tuning;
use crate::write::{self, Replaced};

/// One key's number, for one call or round.
pub(super) struct Number<'a> {
    pub(super) bucket: &'a BucketHandle,
    pub(super) key: &'a str,
    pub(super) encoded: &'a str,
    pub(super) deadline: &'a Deadline,
}

impl Number<'_> {
    pub(super) async fn read(&self) -> Result<Last, Error> {
        let stored = self.stored().await?;
        let revision = stored.as_ref().map_or(0, Stored::revision);
        let value = stored.and_then(Stored::into_value);
        match value.as_deref() {
            // As keyvalue-nats counts an empty value.
            None | Some([]) => Some(0),
            Some(text) => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok()),
        }
        .map(|number| Last { number, revision })
        .ok_or_else(|| Error::NotANumber {
            key: CallerText::key(self.key),
        })
    }

    /// The key's last message.
    async fn stored(&self) -> Result<Option<Stored>, Error> {
        read::read_one(self.bucket, self.encoded, ReadPath::Origin, self.deadline).await
    }

    /// The new revision; `None` if the key has changed meanwhile.
    pub(super) async fn write(&self, number: u64, expected: u64) -> Result<Option<u64>, Error> {
        let value = Bytes::from(number.to_string());
        let written = write::replace(self.bucket, self.key, value, expected, self.deadline);
        match written.await? {
            Replaced::Written(revision) => Ok(Some(revision)),
            Replaced::Conflict(id) => {
                let stored = self.stored().await?;
                let is_it = |stored: &Stored| stored.write_id() == Some(&id);
                Ok(stored.filter(is_it).map(|stored| stored.revision()))
            }
            // A replicated stream looks at the revision before it looks at the id.
            Replaced::Unclear(id) => match self.stored().await {
                Ok(Some(stored)) if stored.write_id() == Some(&id) => Ok(Some(stored.revision())),
                Ok(_) | Err(_) => Err(unclear(self.key)),
            },
        }
    }
}

/// Waits for a random time, longer from conflict to conflict: two that contend would else go on in step.
pub(super) async fn pause(conflicts: u32) {
    let (first, longest) = tuning::CONTENTION;
    let most = (first * 2_u32.saturating_pow(conflicts)).min(longest);
    let random = RandomState::new().build_hasher().finish();
    let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    sleep(Duration::from_micros(random % most.max(1))).await;
}
