//! All links, and which bucket a call reaches by its caller, its link and a name.
//!
//! A caller reaches only the buckets that its own links grant. No name and no key in a call changes
//! that.

mod error;
mod link;
mod outage;
mod resolve;
mod watches;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use opentelemetry::metrics::Meter;
use tokio::sync::Mutex;
use tracing::{error, info};

pub use error::LinkError;
pub use link::Link;
pub use outage::LinkOutage;
pub use resolve::Grant;
use watches::Watches;
pub use watches::{WatchId, WatchReport, WatchTrouble};

use crate::metrics::{LinkMetrics, ShedReason, WatchMetrics};
use crate::settings::{ConfigError, LinkKind, LinkSettings, RawSettings};
use eventual_batch_engine::{Connections, Replicas};

/// The link name of a call that names none.
pub const DEFAULT_LINK: &str = "default";

/// How many bytes of memory the copies of all buckets may take together.
const MAX_REPLICA_BYTES: usize = 512 * 1024 * 1024;

/// How warnings call the settings of links that do not set their own.
const DEFAULTS: &str = "the defaults";

/// The most characters of a name that an error or the log shows. Only an invalid name is longer.
pub(crate) const SHOWN_NAME_CHARS: usize = 256;

#[derive(Clone, Debug)]
enum LinkState {
    Ready(Arc<Link>),
    Refused(ConfigError),
}

#[derive(Debug)]
struct Entry {
    /// The link's settings. They are read again when the defaults change. `None`: they could not be
    /// read at all, so the link stays refused until it is put again.
    settings: Option<RawSettings>,
    state: LinkState,
}

/// One caller's links by name.
type CallerLinks = HashMap<String, Entry>;

/// All links of a front end.
#[derive(Debug)]
pub struct Links {
    connections: Arc<Connections>,
    replicas: Arc<Replicas>,
    watches: Watches,
    default_timeout: Duration,
    metrics: Option<LinkMetrics>,
    by_caller: RwLock<HashMap<String, CallerLinks>>,
    /// The settings of links that do not set their own. This is locked while links change, so that
    /// they change one by one.
    defaults: Mutex<RawSettings>,
}

impl Links {
    /// No links yet. Servers list the connections as `client_name`. `default_timeout` is for links
    /// without a `timeout`.
    #[must_use]
    pub fn new(client_name: &str, defaults: RawSettings, default_timeout: Duration) -> Self {
        defaults.warn_of_unknown_keys(DEFAULTS);
        Self {
            connections: Arc::new(Connections::new(client_name)),
            replicas: Arc::new(Replicas::new(MAX_REPLICA_BYTES)),
            watches: Watches::default(),
            default_timeout,
            metrics: None,
            by_caller: RwLock::default(),
            defaults: Mutex::new(defaults),
        }
    }

    /// The same with metrics: all of [`METRICS`](crate::METRICS), made with the meter.
    #[must_use]
    pub fn with_metrics(mut self, meter: &Meter) -> Self {
        self.metrics = Some(LinkMetrics::new(meter, &self.connections, &self.replicas));
        self
    }

    /// What counts the changes of a watched bucket. `None` if the links have no metrics.
    #[must_use]
    pub fn watch_metrics(&self, bucket: &str) -> Option<WatchMetrics> {
        Some(self.metrics.as_ref()?.watch(bucket))
    }

    /// Counts a call, or a request that would have made calls, that was refused under load.
    pub fn note_shed(&self, reason: ShedReason) {
        if let Some(metrics) = &self.metrics {
            metrics.calls.shed(reason);
        }
    }

    pub(crate) fn metrics(&self) -> Option<&LinkMetrics> {
        self.metrics.as_ref()
    }

