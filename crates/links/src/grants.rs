//! Which bucket a call reaches: the links by caller and name.
//!
//! A caller reaches the buckets that its own links grant, and nothing else, whatever it puts in a
//! name or a key.

mod link;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::{error, info};

pub use link::Link;

use crate::settings::{ConfigError, LinkSettings, RawSettings};
use eventual_batch_engine::{Bucket, Connections, Outage, Replicas};

/// The link name of a call that names none.
pub const DEFAULT_LINK: &str = "default";

/// How many bytes of memory the copies of all buckets may take together.
const MAX_REPLICA_BYTES: usize = 512 * 1024 * 1024;

/// Whose the defaults are, in warnings.
const DEFAULTS: &str = "the defaults";

/// Why a call reaches no bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The call names no caller.
    #[error("the call names no caller, so it belongs to no link")]
    NoCaller,
    /// There is no such link.
    #[error("there is no link named {link:?} from {caller:?}")]
    NotLinked {
        /// The calling component.
        caller: String,
        /// The link's name.
        link: String,
    },
    /// There is such a link, with a configuration that cannot be used.
    #[error("link {link:?} from {caller:?} was refused: {reason}")]
    Refused {
        /// The calling component.
        caller: String,
        /// The link's name.
        link: String,
        /// What is wrong with its configuration.
        reason: ConfigError,
    },
    /// The name is none that the link grants.
    #[error("link {link:?} grants no bucket named {name:?}")]
    NotGranted {
        /// The link's name.
        link: String,
        /// The name in the call.
        name: String,
    },
}

/// A bucket that a call may use, and the link that says how.
#[derive(Debug)]
pub struct Grant {
    /// The link that grants it.
    pub link: Arc<Link>,
    /// The bucket.
    pub bucket: Arc<Bucket>,
}

#[derive(Clone, Debug)]
enum LinkState {
    Ready(Arc<Link>),
    Refused(ConfigError),
}

#[derive(Debug)]
struct Entry {
    /// What the link was put with, to read it again when the defaults change. `None` if that could not
    /// be read at all: such a link stays refused until it is put again.
    values: Option<RawSettings>,
    state: LinkState,
}

/// A link that does not work now, because its connection is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkOutage {
    /// The caller.
    pub caller: String,
    /// The link's name.
    pub link: String,
    /// The servers of its bucket, without credentials.
    pub servers: String,
    /// Why the connection is down.
    pub outage: Outage,
}

impl fmt::Display for LinkOutage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            caller,
            link,
            servers,
            outage,
        } = self;
        write!(
            f,
            "link {link:?} from {caller:?}: NATS at {servers}: {outage}"
        )
    }
}

/// One caller's links by name.
type CallerLinks = HashMap<String, Entry>;

/// All links of a front end.
#[derive(Debug)]
pub struct Links {
    connections: Connections,
    replicas: Replicas,
    default_timeout: Duration,
    by_caller: RwLock<HashMap<String, CallerLinks>>,
    /// The settings of links that do not set their own. Locked while links change, so that they change
    /// one by one.
    defaults: Mutex<RawSettings>,
}

impl Links {
    /// No links yet. Servers list the connections as `client_name`; `default_timeout` is for links that
    /// set no `timeout`.
    #[must_use]
    pub fn new(client_name: &str, defaults: RawSettings, default_timeout: Duration) -> Self {
        defaults.warn_of_unknown_keys(DEFAULTS);
        Self {
            connections: Connections::new(client_name),
            replicas: Replicas::new(MAX_REPLICA_BYTES),
            default_timeout,
            by_caller: RwLock::default(),
            defaults: Mutex::new(defaults),
        }
    }

    /// Adds a link, or puts it in the place of the one of the same caller and name. Calls under way
    /// end on the one they began with.
    ///
    /// # Errors
    ///
    /// A configuration that cannot be used. The link is kept as refused, so that its calls are
    /// answered with the reason.
    pub async fn put(
        &self,
        caller: &str,
        name: &str,
        values: RawSettings,
    ) -> Result<(), ConfigError> {
        values.warn_of_unknown_keys(&format!("link {name:?} from {caller:?}"));
        let defaults = self.defaults.lock().await;
        let made = self.make(caller, name, &values, &defaults).await;
        let (state, outcome) = match made {
            Ok(link) => (LinkState::Ready(Arc::new(link)), Ok(())),
            Err(error) => (LinkState::Refused(error.clone()), Err(error)),
        };
        let entry = Entry {
            values: Some(values),
            state,
        };
        self.insert(caller, name, entry);
        outcome
    }

