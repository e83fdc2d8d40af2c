//! Connections to NATS: made in the background, kept, and shared by all that log in alike.

mod settings;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Client, Event};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout_at};

pub use settings::{Auth, ConnectionSettings, Secret, Tls};

use super::deadline::Deadline;
use super::error::Error;

/// The longest pause between two attempts to connect: short, so that a server that is back is
/// found soon, and long enough not to be a load on one that refuses the login.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// What is known of a connection now.
#[derive(Clone, Debug, Default)]
pub(super) struct Status {
    /// Counts connects: what was sent in an earlier epoch and is unanswered may be lost.
    pub(super) epoch: u64,
    pub(super) connected: bool,
    last_error: Option<String>,
    /// When the server last refused a publish or subscription, and its words.
    refusal: Option<(Instant, String)>,
}

impl Status {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.epoch += 1;
                self.connected = true;
                self.last_error = None;
            }
            Event::Disconnected | Event::Closed => self.connected = false,
            Event::ServerError(error) => {
                let text = error.to_string();
                if text.to_ascii_lowercase().contains("permissions violation") {
                    self.refusal = Some((Instant::now(), text));
                } else {
                    self.last_error = Some(text);
                }
            }
            Event::ClientError(error) => self.last_error = Some(error.to_string()),
            Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => {}
        }
    }

    fn login_refused(&self) -> bool {
        !self.connected
            && self
                .last_error
                .as_ref()
                .is_some_and(|error| error.to_ascii_lowercase().contains("auth"))
    }
}

/// One connection to NATS. It is closed when the last holder drops it.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    status: watch::Receiver<Status>,
    servers: String,
}

impl Connection {
    /// Starts to connect, and goes on trying in the background.
    ///
    /// # Errors
    ///
    /// The configuration key that cannot be used, and why.
    async fn start(settings: &ConnectionSettings) -> Result<Self, (&'static str, String)> {
        let servers = settings.display_servers();
        let (events, status) = watch::channel(Status::default());
        let client = settings
            .options()?
            .name(env!("CARGO_PKG_NAME"))
            .retry_on_initial_connect()
            .reconnect_delay_callback(|attempts| {
                let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(8);
                (Duration::from_millis(10) * 2_u32.pow(doublings)).min(RECONNECT_MAX)
            })
            .event_callback({
                let servers = servers.clone();
                move |event| {
                    log(&servers, &event);
                    events.send_modify(|status| status.take(&event));
                    std::future::ready(())
                }
            })
            .connect(settings.servers.as_slice())
            .await
            .map_err(|error| ("cluster_uri", error.to_string()))?;
        Ok(Self {
            client,
            status,
            servers,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`] at once if the server refuses the login, [`Error::Unavailable`] if
    /// there is no connection when the call must stop starting work.
    pub(super) async fn ready(&self, deadline: &Deadline) -> Result<(), Error> {
        let mut status = self.status.clone();
        let settled = timeout_at(
            deadline.settle(),
            status.wait_for(|status| status.connected || status.login_refused()),
        );
        if let Ok(Ok(status)) = settled.await
            && status.connected
        {
            return Ok(());
        }
        Err(self.explain(deadline))
    }

    /// Why there was no answer: the best that is known when a call's time is over.
    pub(super) fn explain(&self, deadline: &Deadline) -> Error {
        let status = self.status.borrow();
        if let Some((when, words)) = &status.refusal
            && *when >= deadline.start()
        {
            return Error::AccessDenied {
                server: self.servers.clone(),
                reason: words.clone(),
            };
        }
        if status.login_refused() {
            return Error::AccessDenied {
                server: self.servers.clone(),
                reason: status.last_error.clone().unwrap_or_default(),
            };
        }
        Error::Unavailable {
            what: format!("NATS at {} did not answer in time", self.servers),
            reason: down_reason(&status).unwrap_or_else(|| {
                "the connection is up, the server slow or without a leader".to_owned()
            }),
        }
    }

    /// Why the connection is down, if it is.
    #[must_use]
    pub fn down(&self) -> Option<String> {
        let reason = down_reason(&self.status.borrow())?;
        Some(format!("NATS at {}: {reason}", self.servers))
    }
}

fn down_reason(status: &Status) -> Option<String> {
    if status.connected {
        return None;
    }
    Some(match &status.last_error {
        Some(error) => format!("not connected: {error}"),
        None => "not connected".to_owned(),
    })
}

fn log(servers: &str, event: &Event) {
    match event {
        Event::Connected | Event::Draining | Event::Closed => {
            tracing::info!(servers, "NATS connection of a bucket: {event}");
        }
        _ => tracing::warn!(servers, "NATS connection of a bucket: {event}"),
    }
}

/// The connections in use, one for each [`ConnectionSettings`].
#[derive(Debug, Default)]
pub struct Connections {
    shared: Mutex<HashMap<ConnectionSettings, Weak<Connection>>>,
}

impl Connections {
    /// The connection of these settings: the one in use, or a new one.
    ///
    /// # Errors
    ///
    /// The configuration key that cannot be used, and why. A server that is down is no error here.
    pub async fn get(
        &self,
        settings: &ConnectionSettings,
    ) -> Result<Arc<Connection>, (&'static str, String)> {
        let mut shared = self.shared.lock().await;
        shared.retain(|_, connection| connection.strong_count() > 0);
        if let Some(connection) = shared.get(settings).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        let connection = Arc::new(Connection::start(settings).await?);
        shared.insert(settings.clone(), Arc::downgrade(&connection));
        Ok(connection)
    }
}
