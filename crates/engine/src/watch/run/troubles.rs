//! What keeps changes from being delivered, and that nothing answers to.

use std::time::Duration;

use async_nats::Message;
use tokio::time::Instant;

use super::WatchTask;
use crate::watch::consumer::AttachError;
use crate::watch::message;
use crate::watch::state::WatchFault;

/// A passing error counts as a trouble when it has come so often in a row.
const PATIENCE: u32 = 3;

/// After an acknowledgement that the server has not denied in this time, it allows them.
const ALLOWED_AFTER: Duration = Duration::from_secs(5);

/// What has gone wrong so far.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Failures in a row to attach for reasons that may pass.
    passing: u32,
    /// Pulls in a row that were refused.
    refused: u32,
    /// Whether a trouble with pulls is shown.
    pull_fails: bool,
    /// How many permission errors the connection has had.
    permission_errors: u64,
    /// When the server last denied an acknowledgement.
    ack_denied: Option<Instant>,
    /// When one was last sent.
    ack_sent: Option<Instant>,
}

impl Troubles {
    pub(super) fn new(permission_errors: u64) -> Self {
        Self {
            permission_errors,
            ..Self::default()
        }
    }

    pub(super) fn attached(&mut self) {
        self.passing = 0;
    }

    pub(super) fn ack_sent(&mut self) {
        self.ack_sent = Some(Instant::now());
    }

    /// Whether an acknowledgement has been sent since one was denied, and was not denied.
    fn acks_are_allowed(&self) -> bool {
        let (Some(denied), Some(sent)) = (self.ack_denied, self.ack_sent) else {
            return false;
        };
        sent > denied && sent.elapsed() > ALLOWED_AFTER
    }
}

impl WatchTask {
    /// Notes why the consumer could not be had.
    pub(super) fn attach_failed(&mut self, error: AttachError) {
        let trouble = match error {
            AttachError::Trouble(trouble) => trouble,
            // What is wrong with the connection is shown with the connection.
            AttachError::Passing(_) if !self.connection.is_up() => return,
            AttachError::Passing(trouble) => {
                self.troubles.passing += 1;
                if self.troubles.passing < PATIENCE {
                    tracing::debug!(trouble, "the bucket cannot be watched now");
                    return;
                }
                trouble
            }
        };
        self.set_trouble(WatchFault::Attach, &trouble);
    }

    /// Notes what a message without a change says of the pull.
    pub(super) fn look_at_status(&mut self, message: &Message) {
        let Some(refusal) = message::refusal(message) else {
            return;
        };
        tracing::debug!(refusal, "the consumer of a watch refused a pull");
        self.troubles.refused += 1;
        if self.troubles.refused >= PATIENCE {
            let trouble = format!("the NATS server refuses pulls of the watch: {refusal}");
            self.set_trouble(WatchFault::Pull, &trouble);
        }
    }

    /// The consumer takes pulls.
    pub(super) fn pull_works(&mut self) {
        self.troubles.refused = 0;
        if std::mem::take(&mut self.troubles.pull_fails) {
            self.state.set_trouble(WatchFault::Pull, None);
        }
    }

    /// Looks for what the login may not do. A publish that is denied has no answer.
    pub(super) fn look_at_permissions(&mut self) {
        if self.troubles.acks_are_allowed() {
            self.troubles.ack_denied = None;
            self.state.set_trouble(WatchFault::Acknowledgement, None);
        }
        let count = self.troubles.permission_errors;
        let Some(errors) = self.connection.permission_errors_after(count) else {
            return;
        };
        self.troubles.permission_errors = errors.count;
        let pulls = self.consumer.pull_subject(&self.names);
        if errors.by_subject.contains_key(&pulls) {
            let trouble = format!("the login may not publish to {pulls}");
            self.set_trouble(WatchFault::Pull, &trouble);
        }
        let own = format!(".{}.{}.", self.names.stream, self.consumer.name());
        let is_ack = |subject: &String| subject.starts_with("$JS.ACK.") && subject.contains(&own);
        if errors.by_subject.keys().any(is_ack) {
            self.troubles.ack_denied = Some(Instant::now());
            let trouble = format!(
                "the login may not publish to $JS.ACK.{}.>, and the changes that were delivered \
                 cannot be acknowledged",
                self.names.stream
            );
            self.set_trouble(WatchFault::Acknowledgement, &trouble);
        }
    }

    fn set_trouble(&mut self, fault: WatchFault, trouble: &str) {
        self.troubles.pull_fails |= fault == WatchFault::Pull;
        if self.state.set_trouble(fault, Some(trouble.to_owned())) {
            let bucket = self.consumer.settings.bucket.name.as_str();
            tracing::warn!(bucket, trouble, "the bucket cannot be watched");
        }
    }
}
