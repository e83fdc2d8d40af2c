//! The connections of a program, shared by settings.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::Mutex;

use super::{Connection, ConnectionSettings, SettingError};
use crate::retries::{RetryCounts, RetryReason};

/// The connections in use, one or several for each [`ConnectionSettings`].
#[derive(Debug)]
pub struct Connections {
    client_name: String,
    /// By settings, and by a number among the connections of these settings.
    by_settings: Mutex<HashMap<(ConnectionSettings, usize), Weak<Connection>>>,
    /// The same connections, for those who cannot wait while another one is made.
    all: std::sync::Mutex<Vec<Weak<Connection>>>,
    retries: Arc<RetryCounts>,
}

/// How the connections of a program do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStats {
    /// Connections that are up now.
    pub up: usize,
    /// Connections that are down now. Attempts to connect go on.
    pub down: usize,
    /// How many requests were sent again for each reason, over all connections, those that are
    /// closed included.
    pub retries: BTreeMap<RetryReason, u64>,
}

impl Connections {
    /// No connections yet. Servers list each of them as `client_name` (`nats server report
    /// connections`).
    #[must_use]
    pub fn new(client_name: &str) -> Self {
        Self {
            client_name: client_name.to_owned(),
            by_settings: Mutex::default(),
            all: std::sync::Mutex::default(),
            retries: Arc::default(),
        }
    }

    /// How the connections do now.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        let mut stats = ConnectionStats {
            retries: self.retries.by_reason(),
            ..ConnectionStats::default()
        };
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in all.iter().filter_map(Weak::upgrade) {
            if connection.is_up() {
                stats.up += 1;
            } else {
                stats.down += 1;
            }
        }
        stats
    }

    /// The connection of these settings: the one in use, or a new one.
    ///
    /// # Errors
    ///
    /// The setting that cannot be used, and why. A server that is down is no error here.
    pub async fn get(
        &self,
        settings: &ConnectionSettings,
    ) -> Result<Arc<Connection>, SettingError> {
        self.get_numbered(settings, 0).await
    }

    /// As [`Connections::get`], `count` further connections of these settings. All who ask for
    /// further connections share them.
    ///
    /// # Errors
    ///
    /// As [`Connections::get`].
    pub async fn get_further(
        &self,
        settings: &ConnectionSettings,
        count: usize,
    ) -> Result<Vec<Arc<Connection>>, SettingError> {
        let mut connections = Vec::with_capacity(count);
        for number in 1..=count {
            connections.push(self.get_numbered(settings, number).await?);
        }
        Ok(connections)
    }

    async fn get_numbered(
        &self,
        settings: &ConnectionSettings,
        number: usize,
    ) -> Result<Arc<Connection>, SettingError> {
        let mut by_settings = self.by_settings.lock().await;
        by_settings.retain(|_, connection| connection.strong_count() > 0);
        let key = (settings.clone(), number);
        if let Some(connection) = by_settings.get(&key).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        let retries = Arc::clone(&self.retries);
        let connection = Connection::start(&self.client_name, settings, retries).await?;
        let connection = Arc::new(connection);
        by_settings.insert(key, Arc::downgrade(&connection));
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|connection| connection.strong_count() > 0);
        all.push(Arc::downgrade(&connection));
        Ok(connection)
    }
}
