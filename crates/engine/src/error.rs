//! What can go wrong with a batch.

use super::keys::{InvalidKey, UndecodableKey};

/// What kind of trouble an [`Error`] is: what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bucket does not exist.
    NoSuchBucket,
    /// The server refused the credentials, or an operation for lack of permission.
    AccessDenied,
    /// A key or value that the bucket cannot hold.
    InvalidArgument,
    /// The batch is over a limit.
    TooLarge,
    /// NATS is not reachable or did not answer in time; trying again may help.
    Unavailable,
    /// Any other trouble.
    Other,
}

impl Kind {
    /// Its name, as the interfaces, the log and metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSuchBucket => "no-such-bucket",
            Self::AccessDenied => "access-denied",
            Self::InvalidArgument => "invalid-argument",
            Self::TooLarge => "too-large",
            Self::Unavailable => "unavailable",
            Self::Other => "other",
        }
    }
}

/// Why a batch failed.
///
/// The text may name keys, and never holds a value or a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The stream `KV_<bucket>` does not exist.
    #[error(
        "bucket `{bucket}` does not exist; create it, or set `enable_bucket_auto_create` on the link"
    )]
    NoSuchBucket {
        /// The bucket's name.
        bucket: String,
    },
    /// There is a stream of the bucket's name, but it is no key-value bucket.
    #[error("stream `KV_{bucket}` is not a key-value bucket: {why}")]
    NotABucket {
        /// The bucket's name.
        bucket: String,
        /// What of the stream is not as a bucket has it.
        why: &'static str,
    },
    /// A bucket that only collects what other streams hold.
    #[error(
        "bucket `{bucket}` takes no writes: its stream has no subjects, and its keys are those of \
         other streams; write to them"
    )]
    ReadOnly {
        /// The bucket's name.
        bucket: String,
    },
    /// The server refused the login or an operation.
    #[error("NATS at {server} refused access: {reason}")]
    AccessDenied {
        /// The server's address, without credentials.
        server: String,
        /// What the server said.
        reason: String,
    },
    /// A key that cannot be part of a subject.
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    /// A value that does not fit into one message.
    #[error("the value of key {key:?} has {size} bytes, more than {limit} allows ({max} bytes)")]
    ValueTooLarge {
        /// The key.
        key: String,
        /// The value's size in bytes.
        size: usize,
        /// Which limit it is over.
        limit: &'static str,
        /// The limit in bytes.
        max: usize,
    },
    /// A batch over a limit of the link.
    #[error("the batch is over the link's limit `{limit}` = {max}: {what}")]
    TooLarge {
        /// The limit's name in the link configuration.
        limit: &'static str,
        /// The limit's value.
        max: usize,
        /// What was counted.
        what: String,
    },
    /// No answer, or no connection, within the time of the call.
    #[error("{what}: {reason}; trying again may help")]
    Unavailable {
        /// What could not be done.
        what: String,
        /// The last that is known of why.
        reason: String,
    },
    /// The server answered with an error.
    #[error("the NATS server refused {what}: {reason}")]
    Refused {
        /// What was refused.
        what: &'static str,
        /// What the server said.
        reason: String,
    },
    /// The value of a key that is to be incremented is not a number.
    #[error(
        "the value of key {key:?} cannot be incremented: it is not a number from 0 to 2^64 - 1 in \
         decimal text"
    )]
    NotANumber {
        /// The key, shortened if it is long.
        key: String,
    },
    /// The sum does not fit.
    #[error("key {key:?} cannot be incremented by {delta}: the sum is over 2^64 - 1")]
    Overflow {
        /// The key, shortened if it is long.
        key: String,
        /// What was to be added.
        delta: u64,
    },
    /// The bucket holds a key that its encoding cannot have made.
    #[error(transparent)]
    UndecodableKey(#[from] UndecodableKey),
    /// The bucket holds something that this link cannot read.
    #[error("{0}")]
    Unreadable(String),
    /// Some keys of a batch were not written.
    #[error("{failed} of {total} keys could not be {verb} (first: {keys}): {cause}")]
    Partial {
        /// How many keys failed.
        failed: usize,
        /// How many distinct keys the batch had.
        total: usize,
        /// `set` or `deleted`.
        verb: &'static str,
        /// The first few that failed.
        keys: String,
        /// Why the first one failed.
        cause: Box<Error>,
    },
}

impl Error {
    /// What kind of trouble this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoSuchBucket { .. } | Self::NotABucket { .. } => Kind::NoSuchBucket,
            Self::AccessDenied { .. } => Kind::AccessDenied,
            Self::InvalidKey(_)
            | Self::ValueTooLarge { .. }
            | Self::NotANumber { .. }
            | Self::Overflow { .. } => Kind::InvalidArgument,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Unavailable { .. } => Kind::Unavailable,
            Self::ReadOnly { .. }
            | Self::Refused { .. }
            | Self::UndecodableKey(_)
            | Self::Unreadable(_) => Kind::Other,
            Self::Partial { cause, .. } => cause.kind(),
        }
    }

    /// Why the server or the connection failed the batch, in words that name no key.
    #[must_use]
    pub fn server_trouble(&self) -> Option<String> {
        match self {
            Self::Unavailable { .. } | Self::Refused { .. } => Some(self.to_string()),
            Self::Partial { cause, .. } => cause.server_trouble(),
            _ => None,
        }
    }
}
