//! How the writes to a bucket are made.

use std::time::Duration;

/// How the writes to a bucket are made. The default: plain writes, which last until they are
/// overwritten or deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteSettings {
    /// How long each written value lives, in whole seconds, at least one (`Nats-TTL`, ADR-43).
    ///
    /// The bucket has to allow it (`allow_msg_ttl`, server ≥ 2.11), to keep one value of each key,
    /// and to be no mirror. Otherwise a write is [`Error::Unsupported`](crate::Error::Unsupported).
    pub value_ttl: Option<Duration>,
    /// Whether [`Bucket::set_many`](crate::Bucket::set_many) and
    /// [`Bucket::delete_many`](crate::Bucket::delete_many) store all of a batch or nothing
    /// (ADR-50).
    ///
    /// The bucket has to allow it (`allow_atomic`, server ≥ 2.12.1), and to be no mirror. Otherwise
    /// a batch is [`Error::Unsupported`](crate::Error::Unsupported). A batch has at most 1000
    /// distinct keys. If it has several, each value must be at least 224 bytes smaller than the
    /// largest message, because headers are added.
    pub atomic: bool,
}
