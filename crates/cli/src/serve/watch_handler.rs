//! Tells the component of changes: an instance for each, within limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eventual_batch_engine::{ChangeHandler, ChangeKind, DeliveryOutcome, KeyChange};
use eventual_batch_links::WatchIdentity;
use eventual_batch_wasmtime::WatcherExport;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, debug, info, info_span, warn};
use wasmtime::PoolConcurrencyLimitError;

use super::guest::GuestState;
use super::instances::{InstanceSettings, log_failure};

/// Tells the component of the changes of one watch.
#[derive(Clone)]
pub(super) struct InstanceWatcher {
    component: WatcherExport<GuestState>,
    instances: InstanceSettings,
    watch: Arc<str>,
    /// The name by which the component's links grant the bucket.
    bucket: Arc<str>,
    /// As many as there is room for. An instance that is cut off may keep its room for a moment, and
    /// until its writes have ended.
    slots: Arc<Semaphore>,
    /// Whether the last call failed.
    failing: Arc<AtomicBool>,
}

impl InstanceWatcher {
    pub(super) fn new(
        component: WatcherExport<GuestState>,
        instances: InstanceSettings,
        identity: &WatchIdentity,
        bucket: String,
        in_flight: usize,
    ) -> Self {
        Self {
            component,
            instances,
            watch: identity.link.as_str().into(),
            bucket: bucket.into(),
            slots: Arc::new(Semaphore::new(in_flight)),
            failing: Arc::default(),
        }
    }

    async fn tell(self, change: KeyChange) -> DeliveryOutcome {
        // If the call takes too long, it is dropped here.
        let mut report = TellReport {
            watcher: &self,
            problem: Some("its time was over (`watch_timeout`)"),
        };
        // Nobody closes the semaphore.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        // A task of its own: while one instance computes, the others and the watch go on.
        let instance = tokio::spawn(self.clone().run(change, slot).in_current_span());
        let outcome = AbortOnDropHandle::new(instance)
            .await
            .unwrap_or(DeliveryOutcome::Failed);
        report.problem = match outcome {
            DeliveryOutcome::Delivered => None,
            DeliveryOutcome::Failed => Some("it failed"),
            DeliveryOutcome::Unreachable => Some("there is no room for another instance"),
        };
        outcome
    }

    async fn run(self, change: KeyChange, slot: Option<OwnedSemaphorePermit>) -> DeliveryOutcome {
        let slot = Arc::new(slot);
        let mut store = self.instances.store(slot.clone());
        let call = async {
            let (key, bucket) = (change.key.as_str(), &*self.bucket);
            match &change.kind {
                ChangeKind::Set(value) => {
                    let told = self.component.on_set(&mut store, bucket, key, value);
                    told.await
                }
                ChangeKind::Delete => self.component.on_delete(&mut store, bucket, key).await,
            }
        };
        let told = self.instances.turns.share(call).await;
        let outcome = match told {
            Ok(()) => DeliveryOutcome::Delivered,
            Err(error) if error.is::<PoolConcurrencyLimitError>() => DeliveryOutcome::Unreachable,
            Err(error) => {
                log_failure(&error, &store);
                DeliveryOutcome::Failed
            }
        };
        drop(store);
        drop(slot);
        outcome
    }

    /// Logs when calls begin to fail, and when they succeed again.
    fn note(&self, problem: Option<&'static str>) {
        let watch = &*self.watch;
        let was_failing = self.failing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            None if was_failing => info!(watch, "the component is told of changes again"),
            None => debug!(watch, "told the component of a change"),
            Some(problem) if !was_failing => warn!(
                watch,
                problem, "the component did not take a change, which is tried again"
            ),
            Some(problem) => debug!(watch, problem, "the component did not take a change"),
        }
    }
}

impl ChangeHandler for InstanceWatcher {
    fn deliver(&self, change: KeyChange) -> BoxFuture<'static, DeliveryOutcome> {
        let (watch, attempt) = (&*self.watch, change.attempt);
        let span = info_span!("tell", watch, revision = change.revision, attempt);
        self.clone().tell(change).instrument(span).boxed()
    }
}

/// Notes the outcome of a call when the call ends, or is dropped.
struct TellReport<'a> {
    watcher: &'a InstanceWatcher,
    problem: Option<&'static str>,
}

impl Drop for TellReport<'_> {
    fn drop(&mut self) {
        self.watcher.note(self.problem);
    }
}
