//! Values as they cross the lattice: text where they are UTF-8, else base64.
//!
//! A batch is translated some values at a time, so that other calls get their turn in between.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::task::yield_now;

use crate::wrpc::bindings::exports::wrpc::keyvalue0_1_0::eventual_batch::Value;
use eventual_batch_engine::Kind;
use eventual_batch_links::CallError;

/// How much is translated at a time: some 0.1 ms of work.
const BYTES_AT_A_TIME: usize = 256 * 1024;

/// The work that a value takes besides its bytes, as a number of bytes.
const COST_PER_VALUE: usize = 512;

/// The answer of a get-many.
pub(crate) async fn encode(values: Vec<Option<Bytes>>) -> Vec<Option<Value>> {
    let mut yielder = Yielder::default();
    let mut encoded = Vec::with_capacity(values.len());
    for value in values {
        yielder
            .yield_if_due(value.as_ref().map_or(0, Bytes::len))
            .await;
        encoded.push(value.map(encode_one));
    }
    encoded
}

/// The keys and values of a set-many.
///
/// # Errors
///
/// The base64 of a value does not decode. The error names its key.
pub(crate) async fn decode(
    entries: Vec<(String, Value)>,
) -> Result<Vec<(String, Bytes)>, CallError> {
    let mut yielder = Yielder::default();
    let mut decoded = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        yielder.yield_if_due(encoded_len(&value)).await;
        let value = decode_one(&key, value)?;
        decoded.push((key, value));
    }
    Ok(decoded)
}

/// Lets other calls run now and then.
#[derive(Default)]
struct Yielder {
    done: usize,
}

impl Yielder {
    /// Call this once for each value, with its size. It yields when enough work was counted.
    async fn yield_if_due(&mut self, bytes: usize) {
        self.done += bytes + COST_PER_VALUE;
        if self.done > BYTES_AT_A_TIME {
            self.done = 0;
            yield_now().await;
        }
    }
}

/// One value of an answer.
pub(crate) fn encode_one(value: Bytes) -> Value {
    match String::from_utf8(value.into()) {
        Ok(text) => Value::Utf8(text),
        Err(error) => Value::Base64(STANDARD.encode(error.as_bytes())),
    }
}

fn encoded_len(value: &Value) -> usize {
    match value {
        Value::Utf8(text) | Value::Base64(text) => text.len(),
    }
}

fn decode_one(key: &str, value: Value) -> Result<Bytes, CallError> {
    match value {
        Value::Utf8(text) => Ok(text.into()),
        Value::Base64(text) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(CallError::Rejected {
                kind: Kind::InvalidArgument,
                reason: format!(
                    "the value of key {key:?} is not standard base64 with padding: {error}"
                ),
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn values_are_text_where_they_can_be_and_come_back_as_they_were() {
        for (bytes, is_text) in [
            (&b""[..], true),
            (b"plain", true),
            ("ключ".as_bytes(), true),
            (b"\0", true),
            (b"\xff", false),
            (b"\xff\xfe", false),
            (b"ok\x80", false),
            (b"ok\x80\xff", false),
        ] {
            let encoded = encode_one(Bytes::from_static(bytes));
            assert_eq!(matches!(encoded, Value::Utf8(_)), is_text, "{bytes:?}");
            assert_eq!(decode_one("k", encoded).unwrap(), bytes);
        }
    }

    #[test]
    fn base64_that_does_not_decode_names_its_key() {
        for text in ["a", "a-_=", "YQ", "YQ===", "=", "=="] {
            let value = Value::Base64(text.to_owned());
            let error = decode_one("the-key", value).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
            assert!(error.to_string().contains("the-key"), "{error}");
        }
    }

    /// Many small values, and a few large ones.
    #[tokio::test(flavor = "current_thread")]
    async fn other_tasks_have_their_turns_while_a_batch_is_translated() {
        for (values, size) in [(10_000, 10), (20, 300_000)] {
            let turns = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&turns);
            let other = tokio::spawn(async move {
                loop {
                    counted.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            });
            let bytes = Bytes::from(vec![0xff; size]);
            let encoded = encode(vec![Some(bytes); values]).await;
            let after_encoding = turns.load(Ordering::Relaxed);
            let entry = |value: Option<Value>| ("k".to_owned(), value.unwrap());
            let entries = encoded.into_iter().map(entry).collect();
            decode(entries).await.unwrap();
            let after_decoding = turns.load(Ordering::Relaxed);
            other.abort();
            assert!(after_encoding >= 15, "{after_encoding}");
            assert!(after_decoding - after_encoding >= 15, "{after_decoding}");
        }
    }
}
