//! The connections of a program, shared by settings.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use super::{Connection, ConnectionSettings, SettingError};

/// The connections in use, one for each [`ConnectionSettings`].
#[derive(Debug)]
pub struct Connections {
    client_name: String,
    by_settings: Mutex<HashMap<ConnectionSettings, Weak<Connection>>>,
}

impl Connections {
    /// No connections yet. Servers list each of them as `client_name` (`nats server report
    /// connections`).
    #[must_use]
    pub fn new(client_name: &str) -> Self {
        Self {
            client_name: client_name.to_owned(),
            by_settings: Mutex::default(),
        }
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
        let mut by_settings = self.by_settings.lock().await;
        by_settings.retain(|_, connection| connection.strong_count() > 0);
        if let Some(connection) = by_settings.get(settings).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        let connection = Arc::new(Connection::start(&self.client_name, settings).await?);
        by_settings.insert(settings.clone(), Arc::downgrade(&connection));
        Ok(connection)
    }
}
