//! The NATS client of a connection, and another one in its place when it has ended.
//!
//! A client ends by a panic over some headers, and anybody who may write to a bucket can store such
//! (a carriage return within a value). All buckets with the same login would be left without
//! a connection.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Client, Event};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::settings::{ConnectionSetting, ConnectionSettings, SettingError};
use super::status::Status;
use super::{CONNECT_TIMEOUT, PING_INTERVAL, RECONNECT_MAX};
use crate::text::{LogText, is_permissions_violation};

/// What a client is made of.
pub(super) struct Login {
    /// What the server lists the connection as.
    pub(super) client_name: String,
    pub(super) settings: ConnectionSettings,
    pub(super) status: Arc<watch::Sender<Status>>,
    /// Gone when nobody waits for a connection any more: a client would go on trying for ever.
    pub(super) wanted: Weak<()>,
}

impl Login {
    /// A client that connects in the background, and what is cancelled when it has ended.
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
                let (status, wanted) = (Arc::clone(&self.status), Weak::clone(&self.wanted));
                let names = self.settings.display_servers();
                move |servers, _| {
                    let mut news = None;
                    status.send_modify(|status| news = status.explain(&servers));
                    if let Some(reason) = news {
                        tracing::warn!(
                            servers = names,
                            %reason,
                            "no connection to the NATS of a bucket; attempts go on"
                        );
                    }
                    let wanted = wanted.upgrade().is_some();
                    async move {
                        if !wanted {
                            std::future::pending::<()>().await;
                        }
                        None
                    }
                }
            })
            .reconnect_delay_callback({
                let status = Arc::clone(&self.status);
                // The client counts from the last connection, however short it was.
                move |attempts| pause(attempts.saturating_add(status.borrow().short_lived))
            })
            .event_callback({
                let (status, servers) = (Arc::clone(&self.status), self.settings.display_servers());
                // Dropped with the callback, when the last event of the client has been taken.
                let guard = ended.clone().drop_guard();
                move |event| {
                    let _ = &guard;
                    log(&servers, &event);
                    status.send_modify(|status| status.take(&event));
                    std::future::ready(())
                }
            })
            .connect(self.settings.servers.as_slice())
            .await
            .map_err(|error| ConnectionSetting::Servers.problem(error.to_string()))?;
        Ok((client, ended))
    }

    /// Puts another client in the place of each that ends, once it is connected: until then it knows
    /// nothing of its server.
    pub(super) async fn keep(self, clients: watch::Sender<Client>, mut ended: CancellationToken) {
        let mut status = self.status.subscribe();
        loop {
            ended.cancelled().await;
            self.status.send_modify(Status::end);
            tracing::error!(
                servers = self.settings.display_servers(),
                "the NATS client of a bucket's connection has ended, as it does over a message whose \
                 headers it cannot parse; another one takes its place"
            );
            let short_lived = self.status.borrow().short_lived;
            sleep(pause(short_lived)).await;
            match self.connect().await {
                Ok((client, next)) => {
                    // What is waited for locks the status as long as it is not dropped.
                    let connected = async {
                        let connected = status.wait_for(|status| status.connected);
                        drop(connected.await);
                    };
                    tokio::select! {
                        () = connected => {
                            clients.send_replace(client);
                            self.status.send_modify(|status| status.ended = false);
                        }
                        () = next.cancelled() => {}
                    }
                    ended = next;
                }
                Err(error) => {
                    let words = LogText::of_connection(&error.to_string());
                    self.status.send_modify(|status| status.fail(words));
                    sleep(RECONNECT_MAX).await;
                }
            }
        }
    }
}

/// The pause before an attempt to connect, after so many that failed.
fn pause(failed: usize) -> Duration {
    let doublings = u32::try_from(failed).unwrap_or(u32::MAX).min(8);
    (Duration::from_millis(10) * 2_u32.pow(doublings)).min(RECONNECT_MAX)
}

fn log(servers: &str, event: &Event) {
    match event {
        // The server names the subject, and with it the key.
        Event::ServerError(error) if is_permissions_violation(&error.to_string()) => {
            tracing::warn!(
                servers,
                "NATS refused the connection of a bucket a permission"
            );
            tracing::debug!(servers, "NATS connection of a bucket: {event}");
        }
        // Each failed attempt to connect is one. Its cause is logged once, from elsewhere.
        Event::ClientError(_) => {
            tracing::debug!(servers, "NATS connection of a bucket: {event}");
        }
        Event::Connected | Event::Draining | Event::Closed => {
            tracing::info!(servers, "NATS connection of a bucket: {event}");
        }
        _ => tracing::warn!(servers, "NATS connection of a bucket: {event}"),
    }
}
