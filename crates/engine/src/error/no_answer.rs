//! Why there was no answer in time.

use std::fmt;

use crate::outage::Outage;
use crate::text::LogText;

/// Why there was no answer in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswerReason {
    /// There is no connection.
    NotConnected(Outage),
    /// The server sent an error that names no request.
    ServerError(LogText),
    /// The server says that it has no JetStream.
    NoJetStream,
    /// The connection is up, and nothing more is known.
    Unknown,
}

impl NoAnswerReason {
    pub(super) fn log_text(&self) -> LogText {
        match self {
            Self::NotConnected(outage) => outage.log_text(),
            Self::ServerError(message) => message.prefixed("it sent an error: "),
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