    /// Adds a link, or replaces the link of the same caller and name. Calls that are running go on
    /// with the old link.
    ///
    /// # Errors
    ///
    /// Why the configuration cannot be used. The link is kept as refused, and its calls are
    /// answered with the reason.
    pub async fn put(
        &self,
        caller: &str,
        name: &str,
        settings: RawSettings,
    ) -> Result<(), ConfigError> {
        let whose = format!("link {name:?} from {caller:?}");
        settings.warn_of_unknown_keys(&whose);
        settings.warn_of_useless_keys(&whose, LinkKind::Calls);
        let defaults = self.defaults.lock().await;
        let made = self.build_link(caller, name, &settings, &defaults).await;
        let (state, outcome) = match made {
            Ok(link) => (LinkState::Ready(Arc::new(link)), Ok(())),
            Err(error) => (LinkState::Refused(error.clone()), Err(error)),
        };
        let entry = Entry {
            settings: Some(settings),
            state,
        };
        self.insert(caller, name, entry);
        outcome
    }

    /// Keeps a link as refused whose settings cannot be read at all. It stays refused until it is
    /// put again.
    pub async fn refuse(&self, caller: &str, name: &str, error: ConfigError) {
        let _serialized = self.defaults.lock().await;
        let entry = Entry {
            settings: None,
            state: LinkState::Refused(error),
        };
        self.insert(caller, name, entry);
    }

    fn insert(&self, caller: &str, name: &str, entry: Entry) {
        self.write()
            .entry(caller.to_owned())
            .or_default()
            .insert(name.to_owned(), entry);
    }

    /// Removes one link. Its running calls go on.
    pub async fn remove(&self, caller: &str, name: &str) {
        let _serialized = self.defaults.lock().await;
        let mut by_caller = self.write();
        if let Some(links) = by_caller.get_mut(caller) {
            links.remove(name);
            if links.is_empty() {
                by_caller.remove(caller);
            }
        }
    }

    /// Sets new defaults, with the same secrets, and reads every link again with them. A link that
    /// cannot be used with them stays as it was.
    pub async fn update_defaults(&self, config: HashMap<String, String>) {
        let mut defaults = self.defaults.lock().await;
        let updated = defaults.with_config(config);
        updated.warn_of_unknown_keys(DEFAULTS);
        let links: Vec<(String, String, RawSettings)> = self
            .read()
            .iter()
            .flat_map(|(caller, links)| {
                links.iter().filter_map(|(name, entry)| {
                    Some((caller.clone(), name.clone(), entry.settings.clone()?))
                })
            })
            .collect();
        for (caller, name, settings) in links {
            match self.build_link(&caller, &name, &settings, &updated).await {
                Ok(link) => {
                    if let Some(entry) = self
                        .write()
                        .get_mut(&caller)
                        .and_then(|links| links.get_mut(&name))
                    {
                        entry.state = LinkState::Ready(Arc::new(link));
                    }
                }
                Err(error) => error!(
                    source = caller,
                    link = name,
                    %error,
                    "this link's settings are invalid with the new defaults; the link keeps its old settings"
                ),
            }
        }
        self.reread_watches(&updated).await;
        *defaults = updated;
        info!("took new defaults of the links");
    }

    async fn build_link(
        &self,
        caller: &str,
        name: &str,
        settings: &RawSettings,
        defaults: &RawSettings,
    ) -> Result<Link, ConfigError> {
        let settings = LinkSettings::read(settings, defaults, self.default_timeout)?;
        let connection = self.connections.get(&settings.connection).await;
        let connection = connection.map_err(ConfigError::of_connection)?;
        let further = self
            .connections
            .get_further(&settings.connection, settings.connections - 1);
        let further = further.await.map_err(ConfigError::of_connection)?;
        info!(
            source = caller,
            link = name,
            bucket = settings.bucket.name,
            servers = settings.connection.display_servers(),
            "linked"
        );
        Ok(Link::new(
            name,
            settings,
            connection,
            &further,
            &self.replicas,
        ))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, CallerLinks>> {
        self.by_caller
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, CallerLinks>> {
        self.by_caller
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
