//! What the client tells of its connection, and what follows from it.

use std::time::Duration;

use async_nats::{Event, Server};
use tokio::time::Instant;

use super::permission_error::{PermissionError, PermissionErrors};
use crate::text::{LogText, is_permissions_violation};

/// A connection that is lost sooner than this after it was made counts as an attempt that failed:
/// what it was lost for may come again.
const SHORT_LIVED: Duration = Duration::from_secs(5);

/// What is known of a connection now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// Counts connects: what was sent in an earlier epoch and is unanswered may be lost.
    pub(crate) epoch: u64,
    pub(super) connected: bool,
    /// Whether the client has ended, and there is no other one yet.
    pub(super) ended: bool,
    /// When the last connection was made.
    made: Option<Instant>,
    /// How many connections in a row were short-lived.
    pub(super) short_lived: usize,
    pub(super) last_error: Option<LogText>,
    /// Why the last attempt of this outage to connect failed.
    explained: Option<String>,
    /// What the server has said last of what it would not do, and when. It may have closed the
    /// connection after it.
    pub(super) complaint: Option<(Instant, LogText)>,
    /// What the server has refused lately.
    pub(super) refusals: PermissionErrors,
    /// That the server has refused to let answers be heard, and when that was last tried. The
    /// client asks for most of its inboxes once in a connection.
    pub(super) deaf: Option<PermissionError>,
}

impl Status {
    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.epoch += 1;
                self.connected = true;
                self.made = Some(Instant::now());
                self.last_error = None;
                self.explained = None;
                self.deaf = None;
            }
            Event::Disconnected | Event::Closed => self.disconnect(),
            Event::ServerError(error) => {
                let text = error.to_string();
                if is_permissions_violation(&text) {
                    let refusal = PermissionError::new(text);
                    if refusal.is_of_inbox() {
                        self.deaf = Some(refusal.clone());
                    }
                    self.refusals.push(refusal);
                } else {
                    let words = LogText::of_connection(&text);
                    self.complaint = Some((Instant::now(), words.clone()));
                    self.last_error = Some(words);
                }
            }
            // Fewer words than `explain` may have found already: it need not come first.
            Event::ClientError(error) => {
                let words = || LogText::of_connection(&error.to_string());
                self.last_error.get_or_insert_with(words);
            }
            Event::LameDuckMode | Event::Draining | Event::SlowConsumer(_) => {}
        }
    }

    fn disconnect(&mut self) {
        self.connected = false;
        let made = self.made.take();
        self.short_lived = match made {
            Some(made) if made.elapsed() < SHORT_LIVED => self.short_lived + 1,
            _ => 0,
        };
    }

    /// Takes note that the client has ended.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.disconnect();
        self.fail(LogText::fixed(
            "the NATS client has ended, probably over a message that it cannot parse",
        ));
    }

    /// Takes note of what keeps the connection from being made.
    pub(super) fn fail(&mut self, reason: LogText) {
        self.last_error = Some(reason);
    }

    /// Takes note of why the last attempt to connect failed, in more words than its event has.
    /// Returns the reason if it is another one than that of the attempt before.
    pub(super) fn explain(&mut self, servers: &[Server]) -> Option<LogText> {
        let errors = || {
            servers
                .iter()
                .filter_map(|server| server.last_error.as_ref())
        };
        // Of several servers, the one that says the most: what is down may come up by itself.
        let reason = errors()
            .find(|error| is_login_refusal(error))
            .or_else(|| errors().next());
        let reason = reason?;
        self.last_error = Some(LogText::of_connection(reason));
        let is_new = self.explained.as_ref() != Some(reason);
        self.explained = Some(reason.clone());
        if is_new {
            self.last_error.clone()
        } else {
            None
        }
    }

    pub(super) fn login_refused(&self) -> bool {
        let refusal = |error: &LogText| is_login_refusal(error.as_str());
        !self.connected && self.last_error.as_ref().is_some_and(refusal)
    }
}

pub(super) fn is_login_refusal(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    error.contains("authorization") || error.contains("authentication")
}
