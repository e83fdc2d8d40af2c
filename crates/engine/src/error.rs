//! What can go wrong with a batch.

mod features;
mod kind;
mod limits;
mod no_answer;

use super::keys::{InvalidKey, UndecodableKey};
use super::outage::ConnectionError;
use super::text::{CallerText, LogText};

pub use features::{BucketFeature, FeatureProblem};
pub use kind::Kind;
pub use limits::{BatchLimit, CountedSize, ValueLimit};
pub use no_answer::NoAnswerReason;

/// Why a batch failed.
///
/// `Display` is a plain sentence for the caller. It may name keys, and never holds a value or a
/// secret. For the log there is [`Error::log_text`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The stream `KV_<bucket>` does not exist.
    #[error("bucket `{bucket}` does not exist")]
    NoSuchBucket {
        /// The bucket's name.
        bucket: String,
    },
    /// The stream of the bucket's name is not a key-value bucket.
    #[error("stream `KV_{bucket}` is not a key-value bucket: {why}")]
    NotABucket {
        /// The bucket's name.
        bucket: String,
        /// What makes the stream different from a bucket.
        why: &'static str,
    },
    /// The bucket only collects the messages of other streams.
    #[error(
        "bucket `{bucket}` takes no writes: its stream has no subjects, and copies its keys from \
         other streams; write to those"
    )]
    ReadOnly {
        /// The bucket's name.
        bucket: String,
    },
    /// The server or the bucket cannot do what the caller's settings ask for. Nothing was written.
    #[error("bucket `{bucket}` cannot {feature}: {}", features::why(bucket, *feature, problem))]
    Unsupported {
        /// The bucket's name.
        bucket: String,
        /// What the bucket cannot do.
        feature: BucketFeature,
        /// Why.
        problem: FeatureProblem,
    },
    /// The server refused the login.
    #[error("NATS at {server} refused access: {error}")]
    LoginRefused {
        /// The server's address, without credentials.
        server: String,
        /// What the server said.
        error: ConnectionError,
    },
    /// The login lacks a permission.
    #[error("NATS at {server} refused access: {}", message.for_caller())]
    PermissionDenied {
        /// The server's address, without credentials.
        server: String,
        /// What the server said. It names the subject.
        message: CallerText,
    },
    /// The key cannot be part of a subject.
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    /// The value does not fit into one message.
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
    /// The batch is over a limit.
    #[error("the batch is over the limit of {max} {limit}: {counted}")]
    TooLarge {
        /// Which limit.
        limit: BatchLimit,
        /// The limit's value.
        max: usize,
        /// What was counted.
        counted: CountedSize,
    },
    /// No answer, or no connection, within the time of the call.
    #[error("NATS at {server} did not answer in time: {reason}; trying again may help")]
    NoAnswer {
        /// The server's address, without credentials.
        server: String,
        /// Why, as far as it is known.
        reason: NoAnswerReason,
    },
    /// The caller's [`ResponseBudget`](crate::ResponseBudget) has no room for the answer.
    #[error(
        "there is no memory left for the answer, because of the answers to other calls; trying \
         again may help"
    )]
    NoMemory,
    /// A write stayed unanswered, and a second copy of it could have been stored besides the first.
    #[error(
        "the server did not acknowledge the write in time; it was not sent again, because the server \
         might store it twice; read the key, or write it again"
    )]
    ResendUnsafe,
    /// A write was sent, and it is not known whether it is stored.
    #[error("a write was sent and not acknowledged, so it may or may not be in the bucket: {0}")]
    UnclearWrite(Box<Error>),
    /// Nothing of an atomic batch is stored, or will be.
    #[error("none of the {total} keys is {verb}, because they are one atomic batch: {cause}")]
    AtomicBatchFailed {
        /// How many distinct keys the batch had.
        total: usize,
        /// `set` or `deleted`.
        verb: &'static str,
        /// Why.
        cause: Box<Error>,
    },
    /// An atomic batch was sent, and it is not known whether it is stored.
    #[error(
        "either all of the {total} keys are {verb} or none is, and it is not known which: the atomic \
         batch was sent and not acknowledged, so it may be stored, now or later: {cause}"
    )]
    UnclearBatch {
        /// How many distinct keys the batch had.
        total: usize,
        /// `set` or `deleted`.
        verb: &'static str,
        /// Why.
        cause: Box<Error>,
    },
    /// The server stored the first message of an atomic batch by itself. Nothing else was sent.
    #[error(
        "a server of the cluster knows no atomic batches, and stored the first key as a single write; \
         no other key was written; atomic batches need nats-server 2.12.1 or newer"
    )]
    FirstKeyStoredAlone,
    /// The server may have stored a part of an atomic batch. It looks at the storage limits of the
    /// account and the server again for each message of a batch, if the bucket is on one node.
    #[error(
        "only some keys of an atomic batch may be {verb}: a bucket on one node has no promise \
         of all or nothing when a storage limit is reached in mid-batch, so read the keys: {cause}"
    )]
    PartlyStoredBatch {
        /// `set` or `deleted`.
        verb: &'static str,
        /// Why.
        cause: Box<Error>,
    },
    /// An increment or a swap was sent, and it is not known whether it is stored.
    #[error(
        "a new number for key {:?} was sent and not acknowledged, so it may or may not be stored: \
         the server did not answer in time; trying again may help",
        key.for_caller()
    )]
    UnclearNumber {
        /// The key.
        key: CallerText,
    },
    /// Other writers changed the key after each time that it was read.
    #[error(
        "the number of key {:?} was not changed: other writers changed it each time after it was \
         read; trying again may help",
        key.for_caller()
    )]
    Contended {
        /// The key.
        key: CallerText,
    },
    /// The connection was lost each time that a page of keys was read.
    #[error(
        "a page of the bucket `{bucket}` could not be read: the connection was lost each time; if \
         it is stable otherwise, another client has written a key or headers that the NATS client \
         cannot parse, and `keys` can list such a bucket; trying again may help"
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
    /// The server's answer is not what the engine expects.
    #[error("the NATS server's answer to {what} is not usable: {reason}")]
    BadAnswer {
        /// What was answered.
        what: &'static str,
        /// What is wrong with the answer.
        reason: LogText,
    },
    /// The NATS client does not send such a request.
    #[error("the NATS client did not send {what}: {reason}")]
    NotSent {
        /// What was to be sent.
        what: &'static str,
        /// What the client said.
        reason: LogText,
    },
    /// The value of a counter's key is not a number.
    #[error(
        "the value of key {:?} is not a counter: it is not a number from 0 to 2^64 - 1 in decimal \
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
        /// The key, with a replacement character in place of each part that is not UTF-8.
        key: CallerText,
    },
    /// A read ended without an answer for one of its keys.
    #[error("internal error: a read ended without an answer for a key; please report this")]
    LeftUnread,
    /// Some keys of a batch were not written.
    #[error("{}: {cause}", not_written(*failed, *total, verb, keys, cause))]
    Partial {
        /// How many keys failed.
        failed: usize,
        /// How many distinct keys the batch had.
        total: usize,
        /// `set` or `deleted`.
        verb: &'static str,
        /// The first few that failed.
        keys: Vec<CallerText>,
        /// The error of the write that failed first. First in time: its key need not be the first
        /// of the batch.
        cause: Box<Error>,
    },
}

