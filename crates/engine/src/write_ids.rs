//! The ids by which a server recognizes a second copy of a write (`Nats-Msg-Id`).

use std::sync::atomic::{AtomicU64, Ordering};

use nuid::NUID;

/// How many characters of a NUID to take. They have some 60 random bits.
const RANDOM_CHARS: usize = 10;

/// Makes an id prefix for each batch of writes. It is a random text, made once for this
/// `WriteIds`, and a count.
///
/// A NUID for each batch would be twice as long. Short headers matter, because the server searches
/// them some twenty times for each message.
#[derive(Debug)]
pub(crate) struct WriteIds {
    random: String,
    batches: AtomicU64,
}

impl WriteIds {
    pub(crate) fn new() -> Self {
        Self {
            random: NUID::new().next().chars().take(RANDOM_CHARS).collect(),
            batches: AtomicU64::new(0),
        }
    }

    /// The prefix of the ids of one more batch. The write's index in the batch follows it.
    pub(crate) fn next_prefix(&self) -> String {
        let batch = self.batches.fetch_add(1, Ordering::Relaxed);
        format!("{}{batch:x}.", self.random)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_batches_have_the_same_prefix() {
        let generators: Vec<_> = (0..50).map(|_| WriteIds::new()).collect();
        let prefixes: HashSet<_> = (0..50)
            .flat_map(|_| generators.iter().map(WriteIds::next_prefix))
            .collect();
        assert_eq!(prefixes.len(), 50 * 50);
    }
}
