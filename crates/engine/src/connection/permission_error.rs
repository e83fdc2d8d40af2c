//! Permission errors: the server denies this login a publish or a subscription.
//!
//! The server sends the error to the connection, and never answers the request. Only the subject in
//! the error tells which request it was.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many permission errors are remembered. It is as many as four batches may have requests in
/// flight. A batch looks at the new errors at each turn of its loop. It misses one only if more
/// than this many come between two turns.
const REMEMBERED: usize = 4096;

/// A publish or a subscription that the server denied.
#[derive(Clone, Debug)]
pub(super) struct PermissionError {
    when: Instant,
    /// What the server said.
    message: String,
}

impl PermissionError {
    pub(super) fn new(message: String) -> Self {
        Self {
            when: Instant::now(),
            message,
        }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The subject. The server puts it in quotation marks.
    pub(super) fn subject(&self) -> &str {
        let after = self.message.split_once('"').map_or("", |(_, after)| after);
        after.split_once('"').map_or("", |(subject, _)| subject)
    }

    /// Whether the server denied an inbox: the engine has no other subscriptions. A login that may
    /// not have one inbox may not have any.
    pub(super) fn is_of_inbox(&self) -> bool {
        self.message.contains("for Subscription to")
    }

    pub(super) fn is_old(&self, age: Duration) -> bool {
        self.when.elapsed() >= age
    }

    pub(super) fn renew(&mut self) {
        self.when = Instant::now();
    }
}

/// The latest permission errors, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct PermissionErrors {
    latest: VecDeque<PermissionError>,
    /// How many there have been in all, with the forgotten ones.
    count: u64,
}

impl PermissionErrors {
    pub(super) fn push(&mut self, error: PermissionError) {
        if self.latest.len() == REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back(error);
        self.count += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The errors after the first `count`, as far as they are remembered.
    pub(super) fn after(&self, count: u64) -> impl Iterator<Item = &PermissionError> {
        let new = usize::try_from(self.count.saturating_sub(count)).unwrap_or(usize::MAX);
        let known = self.latest.len().saturating_sub(new);
        self.latest.range(known..)
    }

    /// The last error, not older than `since`, that is about an inbox or about a subject for which
    /// `is_mine` holds.
    pub(super) fn find(
        &self,
        since: Instant,
        is_mine: &impl Fn(&str) -> bool,
    ) -> Option<&PermissionError> {
        self.since(since)
            .find(|error| error.is_of_inbox() || is_mine(error.subject()))
    }

    /// Whether the server has denied a request to this subject at `since` or later.
    pub(super) fn is_denied(&self, subject: &str, since: Instant) -> bool {
        self.since(since).any(|error| error.subject() == subject)
    }

    /// The errors that are not older than `since`, the latest first.
    fn since(&self, since: Instant) -> impl Iterator<Item = &PermissionError> {
        let latest = self.latest.iter().rev();
        latest.take_while(move |error| error.when >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_is_in_quotation_marks() {
        let error = |message: &str| PermissionError::new(message.to_owned());
        let publish = error(r#"nats: Permissions Violation for Publish to "$KV.a.b""#);
        assert_eq!(publish.subject(), "$KV.a.b");
        assert!(!publish.is_of_inbox());
        let subscription = error(r#"nats: Permissions Violation for Subscription to "_INBOX.a""#);
        assert_eq!(subscription.subject(), "_INBOX.a");
        assert!(subscription.is_of_inbox());
        assert_eq!(error("nats: Permissions Violation").subject(), "");
    }

    #[test]
    fn an_error_of_an_inbox_ends_a_wait_but_denies_no_request() {
        let start = Instant::now();
        let mut errors = PermissionErrors::default();
        let message = r#"nats: Permissions Violation for Subscription to "_INBOX.a""#;
        errors.push(PermissionError::new(message.to_owned()));
        assert!(errors.find(start, &|_| false).is_some());
        assert!(!errors.is_denied("$JS.API.DIRECT.GET.KV_b", start));
        let message = r#"nats: Permissions Violation for Publish to "$JS.API.DIRECT.GET.KV_b""#;
        errors.push(PermissionError::new(message.to_owned()));
        assert!(errors.is_denied("$JS.API.DIRECT.GET.KV_b", start));
        assert!(!errors.is_denied("$JS.API.DIRECT.GET.KV_c", start));
    }

    #[test]
    fn new_errors_are_those_after_a_count() {
        let mut errors = PermissionErrors::default();
        let subjects = |errors: &PermissionErrors, count| {
            let new = errors.after(count);
            new.map(|error| error.subject().to_owned())
                .collect::<Vec<_>>()
        };
        assert!(subjects(&errors, 0).is_empty());
        for key in 0..REMEMBERED + 2 {
            errors.push(PermissionError::new(format!("for Publish to \"{key}\"")));
        }
        let count = errors.count();
        assert_eq!(subjects(&errors, count - 1), [(REMEMBERED + 1).to_string()]);
        assert!(subjects(&errors, count).is_empty());
        let all = subjects(&errors, 0);
        assert_eq!(all.len(), REMEMBERED, "the oldest are forgotten");
        assert_eq!(all[0], "2");
    }
}
