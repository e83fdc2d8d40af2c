//! Reads whose answers count for their store while they come in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use eventual_batch_engine::{Bucket, Deadline, Error, Page, ReadNode, ResponseBudget};
use eventual_batch_links::{CallError, ShedReason};

use crate::call::over_limit;
use crate::host::KeyValueCtx;
use crate::limits::{Charge, OverLimit};

/// What the answer of one read takes of its store's share. A read that would take more than is left
/// stops, and is an error that names the limit.
#[derive(Debug)]
pub(crate) struct ReadCharge(Mutex<ChargedAnswer>);

#[derive(Debug)]
struct ChargedAnswer {
    charge: Charge,
    /// Why the answer could not grow.
    over: Option<OverLimit>,
}

impl ReadCharge {
    pub(crate) fn new(context: &KeyValueCtx) -> Self {
        Self(Mutex::new(ChargedAnswer {
            charge: context.usage.charge_nothing(),
            over: None,
        }))
    }

    /// What is counted for the answer.
    pub(crate) fn into_charge(self) -> Charge {
        let answer = self.0.into_inner();
        answer.unwrap_or_else(PoisonError::into_inner).charge
    }

    /// [`Bucket::get_many`].
    pub(crate) async fn get_many(
        &self,
        bucket: &Bucket,
        keys: &[String],
        deadline: Deadline,
    ) -> Result<Vec<Option<Bytes>>, CallError> {
        self.named(bucket.get_many_budgeted(keys, self, deadline).await)
    }

    /// [`Bucket::keys`].
    pub(crate) async fn keys(
        &self,
        bucket: &Bucket,
        deadline: Deadline,
    ) -> Result<Vec<String>, CallError> {
        self.named(bucket.keys_budgeted(self, deadline).await)
    }

    /// [`Bucket::list_keys`]. A page is counted when it has come.
    pub(crate) async fn list_keys(
        &self,
        bucket: &Bucket,
        after: u64,
        deadline: Deadline,
    ) -> Result<Page, CallError> {
        let page = bucket.list_keys(after, deadline).await?;
        self.take(page.keys.iter().map(String::len).sum())?;
        Ok(page)
    }

    /// [`Bucket::get_from`]. A value is counted when it has come.
    pub(crate) async fn get(
        &self,
        bucket: &Bucket,
        node: ReadNode,
        key: &str,
        deadline: Deadline,
    ) -> Result<Option<Bytes>, CallError> {
        let value = bucket.get_from(node, key, deadline).await?;
        self.take(value.as_ref().map_or(0, Bytes::len))?;
        Ok(value)
    }

    fn take(&self, bytes: usize) -> Result<(), CallError> {
        let grown = self.locked().charge.resize(bytes);
        grown.map_err(|over| over_limit(over, ShedReason::ResponseMemory))
    }

    /// The outcome of a read, whose error names the limit if it was over one.
    fn named<T>(&self, outcome: Result<T, Error>) -> Result<T, CallError> {
        outcome.map_err(|error| match self.locked().over {
            Some(over) => over_limit(over, ShedReason::ResponseMemory),
            None => error.into(),
        })
    }

    fn locked(&self) -> MutexGuard<'_, ChargedAnswer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResponseBudget for ReadCharge {
    fn grow_to(&self, bytes: usize) -> bool {
        let mut answer = self.locked();
        answer.over = answer.charge.resize(bytes).err();
        answer.over.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use eventual_batch_links::{Links, RawSettings};

    use super::*;
    use crate::{KeyValueHost, KeyValueLimits};

    #[test]
    fn an_answer_counts_while_it_comes_in() {
        let links = Links::new("test", RawSettings::default(), Duration::from_secs(1));
        let limits = KeyValueLimits {
            max_bytes: 80,
            max_total_bytes: 100,
            ..KeyValueLimits::default()
        };
        let host = KeyValueHost::with_limits(Arc::new(links), limits);
        let (one, other) = (host.context("one"), host.context("other"));
        let read = ReadCharge::new(&one);
        assert!(read.grow_to(70));
        let beside = ReadCharge::new(&other);
        assert!(beside.grow_to(30));
        assert!(!beside.grow_to(31));
        let named = |read: &ReadCharge| read.named::<()>(Err(Error::NoMemory));
        let error = named(&beside).unwrap_err();
        assert!(matches!(error, CallError::Shed { .. }), "{error}");
        assert!(error.to_string().contains("`max_total_bytes` = 100"));
        assert!(!read.grow_to(81));
        let error = named(&read).unwrap_err();
        assert!(matches!(error, CallError::Rejected { .. }), "{error}");
        assert!(error.to_string().contains("`max_bytes` = 80"), "{error}");
        // A read that starts again, and one that was dropped.
        assert!(read.grow_to(10));
        drop(read);
        assert!(beside.grow_to(80));
    }
}
