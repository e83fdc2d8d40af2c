//! Repeats a read that ran out of the memory that all answers share.
//!
//! How large an answer will be is known only when it has been read. So a read takes memory as it
//! goes on. If there is none left, the read is dropped, the call waits until there is room for the
//! largest answer that its link allows, and reads again. A call that waits holds nothing, so two
//! calls never wait for each other.

use std::sync::Arc;

use bytes::Bytes;
use eventual_batch_engine::{Bucket, Deadline, Error, Page, ReadNode, ResponseBudget};
use eventual_batch_links::{CallError, ShedReason};
use tokio::time::timeout_at;

use super::memory_budget::Reservation;

/// Reads of one call, within the memory that its answer may take. Clones are handles of the same
/// memory, which is free again when the last one is dropped.
#[derive(Clone, Debug)]
pub(crate) struct BudgetedReads {
    reservation: Arc<Reservation>,
}

impl BudgetedReads {
    pub(super) fn new(reservation: Reservation) -> Self {
        Self {
            reservation: Arc::new(reservation),
        }
    }

    /// Charges the encoded size of the results in place of what was charged while they were read.
    /// The results exist, so they stay even if there is no room for what their encoding has added.
    pub(super) fn charge_encoded_size(&self, bytes: usize) {
        let Self { reservation } = self;
        reservation.shrink_to(bytes);
        let _ = reservation.try_grow_to(bytes);
    }

    /// [`Bucket::get_many`], repeated if there was no room for the values.
    pub(crate) async fn get_many(
        &self,
        bucket: &Bucket,
        keys: &[String],
        deadline: Deadline,
    ) -> Result<Vec<Option<Bytes>>, CallError> {
        loop {
            match bucket.get_many_budgeted(keys, self, deadline).await {
                Err(Error::NoMemory) => {}
                values => return Ok(values?),
            }
            self.wait_for(bucket.limits().max_batch_bytes, deadline)
                .await?;
        }
    }

    /// [`Bucket::keys`], repeated if there was no room for them.
    pub(crate) async fn keys(
        &self,
        bucket: &Bucket,
        deadline: Deadline,
    ) -> Result<Vec<String>, CallError> {
        loop {
            match bucket.keys_budgeted(self, deadline).await {
                Err(Error::NoMemory) => {}
                keys => return Ok(keys?),
            }
            self.wait_for(bucket.limits().max_batch_bytes, deadline)
                .await?;
        }
    }

    /// [`Bucket::list_keys`] when there is room for the page.
    pub(crate) async fn list_keys(
        &self,
        bucket: &Bucket,
        after: u64,
        deadline: Deadline,
    ) -> Result<Page, CallError> {
        loop {
            let page = bucket.list_keys(after, deadline).await?;
            let bytes = page.keys.iter().map(String::len).sum();
            // It is read already, so it needs no headroom.
            if self.reservation.try_grow_to(bytes) {
                return Ok(page);
            }
            drop(page);
            self.wait_for(bytes, deadline).await?;
        }
    }

    /// [`Bucket::get_from`] when there is room for the value.
    pub(crate) async fn get(
        &self,
        bucket: &Bucket,
        node: ReadNode,
        key: &str,
        deadline: Deadline,
    ) -> Result<Option<Bytes>, CallError> {
        loop {
            let value = bucket.get_from(node, key, deadline).await?;
            let bytes = value.as_ref().map_or(0, Bytes::len);
            // It is read already, so it needs no headroom.
            if self.reservation.try_grow_to(bytes) {
                return Ok(value);
            }
            drop(value);
            self.wait_for(bytes, deadline).await?;
        }
    }

    /// Gives back what the call holds, and waits until there is room for this many bytes.
    async fn wait_for(&self, bytes: usize, deadline: Deadline) -> Result<(), CallError> {
        let Self { reservation } = self;
        reservation.release();
        let room = timeout_at(
            deadline.send_deadline(),
            reservation.wait_for(with_headroom(bytes)),
        );
        room.await.map_err(|_| CallError::Shed {
            reason: ShedReason::ResponseMemory,
            text: format!(
                "the provider's memory for results is used up ({} MiB for all calls together, \
                 `max_response_bytes_in_flight`): try again later, with smaller batches, or run more \
                 instances",
                reservation.budget().mebibytes()
            ),
        })
    }
}

impl ResponseBudget for BudgetedReads {
    fn grow_to(&self, bytes: usize) -> bool {
        self.reservation.try_grow_to(with_headroom(bytes))
    }
}

/// What is taken for an answer that has this many bytes so far. A large answer takes more than it
/// needs now. Therefore, many large answers that are read at once come to the bound before they
/// fill memory, and what is on its way from the server has room too.
fn with_headroom(bytes: usize) -> usize {
    const LARGE: usize = 1024 * 1024;
    if bytes < LARGE {
        bytes
    } else {
        bytes.next_power_of_two()
    }
}
