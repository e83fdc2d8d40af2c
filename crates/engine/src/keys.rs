//! Which strings are keys, and how a key becomes a part of a subject.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::text::CallerText;

/// The longest key in bytes, after encoding.
///
/// The subject is in the protocol line of a message. If that line is longer than `max_control_line`
/// (4096 bytes by default), the server closes the connection. The rest of the line is room for the
/// API prefix, the bucket's name and the reply subject.
pub const MAX_KEY_BYTES: usize = 2048;

/// How [`KeyEncoding::Base64`] writes the empty key. Its base64 form is empty, which no subject can
/// hold. No other key is encoded as `=`.
const EMPTY_KEY: &str = "=";

/// How keys are written in the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyEncoding {
    /// Unchanged. Only the characters are possible that ADR-8 allows in a key.
    #[default]
    None,
    /// As URL-safe base64 without padding. Any string is possible.
    Base64,
}

/// Why a string is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProblem {
    /// It has no characters.
    Empty,
    /// It starts or ends with a dot.
    EdgeDot,
    /// It has two dots in a row.
    DoubleDot,
    /// It has a character that ADR-8 does not allow.
    Character(char),
    /// It is longer than [`MAX_KEY_BYTES`].
    TooLong(usize),
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "is empty"),
            Self::EdgeDot => write!(f, "starts or ends with a dot"),
            Self::DoubleDot => write!(f, "has two dots in a row"),
            Self::Character(c) => write!(
                f,
                "has the character {c:?}; a key may hold A-Z a-z 0-9 - / _ = and ."
            ),
            Self::TooLong(bytes) => write!(
                f,
                "is {bytes} bytes long in the bucket, more than {MAX_KEY_BYTES}"
            ),
        }
    }
}

/// A string that is not a key. The text names it, so the text is only for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {:?} {problem}", key.for_caller())]
pub struct InvalidKey {
    /// The key.
    pub key: CallerText,
    /// What is wrong with it.
    pub problem: KeyProblem,
}

/// A key in the bucket that [`KeyEncoding::Base64`] cannot have written. The text names it, so the
/// text is only for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the bucket holds the key {:?}, which is not a string in URL-safe base64 without padding; it \
     was written without that encoding",
    encoded.for_caller()
)]
pub struct UndecodableKey {
    /// The key, as it is in the bucket.
    pub encoded: CallerText,
}

impl KeyEncoding {
    /// The encoded form of `key`, as it is in the bucket.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] if the bucket cannot hold the key. This is the only check that keeps
    /// wildcards out of subjects. A wildcard would reach other keys.
    pub fn encode(self, key: &str) -> Result<Cow<'_, str>, InvalidKey> {
        let encoded = match self {
            Self::None => Cow::Borrowed(key),
            Self::Base64 if key.is_empty() => Cow::Borrowed(EMPTY_KEY),
            Self::Base64 => Cow::Owned(URL_SAFE_NO_PAD.encode(key)),
        };
        match problem(&encoded) {
            None => Ok(encoded),
            Some(problem) => Err(InvalidKey {
                key: CallerText::key(key),
                problem,
            }),
        }
    }

    /// The key whose encoded form is `encoded`.
    ///
    /// # Errors
    ///
    /// [`UndecodableKey`] if something else wrote it.
    pub fn decode(self, encoded: &str) -> Result<String, UndecodableKey> {
        match self {
            Self::None => Ok(encoded.to_owned()),
            Self::Base64 if encoded == EMPTY_KEY => Ok(String::new()),
            Self::Base64 => URL_SAFE_NO_PAD
                .decode(encoded)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| UndecodableKey {
                    encoded: CallerText::key(encoded),
                }),
        }
    }
}

fn problem(key: &str) -> Option<KeyProblem> {
    if key.is_empty() {
        return Some(KeyProblem::Empty);
    }
    if key.len() > MAX_KEY_BYTES {
        return Some(KeyProblem::TooLong(key.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_' | '=' | '.');
    if let Some(c) = key.chars().find(|&c| !allowed(c)) {
        return Some(KeyProblem::Character(c));
    }
    if key.starts_with('.') || key.ends_with('.') {
        return Some(KeyProblem::EdgeDot);
    }
    key.contains("..").then_some(KeyProblem::DoubleDot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_of(key: &str) -> Option<KeyProblem> {
        match KeyEncoding::None.encode(key) {
            Ok(encoded) => {
                assert_eq!(encoded, key);
                None
            }
            Err(InvalidKey { problem, .. }) => Some(problem),
        }
    }

    #[test]
    fn plain_keys_follow_adr_8() {
        for key in ["a", "A-z_0/9=.b", "a.b.c", "-", "=", "/"] {
            assert_eq!(problem_of(key), None, "{key}");
        }
        assert_eq!(problem_of(""), Some(KeyProblem::Empty));
        for key in [".", ".a", "a."] {
            assert_eq!(problem_of(key), Some(KeyProblem::EdgeDot), "{key}");
        }
        assert_eq!(problem_of("a..b"), Some(KeyProblem::DoubleDot));
        for c in [
            '*', '>', ' ', '\t', '\r', '\n', '\0', '\u{7f}', 'é', '键', '$', ':', '\\',
        ] {
            assert_eq!(
                problem_of(&format!("a{c}b")),
                Some(KeyProblem::Character(c))
            );
        }
    }

    #[test]
    fn the_length_limit_counts_the_encoded_form() {
        assert_eq!(problem_of(&"k".repeat(MAX_KEY_BYTES)), None);
        assert_eq!(
            problem_of(&"k".repeat(MAX_KEY_BYTES + 1)),
            Some(KeyProblem::TooLong(MAX_KEY_BYTES + 1))
        );
        let fits = MAX_KEY_BYTES / 4 * 3;
        assert!(KeyEncoding::Base64.encode(&"k".repeat(fits)).is_ok());
        assert!(KeyEncoding::Base64.encode(&"k".repeat(fits + 1)).is_err());
    }

    #[test]
    fn base64_makes_every_string_a_key_and_gives_it_back() {
        for key in [
            "", ".", "a..b", "*", ">", " ", "\0", "ключ", "🗝", "=", "a=", "plain",
        ] {
            let encoded = KeyEncoding::Base64.encode(key).unwrap();
            assert_eq!(problem(&encoded), None, "{key:?} became {encoded:?}");
            assert_eq!(KeyEncoding::Base64.decode(&encoded).unwrap(), key);
        }
    }

    #[test]
    fn text_that_is_no_encoded_key_is_an_error() {
        assert_eq!(KeyEncoding::Base64.decode("YQ").unwrap(), "a");
        // With padding, "YQ==" would be the key "a", which is written as "YQ".
        for foreign in ["YQ==", "a.b", "!", "_w"] {
            assert!(KeyEncoding::Base64.decode(foreign).is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_long_key_is_shortened_in_the_error() {
        let error = KeyEncoding::None.encode(&"é".repeat(5000)).unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }
}
