//! Links over which components are told of changes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tracing::{error, info, warn};

use super::Links;
use crate::hints::{connection_hint, with_hint};
use crate::metrics::WatchMetrics;
use crate::settings::{ConfigError, LinkKind, RawSettings, WatchIdentity, WatchLinkSettings};
use eventual_batch_engine::{
    ChangeHandler, Connection, DeliveryOutcome, KeyChange, WatchStats, Watcher,
};

/// Who is told of changes, and over which link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId {
    /// The component.
    pub target: String,
    /// The link's name.
    pub link: String,
}

/// Why nothing is delivered over a link now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchTrouble {
    /// Which link.
    pub id: WatchId,
    /// What is wrong. It names no key.
    pub text: String,
}

impl fmt::Display for WatchTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, text } = self;
        write!(f, "link {:?} to {:?}: {text}", id.link, id.target)
    }
}

/// What a watch has counted so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchReport {
    /// Which link.
    pub id: WatchId,
    /// The bucket's name.
    pub bucket: String,
    /// The counts.
    pub stats: WatchStats,
}

/// All links that watch.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<WatchId, WatchEntry>>);

#[derive(Clone)]
struct WatchEntry {
    /// What the link was put with. It is read again when the defaults change.
    put: WatchPut,
    /// `None`: the link was refused.
    running: Option<Arc<RunningWatch>>,
}

#[derive(Clone)]
struct WatchPut {
    identity: WatchIdentity,
    settings: RawSettings,
    default_timeout: Duration,
    handler: Arc<dyn ChangeHandler>,
}

impl fmt::Debug for WatchEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchEntry").finish_non_exhaustive()
    }
}

struct RunningWatch {
    settings: WatchLinkSettings,
    connection: Arc<Connection>,
    watcher: Watcher,
}

impl RunningWatch {
    /// Whether the consumer of these settings is this one's.
    fn has_consumer_of(&self, settings: &WatchLinkSettings) -> bool {
        self.settings.connection == settings.connection
            && self.settings.watch.name == settings.watch.name
    }

