//! One call of the engine on behalf of a component.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use eventual_batch_engine::{Bucket, Deadline, Kind};
use eventual_batch_links::{Call, CallError, ShedReason};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::info;

use crate::host::{HostState, KeyValueCtx};

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
    /// that is cut off half-way would leave its writer not even an error.
    pub(crate) async fn write<T, F>(
        &self,
        operation: &'static str,
        bucket: &str,
        keys: usize,
        work: impl FnOnce(Arc<Bucket>, Deadline) -> F + Send + 'static,
    ) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CallError>> + Send,
    {
        let (permit, call) = self.begin(operation)?;
        let bucket = bucket.to_owned();
        let (sender, answer) = oneshot::channel();
        self.shared.writes.spawn(async move {
            let _permit = permit;
            let outcome = call.run(&bucket, Some(keys), work).await;
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
    ) -> Result<(), CallError> {
        let keys = entries.len();
        self.write(operation, bucket, keys, |bucket, deadline| async move {
            Ok(bucket.set_many(entries, deadline).await?)
        })
        .await
    }

    pub(crate) async fn delete_keys(
        &self,
        operation: &'static str,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<(), CallError> {
        let count = keys.len();
        self.write(operation, bucket, count, |bucket, deadline| async move {
            Ok(bucket.delete_many(keys, deadline).await?)
        })
        .await
    }

    pub(crate) async fn add(
        &self,
        bucket: &str,
        key: String,
        delta: u64,
    ) -> Result<u64, CallError> {
        self.write("increment", bucket, 1, move |bucket, deadline| async move {
            Ok(bucket.increment(&key, delta, deadline).await?)
        })
        .await
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
