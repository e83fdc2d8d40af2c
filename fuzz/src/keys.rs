//! Which strings are keys, and what they become in a bucket.

use eventual_batch_engine::{KeyEncoding, MAX_KEY_BYTES};

/// Two keys, with a line end between them.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (one, other) = text.split_once('\n').unwrap_or((&text, ""));
    for encoding in [KeyEncoding::None, KeyEncoding::Base64] {
        check_encoded(encoding, one);
        check_foreign(encoding, one);
        if let (Ok(one_encoded), Ok(other_encoded)) = (encoding.encode(one), encoding.encode(other))
        {
            assert_eq!(one == other, one_encoded == other_encoded);
        }
    }
}

/// A key becomes the end of a subject that reaches this key alone, and comes back as it was.
fn check_encoded(encoding: KeyEncoding, key: &str) {
    match encoding.encode(key) {
        Ok(encoded) => {
            assert!(encoded.len() <= MAX_KEY_BYTES);
            for token in encoded.split('.') {
                assert!(
                    !token.is_empty() && token.bytes().all(is_harmless),
                    "{encoded:?}"
                );
            }
            assert_eq!(encoding.decode(&encoded).as_deref().ok(), Some(key));
        }
        Err(error) => {
            let too_long = key.len() > MAX_KEY_BYTES / 4 * 3;
            assert!(
                encoding == KeyEncoding::None || too_long,
                "{key:?} is refused"
            );
            assert!(error.to_string().len() < 2000, "it drowns the rest");
        }
    }
}

fn is_harmless(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-/_=".contains(&byte)
}

/// What another client wrote is the key that is found by it, or an error.
fn check_foreign(encoding: KeyEncoding, stored: &str) {
    if encoding == KeyEncoding::Base64
        && (1..=MAX_KEY_BYTES).contains(&stored.len())
        && let Ok(key) = encoding.decode(stored)
    {
        assert_eq!(encoding.encode(&key).as_deref().ok(), Some(stored));
    }
}
