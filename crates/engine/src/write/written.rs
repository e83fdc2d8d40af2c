//! Where in the stream the writes of a batch stand.

/// The lowest and the highest sequence of the writes that were acknowledged.
#[derive(Debug, Default)]
pub(super) struct WrittenSequences(Option<(u64, u64)>);

impl WrittenSequences {
    pub(super) fn add(&mut self, sequence: u64) {
        let Self(range) = self;
        let (lowest, highest) = range.unwrap_or((sequence, sequence));
        *range = Some((lowest.min(sequence), highest.max(sequence)));
    }

    /// The lowest and the highest, if any write was acknowledged.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        self.0
    }
}
