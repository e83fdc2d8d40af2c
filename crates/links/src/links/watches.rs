//! Links over which components are told of changes.

mod entry;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tracing::{error, info};

use super::Links;
use crate::settings::{ConfigError, LinkKind, RawSettings, WatchIdentity};
use entry::{CountedHandler, RunningWatch, WatchEntry, WatchLinkState, WatchPut};
use eventual_batch_engine::{ChangeHandler, WatchStats, Watcher};

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
    /// What is wrong. It names no key, unless a setting that is refused does.
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

impl Links {
    /// Adds a link over which `handler` is told of changes, or replaces the link of the same target
    /// and name. What was not delivered over the old one is delivered over the new one, if both
    /// watch the same bucket, also with another login or by other addresses.
    ///
    /// `default_timeout` is how long a call may take unless the link says.
    ///
    /// # Errors
    ///
    /// Why the configuration cannot be used. Nothing is delivered over this link then, and
    /// [`watch_troubles`](Self::watch_troubles) says so.
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
        let _serialized = self.defaults.lock().await;
        let entry = self.watches.lock().remove(id);
        if let Some(last) = entry.and_then(WatchEntry::last) {
            last.delete().await;
        }
    }

    /// Ends a link whose settings cannot be read at all. Its consumer stays for when the link is
    /// put again.
    pub async fn refuse_watch(&self, id: WatchId, error: ConfigError) {
        let _serialized = self.defaults.lock().await;
        let before = self.end_watch(&id).await;
        let state = WatchLinkState::Refused { error, before };
        let entry = WatchEntry { put: None, state };
        self.watches.lock().insert(id, entry);
    }

    /// Ends the watch of a link. Its consumer stays.
    async fn end_watch(&self, id: &WatchId) -> Option<Arc<RunningWatch>> {
        let entry = self.watches.lock().get(id).cloned();
        let last = entry?.last()?;
        last.watcher.abort().await;
        Some(last)
    }

    /// Starts no more calls, and waits for those under way. The consumers keep what was not
    /// delivered.
    pub async fn stop_watches(&self) {
        let _serialized = self.defaults.lock().await;
        let entries: Vec<_> = self.watches.lock().drain().collect();
        let running = entries.iter().filter_map(|(_, entry)| entry.running());
        join_all(running.map(|running| running.watcher.stop())).await;
    }

    /// The links over which nothing is delivered now, because something has to be mended.
    #[must_use]
    pub fn watch_troubles(&self) -> Vec<WatchTrouble> {
        let watches = self.watches.lock();
        let mut troubles: Vec<_> = watches
            .iter()
            .filter_map(|(id, entry)| {
                let text = match &entry.state {
                    WatchLinkState::Running(running) => running.trouble()?,
                    WatchLinkState::Refused { error, .. } => format!("refused: {error}"),
                };
                let id = id.clone();
                Some(WatchTrouble { id, text })
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
            let running = entry.running()?;
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
            let puts = watches.values().filter_map(|entry| entry.put.clone());
            puts.collect()
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
                    "this link's settings are invalid with the new defaults; the link keeps its old settings"
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
        let made = async {
            let settings = put.read(defaults)?;
            let connection = self.connections.get(&settings.connection).await;
            Ok((settings, connection.map_err(ConfigError::of_connection)?))
        };
        let (settings, connection) = match made.await {
            Ok(made) => made,
            Err(error) => {
                let state = WatchLinkState::Refused {
                    error: ConfigError::clone(&error),
                    before: self.end_watch(&id).await,
                };
                let put = Some(put);
                self.watches.lock().insert(id, WatchEntry { put, state });
                return Err(error);
            }
        };
        let before = self.watches.lock().get(&id).cloned();
        if let Some(before) = &before
            && before.running().is_some_and(|it| it.settings == settings)
        {
            let (put, state) = (Some(put), before.state.clone());
            self.watches.lock().insert(id, WatchEntry { put, state });
            return Ok(());
        }
        if let Some(last) = before.and_then(WatchEntry::last) {
            last.replace(&settings).await;
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
        let watcher = Watcher::start(Arc::clone(&connection), settings.watch.clone(), handler);
        let state = WatchLinkState::Running(Arc::new(RunningWatch {
            settings,
            connection,
            watcher,
        }));
        let put = Some(put);
        self.watches.lock().insert(id, WatchEntry { put, state });
        Ok(())
    }
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, HashMap<WatchId, WatchEntry>> {
        let Self(watches) = self;
        watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