    /// Ends the watch, and deletes its consumer.
    async fn delete(&self) {
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

impl Links {
    /// Adds a link over which `handler` is told of changes, or replaces the link of the same target
    /// and name. What was not delivered over the old one is delivered over the new one, if both watch
    /// the same bucket.
    ///
    /// `default_timeout` is how long a call may take unless the link says.
    ///
    /// # Errors
    ///
    /// Why the configuration cannot be used. Nothing is delivered over this link then.
    pub async fn put_watch(
        &self,
        identity: WatchIdentity,
        settings: RawSettings,
        default_timeout: Duration,
        handler: Arc<dyn ChangeHandler>,
    ) -> Result<(), ConfigError> {
        let whose = format!("link {:?} to {:?}", identity.link, identity.target);
        settings.warn_of_unknown_keys(&whose);
        settings.warn_of_useless_keys(&whose, LinkKind::Watch);
        let defaults = self.defaults.lock().await;
        let put = WatchPut {
            identity,
            settings,
            default_timeout,
            handler,
        };
        self.restart_watch(put, &defaults).await
    }

    /// Removes a link, with its consumer.
    pub async fn remove_watch(&self, id: &WatchId) {
        let _one_by_one = self.defaults.lock().await;
        let entry = self.watches.lock().remove(id);
        if let Some(running) = entry.and_then(|entry| entry.running) {
            running.delete().await;
        }
    }

    /// Ends a link whose settings cannot be read at all. Its consumer stays for when the link is put
    /// again.
    pub async fn refuse_watch(&self, id: &WatchId) {
        let _one_by_one = self.defaults.lock().await;
        let entry = self.watches.lock().remove(id);
        if let Some(running) = entry.and_then(|entry| entry.running) {
            running.watcher.abort().await;
        }
    }

    /// Starts no more calls, and waits for those under way. The consumers keep what was not
    /// delivered.
    pub async fn stop_watches(&self) {
        let _one_by_one = self.defaults.lock().await;
        let entries: Vec<_> = self.watches.lock().drain().collect();
        let running = entries.into_iter().filter_map(|(_, entry)| entry.running);
        join_all(running.map(|running| async move { running.watcher.stop().await })).await;
    }

    /// The links over which nothing is delivered now, because something has to be mended.
    #[must_use]
    pub fn watch_troubles(&self) -> Vec<WatchTrouble> {
        let watches = self.watches.lock();
        let mut troubles: Vec<_> = watches
            .iter()
            .filter_map(|(id, entry)| {
                let running = entry.running.as_ref()?;
                let outage = running.connection.outage().map(|outage| {
                    let hint = outage.error.as_ref().and_then(connection_hint);
                    let text = format!("NATS at {}: {outage}", running.connection.servers());
                    with_hint(&text, hint)
                });
                Some(WatchTrouble {
                    id: id.clone(),
                    text: outage.or_else(|| running.watcher.trouble())?,
                })
            })
            .collect();
        troubles.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        troubles
    }

    /// What each watch has counted so far.
    #[must_use]
    pub fn watch_reports(&self) -> Vec<WatchReport> {
        let watches = self.watches.lock();
        let reports = watches.iter().filter_map(|(id, entry)| {
            let running = entry.running.as_ref()?;
            Some(WatchReport {
                id: id.clone(),
                bucket: running.settings.watch.bucket.name.clone(),
                stats: running.watcher.stats(),
            })
        });
        reports.collect()
    }

    /// Reads the settings of all links that watch again, with other defaults. A link that cannot be
    /// used with them stays as it was.
    pub(super) async fn reread_watches(&self, defaults: &RawSettings) {
        let puts: Vec<WatchPut> = {
            let watches = self.watches.lock();
            watches.values().map(|entry| entry.put.clone()).collect()
        };
        for put in puts {
            let (target, link) = (put.identity.target.clone(), put.identity.link.clone());
            let read = put.read(defaults);
            let restarted = match read {
                Ok(_) => self.restart_watch(put, defaults).await,
                Err(error) => Err(error),
            };
            if let Err(error) = restarted {
                error!(
                    target,
                    link,
                    %error,
                    "the new defaults do not go with this link, which stays as it was"
                );
            }
        }
    }

    /// Starts the watch of this put in place of the one that runs, unless that one is the same.
    async fn restart_watch(
        &self,
        put: WatchPut,
        defaults: &RawSettings,
    ) -> Result<(), ConfigError> {
        let id = WatchId {
            target: put.identity.target.clone(),
            link: put.identity.link.clone(),
        };
        let before = self.watches.lock().get(&id).cloned();
        let before = before.and_then(|entry| entry.running);
        let made = async {
            let settings = put.read(defaults)?;
            let connection = self.connections.get(&settings.connection).await;
            Ok((settings, connection.map_err(ConfigError::of_connection)?))
        };
        let (running, outcome) = match made.await {
            Ok((settings, connection)) => {
                if let Some(before) = before {
                    if before.settings == settings {
                        let running = Some(before);
                        self.watches.lock().insert(id, WatchEntry { put, running });
                        return Ok(());
                    }
                    if before.has_consumer_of(&settings) {
                        before.watcher.abort().await;
                    } else {
                        before.delete().await;
                    }
                }
                info!(
                    target = id.target,
                    link = id.link,
                    bucket = settings.watch.bucket.name,
                    servers = settings.connection.display_servers(),
                    "linked to tell of changes"
                );
                let handler = Arc::clone(&put.handler);
                let handler = match self.watch_metrics(&settings.watch.bucket.name) {
                    Some(metrics) => Arc::new(CountedHandler { handler, metrics }),
                    None => handler,
                };
                let watcher =
                    Watcher::start(Arc::clone(&connection), settings.watch.clone(), handler);
                let running = RunningWatch {
                    settings,
                    connection,
                    watcher,
                };
                (Some(Arc::new(running)), Ok(()))
            }
            Err(error) => {
                if let Some(before) = before {
                    before.watcher.abort().await;
                }
                (None, Err(error))
            }
        };
        self.watches.lock().insert(id, WatchEntry { put, running });
        outcome
    }
}

/// Counts what a handler does.
struct CountedHandler {
    handler: Arc<dyn ChangeHandler>,
    metrics: WatchMetrics,
}

impl ChangeHandler for CountedHandler {
    fn deliver(&self, change: KeyChange) -> BoxFuture<'static, DeliveryOutcome> {
        let metrics = self.metrics.clone();
        let stored = change.stored;
        if change.attempt > 1 {
            metrics.redelivered();
        }
        let delivery = self.handler.deliver(change);
        Box::pin(async move {
            let outcome = delivery.await;
            if outcome == DeliveryOutcome::Delivered {
                // The server's clock may be ahead of this one.
                metrics.delivered(stored.elapsed().unwrap_or_default());
            }
            outcome
        })
    }

    fn given_up(&self) {
        self.metrics.given_up();
        self.handler.given_up();
    }
}

impl WatchPut {
    fn read(&self, defaults: &RawSettings) -> Result<WatchLinkSettings, ConfigError> {
        WatchLinkSettings::read(
            &self.settings,
            defaults,
            &self.identity,
            self.default_timeout,
        )
    }
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, HashMap<WatchId, WatchEntry>> {
        let Self(watches) = self;
        watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
