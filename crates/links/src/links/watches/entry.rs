//! One link that watches: what it was put with, and what runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tracing::{info, warn};

use crate::hints::{connection_hint, with_hint};
use crate::metrics::WatchMetrics;
use crate::settings::{ConfigError, RawSettings, WatchIdentity, WatchLinkSettings};
use eventual_batch_engine::{ChangeHandler, Connection, DeliveryOutcome, KeyChange, Watcher};

#[derive(Clone)]
pub(super) struct WatchEntry {
    /// What the link was put with. It is read again when the defaults change. `None`: it could not
    /// be read at all.
    pub(super) put: Option<WatchPut>,
    pub(super) state: WatchLinkState,
}

#[derive(Clone)]
pub(super) enum WatchLinkState {
    Running(Arc<RunningWatch>),
    Refused {
        error: ConfigError,
        /// The watch that ran before. Its consumer is there until the link goes.
        before: Option<Arc<RunningWatch>>,
    },
}

impl WatchEntry {
    pub(super) fn running(&self) -> Option<&Arc<RunningWatch>> {
        match &self.state {
            WatchLinkState::Running(running) => Some(running),
            WatchLinkState::Refused { .. } => None,
        }
    }

    /// The watch that runs, or that ran before the link was refused.
    pub(super) fn last(self) -> Option<Arc<RunningWatch>> {
        match self.state {
            WatchLinkState::Running(running) => Some(running),
            WatchLinkState::Refused { before, .. } => before,
        }
    }
}

#[derive(Clone)]
pub(super) struct WatchPut {
    pub(super) identity: WatchIdentity,
    pub(super) settings: RawSettings,
    pub(super) default_timeout: Duration,
    pub(super) handler: Arc<dyn ChangeHandler>,
}

impl fmt::Debug for WatchEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchEntry").finish_non_exhaustive()
    }
}

pub(super) struct RunningWatch {
    pub(super) settings: WatchLinkSettings,
    pub(super) connection: Arc<Connection>,
    pub(super) watcher: Watcher,
}

impl RunningWatch {
    /// Gives the place to a watch with these settings.
    ///
    /// Whether two addresses are of the same NATS is not known, and another login may see another
    /// account. So a consumer is never deleted of which the next watch may have need. One that is
    /// left behind costs little, and one that is deleted costs changes.
    pub(super) async fn replace(&self, settings: &WatchLinkSettings) {
        if self.settings.watch.name != settings.watch.name {
            return self.delete().await;
        }
        self.watcher.abort().await;
        let servers = self.settings.connection.display_servers();
        if servers != settings.connection.display_servers() {
            info!(
                bucket = self.settings.watch.bucket.name,
                consumer = self.watcher.consumer_name(),
                servers,
                "a link that watches has other servers now; if those before are of another NATS \
                 system, delete the consumer there"
            );
        }
    }

    /// Why nothing is delivered now.
    pub(super) fn trouble(&self) -> Option<String> {
        let outage = self.connection.outage().map(|outage| {
            let hint = outage.error.as_ref().and_then(connection_hint);
            let text = format!("NATS at {}: {outage}", self.connection.servers());
            with_hint(&text, hint)
        });
        outage.or_else(|| self.watcher.trouble())
    }

    /// Ends the watch, and deletes its consumer.
    pub(super) async fn delete(&self) {
        if !self.watcher.delete().await {
            warn!(
                bucket = self.settings.watch.bucket.name,
                consumer = self.watcher.consumer_name(),
                "the consumer of a link that is gone could not be deleted, and keeps changes for \
                 nobody; delete it by hand"
            );
        }
    }
}

/// Counts what a handler does.
pub(super) struct CountedHandler {
    pub(super) handler: Arc<dyn ChangeHandler>,
    pub(super) metrics: WatchMetrics,
}

impl ChangeHandler for CountedHandler {
    fn deliver(&self, change: KeyChange) -> BoxFuture<'static, DeliveryOutcome> {
        let (stored, is_initial) = (change.stored, change.is_initial);
        let mut delivery = CountedDelivery {
            metrics: self.metrics.clone(),
            is_taken: false,
        };
        let delivered = self.handler.deliver(change);
        Box::pin(async move {
            let outcome = delivered.await;
            if outcome == DeliveryOutcome::Delivered {
                delivery.is_taken = true;
                // The server's clock may be ahead of this one.
                let lag = stored.elapsed().unwrap_or_default();
                // A value that was there before the watch was not waiting to be told.
                delivery.metrics.delivered((!is_initial).then_some(lag));
            }
            outcome
        })
    }

    fn given_up(&self) {
        self.metrics.given_up();
        self.handler.given_up();
    }
}

/// One try to deliver a change. It counts as not taken if it is dropped before, because its time is
/// over.
struct CountedDelivery {
    metrics: WatchMetrics,
    is_taken: bool,
}

impl Drop for CountedDelivery {
    fn drop(&mut self) {
        if !self.is_taken {
            self.metrics.not_taken();
        }
    }
}

impl WatchPut {
    pub(super) fn read(&self, defaults: &RawSettings) -> Result<WatchLinkSettings, ConfigError> {
        WatchLinkSettings::read(
            &self.settings,
            defaults,
            &self.identity,
            self.default_timeout,
        )
    }
}
