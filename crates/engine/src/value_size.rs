//! How large the values of a bucket are.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::tuning;

/// The bytes that the headers of a message add to its value, about.
const HEADER_BYTES: usize = 256;

/// The mean size in bytes of the values that were last read from a bucket. 0: none was read.
#[derive(Debug, Default)]
pub(crate) struct MeanValueSize(AtomicUsize);

impl MeanValueSize {
    /// Notes that an answer had so many keys and so many bytes of values.
    pub(crate) fn record(&self, keys: usize, bytes: usize) {
        if let Some(mean) = bytes.checked_div(keys) {
            let Self(size) = self;
            size.store(mean.max(1), Ordering::Relaxed);
        }
    }

    /// The most bytes of an answer to a request for so many keys. It is some four times the size
    /// that is expected. An answer that is larger is cut off, and the rest is asked for again.
    pub(crate) fn max_answer_bytes(&self, keys: usize) -> usize {
        const SMALLEST: usize = 256 * 1024;
        let Self(size) = self;
        match size.load(Ordering::Relaxed) {
            0 => tuning::WINDOW_BYTES,
            mean => keys
                .saturating_mul(mean.saturating_add(HEADER_BYTES))
                .saturating_mul(4)
                .clamp(SMALLEST, tuning::WINDOW_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_room_for_four_times_the_expected_size() {
        let size = MeanValueSize::default();
        assert_eq!(size.max_answer_bytes(128), tuning::WINDOW_BYTES);
        size.record(0, 0);
        assert_eq!(size.max_answer_bytes(128), tuning::WINDOW_BYTES);
        size.record(100, 100 * 1024);
        assert_eq!(size.max_answer_bytes(128), 128 * (1024 + HEADER_BYTES) * 4);
        assert_eq!(size.max_answer_bytes(1), 256 * 1024);
        size.record(1, 1024 * 1024);
        assert_eq!(size.max_answer_bytes(128), tuning::WINDOW_BYTES);
    }
}
