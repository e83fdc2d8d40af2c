//! Texts that errors are made of, in two types: one may be logged, the other may hold a key.

use std::borrow::Cow;
use std::fmt;

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::{StatusCode, jetstream};

/// What never shows a key or a value. No `String` is: nobody knows what it was made from.
pub(crate) trait KeyFree: fmt::Display {}

impl KeyFree for &'static str {}
impl KeyFree for LogText {}

/// A text that holds no key and no value, so it may be logged at any level.
///
/// Only the engine makes one, and only from fixed sentences and from what a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogText(Cow<'static, str>);

impl LogText {
    pub(crate) const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// What the server or the NATS client says about a connection.
    ///
    /// A permissions violation names a subject, and the subject ends in a key. Its subject is left
    /// out here.
    pub(crate) fn of_connection(words: &str) -> Self {
        if is_permissions_violation(words) {
            Self::fixed("Permissions Violation")
        } else {
            Self(Cow::Owned(words.to_owned()))
        }
    }

    /// Why JetStream refused a request. Its errors are a code and a sentence about the stream.
    pub(crate) fn of_jetstream(error: &jetstream::Error) -> Self {
        Self(Cow::Owned(error.to_string()))
    }

    /// What the NATS client has against a message.
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

    /// That JSON from a server cannot be read. The parser's own text may quote the JSON.
    pub(crate) fn of_json(error: &serde_json::Error) -> Self {
        let place = error.column();
        Self(Cow::Owned(match error.classify() {
            serde_json::error::Category::Data => format!("unexpected JSON at column {place}"),
            _ => format!("not JSON at column {place}"),
        }))
    }

    /// One text of parts none of which holds a key.
    pub(crate) fn joined(parts: &[&dyn KeyFree]) -> Self {
        Self(Cow::Owned(parts.iter().map(ToString::to_string).collect()))
    }

    /// The text with a fixed one before it.
    pub(crate) fn after(&self, before: &'static str) -> Self {
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

/// A text that is a key or holds one. Only the caller reads it.
///
/// It has no `Display`, and its `Debug` shows nothing, so it does not get into a log by chance.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerText(String);

impl CallerText {
    /// A key: whole, unless it is so long that it would drown the rest of a sentence.
    pub(crate) fn key(key: &str) -> Self {
        const SHOWN: usize = 64;
        Self(match key.char_indices().nth(SHOWN) {
            None => key.to_owned(),
            Some((end, _)) => format!("{}…", &key[..end]),
        })
    }

    /// What a server says about a request, with its subject.
    pub(crate) fn words(words: &str) -> Self {
        Self(words.to_owned())
    }

    /// The text, to show it to the one who made the call.
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

/// Whether an error of the server is about a subject that the login may not use.
pub(crate) fn is_permissions_violation(error: &str) -> bool {
    error.to_ascii_lowercase().contains("permissions violation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_for_the_log_names_no_subject() {
        let words = r#"nats: Permissions Violation for Publish to "$KV.orders.my-key""#;
        assert!(!LogText::of_connection(words).as_str().contains("my-key"));
        let words = "nats: maximum payload violation";
        assert_eq!(LogText::of_connection(words).as_str(), words);
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
