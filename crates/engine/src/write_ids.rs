//! The ids by which a server knows a write again (`Nats-Msg-Id`).

use std::sync::atomic::{AtomicU64, Ordering};

use nuid::NUID;

/// How many characters of a NUID are random for each generator: some 60 bits.
const RANDOM: usize = 10;

/// Makes a prefix for each batch of writes: random for each generator, and counted within it.
///
/// A NUID for each batch would be twice as long, and the server looks through a message's headers some
/// twenty times.
#[derive(Debug)]
pub(crate) struct WriteIds {
    random: String,
    batches: AtomicU64,
}

impl WriteIds {
    pub(crate) fn new() -> Self {
        Self {
            random: NUID::new().next().chars().take(RANDOM).collect(),
            batches: AtomicU64::new(0),
        }
    }

    /// What the ids of one more batch begin with. The write's place in the batch follows it.
    pub(crate) fn next_batch(&self) -> String {
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
            .flat_map(|_| generators.iter().map(WriteIds::next_batch))
            .collect();
        assert_eq!(prefixes.len(), 50 * 50);
    }
}
