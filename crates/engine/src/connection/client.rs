//! The NATS client of a connection, and the supervisor that replaces it when it has ended.
//!
//! The NATS client ends by a panic when it parses certain headers (a value with a carriage return
//! in it). Anybody who may write to a bucket can store such headers. Without another client, all
//! buckets with the same login would have no connection any more.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_nats::{Client, Event, ReconnectToServer};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::next_server::NextServer;
use super::settings::{ConnectionSetting, ConnectionSettings, SettingError};
use super::status::Status;
use super::{CONNECT_TIMEOUT, PING_INTERVAL, RECONNECT_MAX};
use crate::text::{LogText, is_permissions_violation};

/// Makes the clients of one connection.
pub(super) struct ClientFactory {
    /// The name by which the server lists the connection.
    pub(super) client_name: String,
    pub(super) settings: ConnectionSettings,
    pub(super) status: Arc<watch::Sender<Status>>,
    /// Whether the connection has not been dropped. A client alone would go on trying to connect
    /// for ever.
    pub(super) connection_alive: Weak<()>,
}

impl ClientFactory {
    /// Makes a client that connects in the background. The token is cancelled when the client has
    /// ended.
    ///
    /// # Errors
    ///
    /// The setting that cannot be used, and why.
    pub(super) async fn connect(&self) -> Result<(Client, CancellationToken), SettingError> {
        let ended = CancellationToken::new();
        let client = self
            .settings
            .options()?
            .name(&self.client_name)
            .retry_on_initial_connect()
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECT_TIMEOUT)
            .reconnect_to_server_callback({
                let status = Arc::clone(&self.status);
                let connection_alive = Weak::clone(&self.connection_alive);
                let names = self.settings.display_servers();
                let next_server = Mutex::new(NextServer::default());
                // The client calls this before each attempt to connect.
                move |servers, _| {
                    let mut next = next_server.lock().unwrap_or_else(PoisonError::into_inner);
                    let next = next.choose(&servers);
                    let mut new_reason = None;
                    status.send_modify(|status| new_reason = status.attempt_failed(&servers));
                    if let Some(reason) = new_reason {
                        tracing::warn!(
                            servers = names,
                            %reason,
                            "no connection to the NATS of a bucket; attempts go on"
                        );
                    }
                    let is_alive = connection_alive.upgrade().is_some();
                    async move {
                        if !is_alive {
                            std::future::pending::<()>().await;
                        }
                        // Without a delay of its own: the callback below has it.
                        next.map(|addr| ReconnectToServer { addr, delay: None })
                    }
                }
            })
            .reconnect_delay_callback({
                let status = Arc::clone(&self.status);
                // The client's count starts again after each connection, even after a very short
                // one.
                move |attempts| pause(attempts.saturating_add(status.borrow().short_lived))
            })
            .event_callback({
                let (status, servers) = (Arc::clone(&self.status), self.settings.display_servers());
                // The client drops the callback, and the guard with it, after its last event.
                let guard = ended.clone().drop_guard();
                move |event| {
                    let _ = &guard;
                    log(&servers, &event);
                    status.send_modify(|status| status.apply(&event));
                    std::future::ready(())
                }
            })
            .connect(self.settings.servers.as_slice())
            .await
            .map_err(|error| ConnectionSetting::Servers.problem(error.to_string()))?;
        Ok((client, ended))
    }

    /// Replaces each client that ends. The next client takes its place when it is connected,
    /// because before that it knows nothing of its server.
    pub(super) async fn supervise(
        self,
        clients: watch::Sender<Client>,
        mut ended: CancellationToken,
    ) {
        let mut status = self.status.subscribe();
        loop {
            ended.cancelled().await;
            self.status.send_modify(Status::client_ended);
            tracing::error!(
                servers = self.settings.display_servers(),
                "the NATS client of a bucket's connection has ended, as it does over a message \
                 whose headers it cannot parse; another client takes its place"
            );
            let short_lived = self.status.borrow().short_lived;
            sleep(pause(short_lived)).await;
            match self.connect().await {
                Ok((client, next)) => {
                    // The result of `wait_for` locks the status until it is dropped.
                    let connected = async {
                        let connected = status.wait_for(|status| status.connected);
                        drop(connected.await);
                    };
                    tokio::select! {
                        () = connected => {
                            clients.send_replace(client);
                            self.status.send_modify(|status| status.client_ended = false);
                        }
                        () = next.cancelled() => {}
                    }
                    ended = next;
                }
                Err(error) => {
                    let message = LogText::of_connection(&error.to_string());
                    self.status
                        .send_modify(|status| status.last_error = Some(message));
                    sleep(RECONNECT_MAX).await;
                }
            }
        }
    }
}

/// The pause before the next attempt to connect, after `failed` attempts.
fn pause(failed: usize) -> Duration {
    let doublings = u32::try_from(failed).unwrap_or(u32::MAX).min(8);
    (Duration::from_millis(10) * 2_u32.pow(doublings)).min(RECONNECT_MAX)
}

fn log(servers: &str, event: &Event) {
    match event {
        // The server's message has the subject, which may end in a key.
        Event::ServerError(error) if is_permissions_violation(&error.to_string()) => {
            tracing::warn!(servers, "NATS denied a permission to a bucket's connection");
            tracing::debug!(servers, "NATS connection of a bucket: {event}");
        }
        // Each failed attempt to connect makes such an event. The callback above logs the reason
        // once.
        Event::ClientError(_) => {
            tracing::debug!(servers, "NATS connection of a bucket: {event}");
        }
        Event::Connected | Event::Draining | Event::Closed => {
            tracing::info!(servers, "NATS connection of a bucket: {event}");
        }
        _ => tracing::warn!(servers, "NATS connection of a bucket: {event}"),
    }
}
