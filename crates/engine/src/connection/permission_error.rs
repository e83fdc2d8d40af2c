//! What the server does not let this login do. It says so apart from the request that it refuses,
//! which is never answered; only the subject tells which request it was.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many refusals are remembered: as many as one batch may have requests in flight. What is
/// forgotten is found out when its answer does not come.
const REMEMBERED: usize = 256;

/// A publish or a subscription that the server refused.
#[derive(Clone, Debug)]
pub(super) struct PermissionError {
    when: Instant,
    words: String,
}

impl PermissionError {
    pub(super) fn new(words: String) -> Self {
        Self {
            when: Instant::now(),
            words,
        }
    }

    pub(super) fn words(&self) -> &str {
        &self.words
    }

    /// The subject, which the server puts into quotation marks.
    fn subject(&self) -> &str {
        let after = self.words.split_once('"').map_or("", |(_, after)| after);
        after.split_once('"').map_or("", |(subject, _)| subject)
    }

    /// Whether it is of a subscription. The provider subscribes to nothing but inboxes, and who may
    /// not have one may not have another.
    pub(super) fn is_of_inbox(&self) -> bool {
        self.words.contains("for Subscription to")
    }

    pub(super) fn is_old(&self, age: Duration) -> bool {
        self.when.elapsed() >= age
    }

    pub(super) fn renew(&mut self) {
        self.when = Instant::now();
    }
}

/// The latest refusals, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct PermissionErrors(VecDeque<PermissionError>);

impl PermissionErrors {
    pub(super) fn push(&mut self, refusal: PermissionError) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(refusal);
    }

    /// One since then that is of an inbox, or of a subject that concerns the caller.
    pub(super) fn find(
        &self,
        since: Instant,
        concerns: &impl Fn(&str) -> bool,
    ) -> Option<&PermissionError> {
        let later = self.0.iter().rev();
        later
            .take_while(|refusal| refusal.when >= since)
            .find(|refusal| refusal.is_of_inbox() || concerns(refusal.subject()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_is_what_stands_in_quotation_marks() {
        let refusal = |words: &str| PermissionError::new(words.to_owned());
        let publish = refusal(r#"nats: Permissions Violation for Publish to "$KV.a.b""#);
        assert_eq!(publish.subject(), "$KV.a.b");
        assert!(!publish.is_of_inbox());
        let subscription = refusal(r#"nats: Permissions Violation for Subscription to "_INBOX.a""#);
        assert_eq!(subscription.subject(), "_INBOX.a");
        assert!(subscription.is_of_inbox());
        assert_eq!(refusal("nats: Permissions Violation").subject(), "");
    }
}
