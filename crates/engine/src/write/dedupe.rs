//! Deduplication: a batch writes each key once, with the last value given for it.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use crate::cooperative::yield_periodically;
use crate::error::Error;
use crate::keys::KeyEncoding;

/// One key that is set or deleted.
pub(super) struct Write {
    pub(super) key: String,
    /// The key as it stands in the bucket, if the encoding changes it.
    pub(super) encoded: Option<String>,
    /// `None` deletes the key.
    pub(super) value: Option<Bytes>,
}

impl Write {
    pub(super) fn new(
        encoding: KeyEncoding,
        key: String,
        value: Option<Bytes>,
    ) -> Result<Self, Error> {
        let encoded = match encoding.encode(&key)? {
            Cow::Borrowed(encoded) if encoded == key => None,
            encoded => Some(encoded.into_owned()),
        };
        Ok(Self {
            key,
            encoded,
            value,
        })
    }

    pub(super) fn size(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// The last write of each distinct key, in the order given.
pub(super) async fn dedupe(
    encoding: KeyEncoding,
    entries: impl ExactSizeIterator<Item = (String, Option<Bytes>)>,
) -> Result<Vec<Write>, Error> {
    let mut writes = Vec::with_capacity(entries.len());
    for (index, (key, value)) in entries.enumerate() {
        yield_periodically(index).await;
        writes.push(Write::new(encoding, key, value)?);
    }
    let mut last = HashMap::with_capacity(writes.len());
    for (index, write) in writes.iter().enumerate() {
        yield_periodically(index).await;
        last.insert(write.key.as_str(), index);
    }
    if last.len() < writes.len() {
        let mut kept: Vec<usize> = last.into_values().collect();
        kept.sort_unstable();
        let mut kept = kept.into_iter().peekable();
        let mut index = 0;
        writes.retain(|_| {
            index += 1;
            kept.next_if_eq(&(index - 1)).is_some()
        });
    }
    Ok(writes)
}
