//! The limits that a batch or a value can be over.

use std::fmt;

/// A limit of the size of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueLimit {
    /// The bucket's `max_value_size`.
    BucketMaxValueSize,
    /// The server's `max_payload`.
    ServerMaxPayload,
    /// The smaller of the two, less the headers of an atomic batch.
    AtomicBatch,
}

impl fmt::Display for ValueLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BucketMaxValueSize => "the bucket's max_value_size",
            Self::ServerMaxPayload => "the server's max_payload",
            Self::AtomicBatch => {
                "the largest message (max_payload, max_value_size), less the headers of an atomic \
                 batch,"
            }
        })
    }
}

/// A limit of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchLimit {
    /// How many keys it may have.
    Keys,
    /// How many distinct keys an atomic batch may have.
    AtomicKeys,
    /// How many bytes its keys and values may have.
    Bytes,
}

impl fmt::Display for BatchLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keys => "keys",
            Self::AtomicKeys => "keys in one atomic batch",
            Self::Bytes => "bytes",
        })
    }
}

/// The size of a batch that is over a limit, as far as it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedSize {
    /// This many keys.
    Keys(usize),
    /// At least this many keys.
    AtLeastKeys(usize),
    /// At least this many bytes of keys and values.
    Bytes(usize),
    /// More than twice as many bytes as allowed.
    MoreThanTwiceTheLimit,
}

impl fmt::Display for CountedSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => write!(f, "it has {keys} keys"),
            Self::AtLeastKeys(keys) => write!(f, "it has {keys} keys or more"),
            Self::Bytes(bytes) => write!(f, "its keys and values have {bytes} bytes or more"),
            Self::MoreThanTwiceTheLimit => f.write_str("its parameters are over twice as large"),
        }
    }
}