impl Error {
    /// The kind of the error.
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
            | Self::FirstKeyStoredAlone
            | Self::Unsupported { .. }
            | Self::Refused { .. }
            | Self::BadAnswer { .. }
            | Self::NotSent { .. }
            | Self::UndecodableKey(_)
            | Self::NotUtf8 { .. }
            | Self::LeftUnread => Kind::Other,
            Self::UnclearWrite(cause)
            | Self::AtomicBatchFailed { cause, .. }
            | Self::UnclearBatch { cause, .. }
            | Self::PartlyStoredBatch { cause, .. }
            | Self::Partial { cause, .. } => cause.kind(),
        }
    }

    /// The text for the log, if the server or the connection failed. `None` if the cause is the
    /// caller's batch, the bucket or the login.
    #[must_use]
    pub fn log_text(&self) -> Option<LogText> {
        Some(match self {
            Self::NoAnswer { reason, .. } => reason.log_text().prefixed("no answer in time: "),
            Self::ResendUnsafe => LogText::fixed("the server did not answer in time"),
            Self::UnclearWrite(cause) => {
                cause.log_text()?.prefixed("a write was not acknowledged: ")
            }
            Self::UnclearBatch { cause, .. } => cause
                .log_text()?
                .prefixed("an atomic batch was not acknowledged: "),
            Self::FirstKeyStoredAlone => LogText::fixed("the server knows no atomic batches"),
            Self::PartlyStoredBatch { cause, .. } => cause
                .log_text()?
                .prefixed("an atomic batch may be stored in part: "),
            Self::UnclearNumber { .. } => LogText::fixed(
                "a new number was sent and not acknowledged, so it may or may not be stored",
            ),
            Self::Contended { .. } => {
                LogText::fixed("other writers changed the key each time after it was read")
            }
            Self::PageLost { .. } => {
                LogText::fixed("the connection was lost each time that a page of keys was read")
            }
            Self::Refused { reason, .. } => reason.prefixed("the server refused: "),
            Self::BadAnswer { reason, .. } => reason.prefixed("an answer is not usable: "),
            Self::NotSent { reason, .. } => reason.prefixed("the NATS client did not send: "),
            Self::AtomicBatchFailed { cause, .. } | Self::Partial { cause, .. } => {
                cause.log_text()?
            }
            _ => return None,
        })
    }

    /// The cause, without what is said about the batch or the write.
    #[must_use]
    pub fn root(&self) -> &Self {
        match self {
            Self::UnclearWrite(cause)
            | Self::AtomicBatchFailed { cause, .. }
            | Self::UnclearBatch { cause, .. }
            | Self::PartlyStoredBatch { cause, .. }
            | Self::Partial { cause, .. } => cause.root(),
            error => error,
        }
    }
}

/// Which keys were not written, or may not be. Of a batch of one key there is nothing to count.
fn not_written(
    failed: usize,
    total: usize,
    verb: &str,
    keys: &[CallerText],
    cause: &Error,
) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| format!("{:?}", key.for_caller()))
        .collect();
    let keys = keys.join(", ");
    let is_unclear = matches!(cause, Error::UnclearWrite(_) | Error::ResendUnsafe);
    match (total, is_unclear) {
        (1, true) => format!("key {keys} is not confirmed as {verb}"),
        (1, false) => format!("key {keys} could not be {verb}"),
        (_, true) => {
            format!("{failed} of {total} keys are not confirmed as {verb} (first: {keys})")
        }
        (_, false) => format!("{failed} of {total} keys could not be {verb} (first: {keys})"),
    }
}
