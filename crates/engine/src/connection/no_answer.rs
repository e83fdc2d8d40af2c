//! Why there was no answer, or is no connection.

use super::{Connection, Status};
use crate::deadline::Deadline;
use crate::error::{Error, NoAnswerReason};
use crate::outage::Outage;

impl Connection {
    /// The error of a call whose time is over: the best reason that is known.
    pub(crate) fn no_answer_error(&self, bucket: &str, deadline: &Deadline) -> Error {
        let (stream, prefix) = (format!("KV_{bucket}"), format!("$KV.{bucket}."));
        let is_of_bucket = |subject: &str| {
            subject.contains(&prefix) || subject.split('.').any(|token| token == stream)
        };
        if let Some(error) = self.permission_error_since(deadline.start(), is_of_bucket) {
            return error;
        }
        let status = self.status.borrow();
        let server = self.servers.clone();
        if status.login_refused()
            && let Some(message) = &status.last_error
        {
            let error = self.hints.with_hint(message.clone());
            return Error::LoginRefused { server, error };
        }
        let server_error = status.last_server_error.as_ref();
        let server_error = server_error.filter(|(when, _)| *when >= deadline.start());
        let reason = match (self.outage_by(&status), server_error) {
            (Some(outage), _) => NoAnswerReason::NotConnected(outage),
            (None, Some((_, message))) => NoAnswerReason::ServerError(message.clone()),
            // A server without JetStream does not answer, so it looks like a slow one.
            (None, None) if !self.client().server_info().jetstream => NoAnswerReason::NoJetStream,
            (None, None) => NoAnswerReason::Unknown,
        };
        Error::NoAnswer { server, reason }
    }

    /// Why the connection is down. `None` if it is up.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        if self.is_up() {
            return None;
        }
        Some(self.outage_by(&self.status.borrow()).unwrap_or_default())
    }

    fn outage_by(&self, status: &Status) -> Option<Outage> {
        if status.connected {
            return None;
        }
        let error = status.last_error.clone();
        Some(Outage {
            error: error.map(|message| self.hints.with_hint(message)),
        })
    }
}