    /// Keeps a link as refused whose values cannot even be read. It stays so until it is put again.
    pub async fn refuse(&self, caller: &str, name: &str, error: ConfigError) {
        let _one_by_one = self.defaults.lock().await;
        let entry = Entry {
            values: None,
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

    /// Removes one link. Calls under way on it are finished.
    pub async fn remove(&self, caller: &str, name: &str) {
        let _one_by_one = self.defaults.lock().await;
        let mut by_caller = self.write();
        if let Some(links) = by_caller.get_mut(caller) {
            links.remove(name);
            if links.is_empty() {
                by_caller.remove(caller);
            }
        }
    }

    /// Takes other defaults, with the same secrets, and reads every link again with them. A link that
    /// they would break stays as it was.
    pub async fn update_defaults(&self, config: HashMap<String, String>) {
        let mut defaults = self.defaults.lock().await;
        let updated = defaults.with_config(config);
        updated.warn_of_unknown_keys(DEFAULTS);
        let links: Vec<(String, String, RawSettings)> = self
            .read()
            .iter()
            .flat_map(|(caller, links)| {
                links.iter().filter_map(|(name, entry)| {
                    Some((caller.clone(), name.clone(), entry.values.clone()?))
                })
            })
            .collect();
        for (caller, name, values) in links {
            match self.make(&caller, &name, &values, &updated).await {
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
                    "the new defaults do not go with this link, which stays as it was"
                ),
            }
        }
        *defaults = updated;
        info!("took new defaults of the links");
    }

    /// The bucket that a call by `caller` over the link `link` means by `name`.
    ///
    /// # Errors
    ///
    /// There is no such link, it was refused, or it does not grant that name.
    pub fn resolve(&self, caller: &str, link: &str, name: &str) -> Result<Grant, LinkError> {
        let by_caller = self.read();
        let links = by_caller.get(caller);
        let entry = |name: &str| links.and_then(|links| links.get(name));
        let own = entry(link).ok_or_else(|| LinkError::NotLinked {
            caller: shorten(caller),
            link: shorten(link),
        })?;
        let own = ready(caller, link, own)?;
        if own.is_own_name(name) {
            return Ok(Grant {
                bucket: Arc::clone(own.bucket()),
                link: own,
            });
        }
        if let Some(other) = entry(name) {
            let other = ready(caller, name, other)?;
            return Ok(Grant {
                bucket: Arc::clone(other.bucket()),
                link: other,
            });
        }
        match own.additional_bucket(name) {
            Some(bucket) => Ok(Grant {
                bucket: Arc::clone(bucket),
                link: own,
            }),
            None => Err(LinkError::NotGranted {
                link: link.to_owned(),
                name: shorten(name),
            }),
        }
    }

    /// The links whose connection is down now.
    ///
    /// A refused link is not one of them: that is a mistake of whoever put it, which the log and every
    /// answer say.
    #[must_use]
    pub fn outages(&self) -> Vec<LinkOutage> {
        let by_caller = self.read();
        let links = by_caller.iter().flat_map(|(caller, links)| {
            links.iter().map(move |(name, entry)| (caller, name, entry))
        });
        let mut outages: Vec<LinkOutage> = links
            .filter_map(|(caller, name, entry)| match &entry.state {
                LinkState::Refused(_) => None,
                LinkState::Ready(link) => Some(LinkOutage {
                    caller: caller.clone(),
                    link: name.clone(),
                    servers: link.connection().servers().to_owned(),
                    outage: link.connection().outage()?,
                }),
            })
            .collect();
        outages.sort_unstable_by(|one, other| {
            (&one.caller, &one.link).cmp(&(&other.caller, &other.link))
        });
        outages
    }

    async fn make(
        &self,
        caller: &str,
        name: &str,
        values: &RawSettings,
        defaults: &RawSettings,
    ) -> Result<Link, ConfigError> {
        let settings = LinkSettings::read(values, defaults, self.default_timeout)?;
        let connection = self.connections.get(&settings.connection).await;
        let connection = connection.map_err(ConfigError::of_connection)?;
        info!(
            source = caller,
            link = name,
            bucket = settings.bucket.name,
            servers = settings.connection.display_servers(),
            "linked"
        );
        Ok(Link::new(name, settings, connection, &self.replicas))
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

/// A name out of a call, as it may stand in an error or the log: whole, unless it is so long that
/// it is none.
pub(crate) fn shorten(name: &str) -> String {
    const SHOWN: usize = 256;
    match name.char_indices().nth(SHOWN) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

fn ready(caller: &str, name: &str, entry: &Entry) -> Result<Arc<Link>, LinkError> {
    match &entry.state {
        LinkState::Ready(link) => Ok(Arc::clone(link)),
        LinkState::Refused(error) => Err(LinkError::Refused {
            caller: caller.to_owned(),
            link: name.to_owned(),
            reason: error.clone(),
        }),
    }
}
