//! What the calls over a connection ask about its permission errors.

use std::collections::HashMap;

use tokio::time::{Instant, timeout_at};

use super::permission_error::PermissionError;
use super::{Connection, RECONNECT_MAX};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::text::CallerText;

/// The permission errors that have come since a call looked last.
pub(crate) struct NewPermissionErrors {
    /// How many permission errors there have been in all.
    pub(crate) count: u64,
    /// The error of an inbox: no answers can come.
    pub(crate) of_inbox: Option<Error>,
    /// The errors of requests, by the subjects that they were sent to.
    pub(crate) by_subject: HashMap<String, Error>,
}

impl Connection {
    /// The last permission error, not older than `since`, that is about an inbox or about a subject
    /// for which `is_mine` holds.
    pub(super) fn permission_error_since(
        &self,
        since: Instant,
        is_mine: impl Fn(&str) -> bool,
    ) -> Option<Error> {
        let status = self.status.borrow();
        let error = status.permission_errors.find(since, &is_mine)?;
        Some(self.to_error(error))
    }

    /// Waits for a permission error, not older than `since`, that is about an inbox or about a
    /// subject for which `is_mine` holds.
    pub(crate) async fn until_permission_error(
        &self,
        since: Instant,
        is_mine: impl Fn(&str) -> bool,
    ) -> Error {
        let mut status = self.status.clone();
        let find = |status: &super::Status| {
            let error = status.permission_errors.find(since, &is_mine)?;
            Some(self.to_error(error))
        };
        if let Ok(status) = status.wait_for(|status| find(status).is_some()).await
            && let Some(error) = find(&status)
        {
            return error;
        }
        // The supervisor has ended, so no more errors come.
        std::future::pending().await
    }

    /// Whether the server has denied a request to this subject at `since` or later.
    pub(crate) fn is_denied(&self, subject: &str, since: Instant) -> bool {
        let status = self.status.borrow();
        status.permission_errors.is_denied(subject, since)
    }

    /// How many permission errors there have been in all.
    pub(crate) fn permission_error_count(&self) -> u64 {
        self.status.borrow().permission_errors.count()
    }

    /// The permission errors after the first `count`, if there are any.
    pub(crate) fn permission_errors_after(&self, count: u64) -> Option<NewPermissionErrors> {
        let status = self.status.borrow();
        let errors = &status.permission_errors;
        if errors.count() == count {
            return None;
        }
        let of_inbox = errors.after(count).find(|error| error.is_of_inbox());
        let by_subject = errors.after(count);
        Some(NewPermissionErrors {
            count: errors.count(),
            of_inbox: of_inbox.map(|error| self.to_error(error)),
            by_subject: by_subject
                .map(|error| (error.subject().to_owned(), self.to_error(error)))
                .collect(),
        })
    }

    /// Succeeds if the server allows inboxes. If it has denied one, this connects again and asks
    /// the server once more, at most once in [`RECONNECT_MAX`].
    pub(super) async fn ensure_inboxes_allowed(&self, deadline: &Deadline) -> Result<(), Error> {
        let Some(denied) = self.status.borrow().inbox_denied.clone() else {
            return Ok(());
        };
        let mut epoch = None;
        self.status_sender.send_if_modified(|status| {
            // Of all the calls that wait, one reconnects.
            let retry = status
                .inbox_denied
                .as_mut()
                .filter(|denied| denied.is_old(RECONNECT_MAX));
            if let Some(denied) = retry {
                denied.renew();
                epoch = Some(status.epoch);
            }
            epoch.is_some()
        });
        let Some(epoch) = epoch else {
            return Err(self.to_error(&denied));
        };
        let mut status = self.status.clone();
        let reconnected = timeout_at(deadline.send_deadline(), async {
            self.client().force_reconnect().await.ok()?;
            status.wait_for(|status| status.epoch > epoch).await.ok()?;
            Some(())
        });
        match reconnected.await {
            Ok(Some(())) => Ok(()),
            _ => Err(self.to_error(&denied)),
        }
    }

    fn to_error(&self, error: &PermissionError) -> Error {
        Error::PermissionDenied {
            server: self.servers.clone(),
            message: CallerText::server_message(error.message()),
        }
    }
}
