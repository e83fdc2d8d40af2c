//! Atomic batches: the writes of one batch are stored as a whole, or not at all (ADR-50, server ≥
//! 2.12.1).
//!
//! [`machine`] decides what to send and what is known of the batch. [`run`] does the I/O, in one
//! future. [`messages`] makes the messages and reads the answers.

mod machine;
mod messages;
mod run;

use crate::bucket_state::BucketState;
use crate::deadline::Deadline;
use crate::error::{BatchLimit, BucketFeature, CountedSize, Error, ValueLimit};
use crate::replica::ReplicaHandle;
use crate::stream_info::StreamInfo;
use crate::text::CallerText;
use crate::tuning;

use super::key_write::KeyWrite;
use machine::BatchOutcome;
use messages::{AtomicMessages, HEADER_ROOM};

/// Writes all of these distinct keys or none.
///
/// # Errors
///
/// Before anything is written: [`Error::Unsupported`], [`Error::TooLarge`],
/// [`Error::ValueTooLarge`]. Afterwards [`Error::AtomicBatchFailed`],
/// [`Error::UnclearBatch`], [`Error::PartlyStoredBatch`] or [`Error::FirstKeyStoredAlone`].
pub(super) async fn write(
    bucket: &BucketState,
    verb: &'static str,
    writes: Vec<KeyWrite>,
    deadline: &Deadline,
) -> Result<(), Error> {
    if writes.is_empty() {
        return Ok(());
    }
    let total = writes.len();
    if total > tuning::ATOMIC_KEYS {
        return Err(Error::TooLarge {
            limit: BatchLimit::AtomicKeys,
            max: tuning::ATOMIC_KEYS,
            counted: CountedSize::Keys(total),
        });
    }
    bucket.require_writes(deadline).await?;
    bucket
        .require(BucketFeature::AtomicBatches, deadline)
        .await?;
    if writes.iter().any(|write| write.value().is_some())
        && bucket.write_settings().value_ttl.is_some()
    {
        bucket.require(BucketFeature::ValueTtl, deadline).await?;
    }
    // One write is a whole by itself.
    if total == 1 {
        return super::write_each(bucket, verb, writes, deadline).await;
    }
    let is_too_large = |max: Option<usize>| {
        let mut sizes = writes.iter().map(KeyWrite::size);
        max.is_some_and(|max| sizes.any(|size| size + HEADER_ROOM > max))
    };
    let fits = |info: &StreamInfo| !is_too_large(info.max_message);
    let info = bucket.stream_info_refreshed_unless(fits, deadline).await?;
    let max_payload = bucket.connection().client().max_payload();
    let max = info
        .max_message
        .map_or(max_payload, |max| max.min(max_payload));
    if is_too_large(Some(max))
        && let Some(largest) = writes.iter().max_by_key(|write| write.size())
    {
        return Err(Error::ValueTooLarge {
            key: CallerText::key(largest.key()),
            size: largest.size(),
            limit: ValueLimit::AtomicBatch,
            max: max.saturating_sub(HEADER_ROOM),
        });
    }
    let mut messages = AtomicMessages::new(bucket, writes, info);
    let cause =
        |error: Option<Error>| Box::new(error.unwrap_or_else(|| bucket.no_answer_error(deadline)));
    let recorder = bucket.replica().map(ReplicaHandle::floor_recorder);
    let outcome = run::run(bucket, &mut messages, deadline).await;
    if let Some(recorder) = recorder {
        match outcome {
            BatchOutcome::Stored(Some(last)) => {
                // The server stores a batch without a gap.
                let first = (last + 1).saturating_sub(total as u64);
                recorder.record_written((first, last));
            }
            BatchOutcome::Failed(_) => {}
            _ => recorder.record_unclear_write(),
        }
    }
    match outcome {
        BatchOutcome::Stored(_) => Ok(()),
        BatchOutcome::Failed(error) => Err(Error::AtomicBatchFailed {
            total,
            verb,
            cause: cause(error),
        }),
        BatchOutcome::Unclear(error) => Err(Error::UnclearBatch {
            total,
            verb,
            cause: cause(error),
        }),
        BatchOutcome::PartlyStored(error) => Err(Error::PartlyStoredBatch {
            verb,
            cause: cause(error),
        }),
        BatchOutcome::StoredAlone(error) => Err(error),
    }
}
