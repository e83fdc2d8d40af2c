//! What the server does not let this login do. It says so apart from the request that it refuses,
//! which is never answered; only the subject tells which request it was.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many permission errors are remembered: as many as four batches may have requests in flight. A
/// batch takes new ones out at each turn of its loop, so it misses one only if so many come meanwhile.
const REMEMBERED: usize = 4096;

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
    pub(super) fn subject(&self) -> &str {
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

/// The latest permission errors, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct PermissionErrors {
    latest: VecDeque<PermissionError>,
    /// How many there have been, those that are forgotten too.
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

    /// Those that came when there had been `count`, as far as they are remembered.
    pub(super) fn after(&self, count: u64) -> impl Iterator<Item = &PermissionError> {
        let new = usize::try_from(self.count.saturating_sub(count)).unwrap_or(usize::MAX);
        let known = self.latest.len().saturating_sub(new);
        self.latest.range(known..)
    }

    /// One since then that is of an inbox, or of a subject that concerns the caller.
    pub(super) fn find(
        &self,
        since: Instant,
        concerns: &impl Fn(&str) -> bool,
    ) -> Option<&PermissionError> {
        let later = self.latest.iter().rev();
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

    #[test]
    fn new_ones_are_those_since_a_count() {
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
