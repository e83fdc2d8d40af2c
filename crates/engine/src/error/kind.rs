//! The kinds of errors.

/// The kind of an [`Error`](super::Error). It says what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bucket does not exist.
    NoSuchBucket,
    /// The server refused the login, or the login lacks a permission.
    AccessDenied,
    /// The bucket cannot hold such a key or value.
    InvalidArgument,
    /// The batch is over a limit.
    TooLarge,
    /// NATS is not reachable, or did not answer in time. Trying again may help.
    Unavailable,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind's name in interfaces, logs and metrics.
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
