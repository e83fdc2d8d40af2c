//! The state of a connection, as the NATS client's events tell it.

use std::time::Duration;

use async_nats::{Event, Server};
use tokio::time::Instant;

use super::permission_error::{PermissionError, PermissionErrors};
use crate::text::{LogText, is_permissions_violation};

/// A connection that is lost sooner than this counts as a failed attempt. It may be lost again for
/// the same reason.
const SHORT_LIVED: Duration = Duration::from_secs(5);

/// What is known of a connection now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// How often the connection was made. Unanswered requests of an earlier epoch may be lost.
    pub(crate) epoch: u64,
    pub(super) connected: bool,
    /// Whether the client has ended, and no other one has taken its place yet.
    pub(super) client_ended: bool,
    /// When the connection was made. `None` if there is none.
    connected_at: Option<Instant>,
    /// How many connections in a row were short-lived.
    pub(super) short_lived: usize,
    pub(super) last_error: Option<LogText>,
    /// The reason that was logged last in this outage. It is `None` while there is a connection.
    last_warned_reason: Option<String>,
    /// The last error that the server sent, other than permission errors, and when. The server may
    /// have closed the connection after it.
    pub(super) last_server_error: Option<(Instant, LogText)>,
    pub(super) permission_errors: PermissionErrors,
    /// The permission error of an inbox, if the server denies inboxes. A subscription is sent once
    /// for each connection, so the error holds until the next connection.
    pub(super) inbox_denied: Option<PermissionError>,
}

impl Status {
    /// Applies an event of the NATS client.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.epoch += 1;
                self.connected = true;
                self.connected_at = Some(Instant::now());
                self.last_error = None;
                self.last_warned_reason = None;
                self.inbox_denied = None;
            }
            Event::Disconnected | Event::Closed => self.disconnect(),
            Event::ServerError(error) => {
                let text = error.to_string();
                if is_permissions_violation(&text) {
                    let error = PermissionError::new(text);
                    if error.is_of_inbox() {
                        self.inbox_denied = Some(error.clone());
                    }
                    self.permission_errors.push(error);
                } else {
                    let message = LogText::of_connection(&text);
                    self.last_server_error = Some((Instant::now(), message.clone()));
                    self.last_error = Some(message);
                }
            }
            // `attempt_failed` has a better message. If it came first, that message stays.
            Event::ClientError(error) => {
                let message = || LogText::of_connection(&error.to_string());
                self.last_error.get_or_insert_with(message);
            }
            Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => {}
        }
    }

    fn disconnect(&mut self) {
        self.connected = false;
        let connected_at = self.connected_at.take();
        self.short_lived = match connected_at {
            Some(at) if at.elapsed() < SHORT_LIVED => self.short_lived + 1,
            _ => 0,
        };
    }

    /// Notes that the client has ended.
    pub(super) fn client_ended(&mut self) {
        self.client_ended = true;
        self.disconnect();
        self.last_error = Some(LogText::fixed(
            "the NATS client has ended, probably over a message that it cannot parse",
        ));
    }

    /// Notes why the last attempt to connect failed. The servers' errors say more than the event
    /// does. Returns the reason if it differs from the one that was logged last, so that it is
    /// logged once.
    pub(super) fn attempt_failed(&mut self, servers: &[Server]) -> Option<LogText> {
        let errors = || {
            servers
                .iter()
                .filter_map(|server| server.last_error.as_ref())
        };
        // A refused login matters more than a server that is down, which may come up by itself.
        let reason = errors()
            .find(|error| is_login_refusal(error))
            .or_else(|| errors().next());
        let reason = reason?;
        self.last_error = Some(LogText::of_connection(reason));
        let is_new = self.last_warned_reason.as_ref() != Some(reason);
        self.last_warned_reason = Some(reason.clone());
        if is_new {
            self.last_error.clone()
        } else {
            None
        }
    }

    pub(super) fn login_refused(&self) -> bool {
        let is_refusal = |error: &LogText| is_login_refusal(error.as_str());
        !self.connected && self.last_error.as_ref().is_some_and(is_refusal)
    }
}

pub(super) fn is_login_refusal(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    error.contains("authorization") || error.contains("authentication")
}
