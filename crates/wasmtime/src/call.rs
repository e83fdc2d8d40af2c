//! One call of the engine on behalf of a component.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use eventual_batch_engine::{Bucket, Deadline, Kind};
use eventual_batch_links::{Call, CallError, ShedReason};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::info;

use crate::host::{HostState, KeyValueCtx};
use crate::limits::OverLimit;
use crate::resources::HeldValue;

/// What a write keeps in memory until it has ended.
#[derive(Debug)]
pub(crate) struct WriteParameters {
    keys: usize,
    /// Bytes that are to be counted for it.
    bytes: usize,
    /// Values that are counted already.
    values: Vec<HeldValue>,
}

impl WriteParameters {
    /// Of a write that has no values.
    pub(crate) fn of_keys(keys: &[String]) -> Self {
        Self {
            keys: keys.len(),
            bytes: keys.iter().map(String::len).sum(),
            values: Vec::new(),
        }
    }

    /// Of a write whose values are counted nowhere else.
    pub(crate) fn of_entries(entries: &[(String, Bytes)]) -> Self {
        let bytes = |(key, value): &(String, Bytes)| key.len() + value.len();
        Self {
            keys: entries.len(),
            bytes: entries.iter().map(bytes).sum(),
            values: Vec::new(),
        }
    }

    /// Of a write of the values of resources.
    pub(crate) fn of_held(entries: &[(String, Bytes)], values: Vec<HeldValue>) -> Self {
        Self {
            keys: entries.len(),
            bytes: entries.iter().map(|(key, _)| key.len()).sum(),
            values,
        }
    }
}

/// The error of a call that is over a limit of the host. `reason` is what metrics say of it if the
/// limit is of all stores.
pub(crate) fn over_limit(over: OverLimit, reason: ShedReason) -> CallError {
    if over.is_of_all_stores() {
        CallError::Shed {
            reason,
            text: format!("{over}; trying again may help"),
        }
    } else {
        CallError::Rejected {
            kind: Kind::TooLarge,
            reason: over.to_string(),
        }
    }
}

impl KeyValueCtx {
    /// A read. It stops when the store is dropped.
    pub(crate) async fn read<T, F>(
        &self,
        operation: &'static str,
        bucket: &str,
        keys: Option<usize>,
        work: impl FnOnce(Arc<Bucket>, Deadline) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let (_permit, call) = self.begin(operation)?;
        call.run(bucket, keys, work).await
    }

    /// A read that lists keys. It stops when the store is dropped. `listed` tells how many keys there
    /// are.
    pub(crate) async fn list<T, F>(
        &self,
        operation: &'static str,
        bucket: &str,
        listed: impl FnOnce(&T) -> usize,
        work: impl FnOnce(Arc<Bucket>, Deadline) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let (_permit, call) = self.begin(operation)?;
        call.run_listing(bucket, listed, work).await
    }

    /// A write. It goes on when the store is dropped, until it has ended or its time is over: a batch
    /// that is cut off half-way would leave its writer not even an error. As long, its memory counts.
    pub(crate) async fn write<T, F>(
        &self,
        operation: &'static str,
        bucket: &str,
        parameters: WriteParameters,
        work: impl FnOnce(Arc<Bucket>, Deadline) -> F + Send + 'static,
    ) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CallError>> + Send,
    {
        let (permit, call) = self.begin(operation)?;
        let WriteParameters {
            keys,
            bytes,
            values,
        } = parameters;
        let charge = match self.usage.charge_bytes(bytes) {
            Ok(charge) => charge,
            Err(over) => {
                let error = over_limit(over, ShedReason::ParameterMemory);
                call.reject(&error);
                return Err(error);
            }
        };
        let held = (permit, charge, values, self.guard.clone());
        let bucket = bucket.to_owned();
        let (sender, answer) = oneshot::channel();
        self.shared.writes.spawn(async move {
            let outcome = call.run(&bucket, Some(keys), work).await;
            drop(held);
            if let Err(outcome) = sender.send(outcome) {
                let outcome = outcome.map_or_else(|error| error.kind().name(), |_| "ok");
                info!(
                    operation,
                    outcome, "a write ended after its store was dropped"
                );
            }
        });
        match answer.await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Rejected {
                kind: Kind::Other,
                reason: format!("the host gave {operation} up; it may be carried out in part"),
            }),
        }
    }

    pub(crate) async fn set_entries(
        &self,
        operation: &'static str,
        bucket: &str,
        entries: Vec<(String, Bytes)>,
        parameters: WriteParameters,
    ) -> Result<(), CallError> {
        let work = |bucket: Arc<Bucket>, deadline| async move {
            Ok(bucket.set_many(entries, deadline).await?)
        };
        self.write(operation, bucket, parameters, work).await
    }

    pub(crate) async fn delete_keys(
        &self,
        operation: &'static str,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<(), CallError> {
        let parameters = WriteParameters::of_keys(&keys);
        let work = |bucket: Arc<Bucket>, deadline| async move {
            Ok(bucket.delete_many(keys, deadline).await?)
        };
        self.write(operation, bucket, parameters, work).await
    }

    pub(crate) async fn add(
        &self,
        bucket: &str,
        key: String,
        delta: u64,
    ) -> Result<u64, CallError> {
        let parameters = WriteParameters::of_keys(std::slice::from_ref(&key));
        let work = move |bucket: Arc<Bucket>, deadline| async move {
            Ok(bucket.increment(&key, delta, deadline).await?)
        };
        self.write("increment", bucket, parameters, work).await
    }

    fn begin(&self, operation: &'static str) -> Result<(OwnedSemaphorePermit, Call), CallError> {
        let HostState { links, calls, .. } = &*self.shared;
        let call = Call::new(links, operation, self.caller.clone());
        match Arc::clone(calls).try_acquire_owned() {
            Ok(permit) => Ok((permit, call)),
            Err(_) => {
                let error = CallError::Shed {
                    reason: ShedReason::Calls,
                    text: format!(
                        "the host's limit `max_calls` = {} is reached; trying again may help",
                        self.shared.limits.max_calls
                    ),
                };
                call.reject(&error);
                // It names no key.
                Err(error)
            }
        }
    }
}
