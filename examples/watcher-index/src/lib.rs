//! Keeps an index of a bucket beside it: which keys have which value.
//!
//! The watched bucket has short values, such as the status of an order: `orders.17` = `open`. The
//! index is another bucket, which this component opens by the name `default`. It has two kinds of keys:
//!
//! - `is.KEY`: the value under which the key is in the index now;
//! - `with.VALUE.KEY`: for each key of that value.
//!
//! A change may be told twice, and does no harm then. The changes of a key are told in order and one
//! after the other, so nobody else works on the key's part of the index meanwhile.

wit_bindgen::generate!({ world: "watcher-index", generate_all });

use exports::wasi::keyvalue::watcher::{Bucket, Guest};
use wasi::keyvalue::store::{self, Error};

struct Index;
export!(Index);

impl Guest for Index {
    fn on_set(bucket: Bucket, key: String, value: Vec<u8>) {
        leave_alone(bucket);
        report(&key, update(&key, Some(&token(&value))));
    }

    fn on_delete(bucket: Bucket, key: String) {
        leave_alone(bucket);
        report(&key, update(&key, None));
    }
}

/// A wasmCloud 1.x host hands over a bucket that stands for nothing. To drop it would be to use it.
fn leave_alone(bucket: Bucket) {
    std::mem::forget(bucket);
}

/// Brings the index to where the key has this value.
fn update(key: &str, value: Option<&str>) -> Result<(), Error> {
    let index = store::open("default")?;
    let is = format!("is.{key}");
    let before = index.get(&is)?;
    if let Some(before) = before.and_then(|before| String::from_utf8(before).ok())
        && Some(before.as_str()) != value
    {
        index.delete(&format!("with.{before}.{key}"))?;
    }
    match value {
        Some(value) => {
            index.set(&format!("with.{value}.{key}"), b"")?;
            // Last: if something before it fails, the next change finds what was there.
            index.set(&is, value.as_bytes())
        }
        None => index.delete(&is),
    }
}

/// The value as a part of a key. A key may hold only some characters.
fn token(value: &[u8]) -> String {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let token = value.iter().filter(|byte| allowed(byte)).take(64);
    let token: String = token.map(|&byte| char::from(byte)).collect();
    if token.is_empty() {
        "-".to_owned()
    } else {
        token
    }
}

/// There is nobody to return an error to: the next change of the key tries again.
fn report(key: &str, outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        eprintln!("the index does not have the last change of {key:?}: {error:?}");
    }
}
