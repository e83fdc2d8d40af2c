//! The texts in errors. There are two types: one may be logged, the other may hold a key.

use std::borrow::Cow;
use std::fmt;

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::{StatusCode, jetstream};

/// A part of a text that never holds a key or a value. A `String` is not one, because it can be
/// made from anything.
pub(crate) trait KeyFree: fmt::Display {}

impl KeyFree for &'static str {}
impl KeyFree for LogText {}

/// A text that holds no key and no value. It may be logged at any level.
///
/// Only the engine makes such texts, and only from fixed sentences and from what servers say about
/// themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogText(Cow<'static, str>);

impl LogText {
    pub(crate) const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// What the server or the NATS client says about a connection.
    ///
    /// A permissions violation names a subject, which may end in a key. So this leaves the subject
    /// out.
    pub(crate) fn of_connection(message: &str) -> Self {
        if is_permissions_violation(message) {
            Self::fixed("Permissions Violation")
        } else {
            Self(Cow::Owned(message.to_owned()))
        }
    }

    /// Why JetStream refused a request. Its errors are a code and a sentence about the stream.
    pub(crate) fn of_jetstream(error: &jetstream::Error) -> Self {
        Self(Cow::Owned(error.to_string()))
    }

    /// Why the NATS client does not send a message.
    pub(crate) fn of_publish(error: &PublishError) -> Self {
        Self(Cow::Owned(match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => error.to_string(),
            kind => kind.to_string(),
        }))
    }

    /// An answer that is a status instead of a message.
    pub(crate) fn of_status(status: StatusCode, description: Option<&str>) -> Self {
        let description = description.unwrap_or_default();
        Self(Cow::Owned(format!("{status} {description}")))
    }

    /// Why JSON from a server cannot be read. The parser's own message may quote the JSON.
    pub(crate) fn of_json(error: &serde_json::Error) -> Self {
        let column = error.column();
        Self(Cow::Owned(match error.classify() {
            serde_json::error::Category::Data => format!("unexpected JSON at column {column}"),
            _ => format!("not JSON at column {column}"),
        }))
    }

    /// The parts, joined.
    pub(crate) fn joined(parts: &[&dyn KeyFree]) -> Self {
        Self(Cow::Owned(parts.iter().map(ToString::to_string).collect()))
    }

    /// The text with a prefix.
    pub(crate) fn prefixed(&self, before: &'static str) -> Self {
        Self::joined(&[&before, self])
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that may hold a key. It is only for the caller.
///
/// It has no `Display`, and its `Debug` shows nothing. So it does not get into a log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerText(String);

impl CallerText {
    /// A key, or the first 64 characters of a long key.
    #[must_use]
    pub fn key(key: &str) -> Self {
        Self(shorten(key, 64))
    }

    /// The server's message about a request. It has the request's subject.
    pub(crate) fn server_message(message: &str) -> Self {
        Self(message.to_owned())
    }

    /// The text, to show it to the caller.
    #[must_use]
    pub fn for_caller(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CallerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerText(…)")
    }
}

/// The text, or its first `max_chars` characters and an ellipsis if it is longer.
#[must_use]
pub fn shorten(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Whether an error of the server says that the login lacks a permission.
pub(crate) fn is_permissions_violation(error: &str) -> bool {
    error.to_ascii_lowercase().contains("permissions violation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_for_the_log_names_no_subject() {
        let message = r#"nats: Permissions Violation for Publish to "$KV.orders.my-key""#;
        assert!(!LogText::of_connection(message).as_str().contains("my-key"));
        let message = "nats: maximum payload violation";
        assert_eq!(LogText::of_connection(message).as_str(), message);
    }

    #[test]
    fn a_text_for_the_log_quotes_no_json() {
        let error = serde_json::from_str::<u64>("\"my-value\"").unwrap_err();
        let text = LogText::of_json(&error);
        assert!(!text.as_str().contains("my-value"), "{text}");
    }

    #[test]
    fn debug_shows_no_key() {
        let text = CallerText::key("my-key");
        assert_eq!(text.for_caller(), "my-key");
        assert!(!format!("{text:?}").contains("my-key"));
    }

    #[test]
    fn a_long_key_is_cut() {
        let text = CallerText::key(&"é".repeat(65));
        assert_eq!(text.for_caller(), format!("{}…", "é".repeat(64)));
    }
}
