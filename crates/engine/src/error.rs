//! What can go wrong with a batch.

use std::fmt;

use super::keys::{InvalidKey, UndecodableKey};
use super::outage::{ConnectionError, Outage};
use super::text::{CallerText, LogText};

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
/// `Display` is a plain sentence for the caller: it may name keys, and never holds a value or a
/// secret. What may be logged is [`Error::log_text`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The stream `KV_<bucket>` does not exist.
    #[error("bucket `{bucket}` does not exist")]
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
    /// The server refused the login.
    #[error("NATS at {server} refused access: {error}")]
    LoginRefused {
        /// The server's address, without credentials.
        server: String,
        /// What the server said.
        error: ConnectionError,
    },
    /// The login may not do this.
    #[error("NATS at {server} refused access: {}", words.for_caller())]
    PermissionDenied {
        /// The server's address, without credentials.
        server: String,
        /// What the server said. It names the subject.
        words: CallerText,
    },
    /// A key that cannot be part of a subject.
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    /// A value that does not fit into one message.
    #[error(
        "the value of key {:?} has {size} bytes, more than {limit} allows ({max} bytes)",
        key.for_caller()
    )]
    ValueTooLarge {
        /// The key.
        key: CallerText,
        /// The value's size in bytes.
        size: usize,
        /// Which limit it is over.
        limit: ValueLimit,
        /// The limit in bytes.
        max: usize,
    },
    /// A batch over a limit.
    #[error("the batch is over the limit of {max} {limit}: {excess}")]
    TooLarge {
        /// Which limit.
        limit: BatchLimit,
        /// The limit's value.
        max: usize,
        /// What was counted.
        excess: Excess,
    },
    /// No answer, or no connection, within the time of the call.
    #[error("NATS at {server} did not answer in time: {reason}; trying again may help")]
    NoAnswer {
        /// The server's address, without credentials.
        server: String,
        /// The best that is known of why.
        reason: NoAnswerReason,
    },
    /// The caller's [`ResponseBudget`](crate::ResponseBudget) has no room for the answer.
    #[error(
        "there is no memory left for the answer beside those of other calls; trying again may help"
    )]
    NoMemory,
    /// A request stayed unanswered, and a second copy of it could have been carried out as well.
    #[error(
        "the server did not answer in time: to send it again could carry it out twice; trying again \
         may help"
    )]
    ResendUnsafe,
    /// A write was sent, and nobody can say whether it was carried out.
    #[error("a write was sent and not acknowledged, so it may or may not be in the bucket: {0}")]
    UnclearWrite(Box<Error>),
    /// An increment or a swap was sent, and nobody can say whether it was carried out.
    #[error(
        "a new number for key {:?} was sent and not acknowledged, so it may or may not be stored: the \
         server did not answer in time; trying again may help",
        key.for_caller()
    )]
    UnclearNumber {
        /// The key.
        key: CallerText,
    },
    /// Other writers changed the key time and again.
    #[error(
        "the number of key {:?} was not changed: other writers changed it whenever it had been read; \
         trying again may help",
        key.for_caller()
    )]
    Contended {
        /// The key.
        key: CallerText,
    },
    /// The connection was lost over a page of keys, time and again.
    #[error(
        "a page of the bucket `{bucket}` could not be read: the connection was lost over it again and \
         again; if nothing else breaks it, another client has written a key or headers that the NATS \
         client cannot parse: `keys` lists such a bucket; trying again may help"
    )]
    PageLost {
        /// The bucket's name.
        bucket: String,
    },
    /// The server answered with an error.
    #[error("the NATS server refused {what}: {reason}")]
    Refused {
        /// What was refused.
        what: &'static str,
        /// What the server said.
        reason: LogText,
    },
    /// The value of a key that is to be counted with is not a number.
    #[error(
        "the value of key {:?} cannot be counted with: it is not a number from 0 to 2^64 - 1 in decimal \
         text",
        key.for_caller()
    )]
    NotANumber {
        /// The key.
        key: CallerText,
    },
    /// The sum does not fit.
    #[error(
        "key {:?} cannot be incremented by {delta}: the sum is over 2^64 - 1",
        key.for_caller()
    )]
    Overflow {
        /// The key.
        key: CallerText,
        /// What was to be added.
        delta: u64,
    },
    /// The bucket holds a key that its encoding cannot have made.
    #[error(transparent)]
    UndecodableKey(#[from] UndecodableKey),
    /// The bucket holds a key that is not UTF-8.
    #[error(
        "the bucket holds a key that is not UTF-8, something like {:?}; purge it",
        key.for_caller()
    )]
    NotUtf8 {
        /// The key, with another character in place of what is not UTF-8.
        key: CallerText,
    },
    /// A read ended without an answer for one of its keys.
    #[error("a key was left unread")]
    LeftUnread,
    /// Some keys of a batch were not written.
    #[error("{}: {cause}", not_written(*failed, *total, verb, keys))]
    Partial {
        /// How many keys failed.
        failed: usize,
        /// How many distinct keys the batch had.
        total: usize,
        /// `set` or `deleted`.
        verb: &'static str,
        /// The first few that failed.
        keys: Vec<CallerText>,
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
            Self::LoginRefused { .. } | Self::PermissionDenied { .. } => Kind::AccessDenied,
            Self::InvalidKey(_)
            | Self::ValueTooLarge { .. }
            | Self::NotANumber { .. }
            | Self::Overflow { .. } => Kind::InvalidArgument,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::NoAnswer { .. }
            | Self::NoMemory
            | Self::ResendUnsafe
            | Self::UnclearNumber { .. }
            | Self::Contended { .. }
            | Self::PageLost { .. } => Kind::Unavailable,
            Self::ReadOnly { .. }
            | Self::Refused { .. }
            | Self::UndecodableKey(_)
            | Self::NotUtf8 { .. }
            | Self::LeftUnread => Kind::Other,
            Self::UnclearWrite(cause) | Self::Partial { cause, .. } => cause.kind(),
        }
    }

    /// What the log may say of a failure of the server or the connection. `None` if the caller's
    /// batch, the bucket or the login is at fault.
    #[must_use]
    pub fn log_text(&self) -> Option<LogText> {
        Some(match self {
            Self::NoAnswer { reason, .. } => reason.log_text().after("no answer in time: "),
            Self::ResendUnsafe => LogText::fixed("the server did not answer in time"),
            Self::UnclearWrite(cause) => cause.log_text()?.after("a write was not acknowledged: "),
            Self::UnclearNumber { .. } => LogText::fixed(
                "a new number was sent and not acknowledged, so it may or may not be stored",
            ),
            Self::Contended { .. } => {
                LogText::fixed("other writers changed the key whenever it had been read")
            }
            Self::PageLost { .. } => {
                LogText::fixed("the connection was lost over a page of keys again and again")
            }
            Self::Refused { reason, .. } => reason.after("the server refused: "),
            Self::Partial { cause, .. } => cause.log_text()?,
            _ => return None,
        })
    }

    /// The error that this one is about: of a batch, the first cause.
    #[must_use]
    pub fn root(&self) -> &Self {
        match self {
            Self::UnclearWrite(cause) | Self::Partial { cause, .. } => cause.root(),
            error => error,
        }
    }
}

/// Which keys were not written. Of a batch of one key there is nothing to count.
fn not_written(failed: usize, total: usize, verb: &str, keys: &[CallerText]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| format!("{:?}", key.for_caller()))
        .collect();
    let keys = keys.join(", ");
    if total == 1 {
        format!("key {keys} could not be {verb}")
    } else {
        format!("{failed} of {total} keys could not be {verb} (first: {keys})")
    }
}

/// Why there was no answer in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswerReason {
    /// There is no connection.
    NotConnected(Outage),
    /// The server sent an error that names no request.
    Complaint(LogText),
    /// The server has said of itself that it has no JetStream.
    NoJetStream,
    /// The connection is up.
    Unknown,
}

impl NoAnswerReason {
    fn log_text(&self) -> LogText {
        match self {
            Self::NotConnected(outage) => outage.log_text(),
            Self::Complaint(words) => words.after("it complained: "),
            Self::NoJetStream => LogText::fixed(
                "the connection is up, but JetStream may be off on this server: it announces none",
            ),
            Self::Unknown => {
                LogText::fixed("the connection is up, the server slow or without a leader")
            }
        }
    }
}

impl fmt::Display for NoAnswerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.log_text().fmt(f)
    }
}

/// What keeps a value from fitting into one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueLimit {
    /// The bucket's `max_value_size`.
    BucketMaxValueSize,
    /// The server's `max_payload`.
    ServerMaxPayload,
}

impl fmt::Display for ValueLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BucketMaxValueSize => "the bucket's max_value_size",
            Self::ServerMaxPayload => "the server's max_payload",
        })
    }
}

/// One of the limits of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchLimit {
    /// How many keys it may have.
    Keys,
    /// How many bytes its keys and values may have.
    Bytes,
}

impl fmt::Display for BatchLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keys => "keys",
            Self::Bytes => "bytes",
        })
    }
}

/// By how much a batch is over a limit, as far as it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// At least this many keys.
    Keys(usize),
    /// At least this many bytes of keys and values.
    Bytes(usize),
    /// More than twice as many bytes as allowed.
    OverTwice,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => write!(f, "it has {keys} keys or more"),
            Self::Bytes(bytes) => write!(f, "its keys and values have {bytes} bytes or more"),
            Self::OverTwice => f.write_str("its parameters are over twice as large"),
        }
    }
}
