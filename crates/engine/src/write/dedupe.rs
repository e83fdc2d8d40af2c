//! Deduplication: a batch writes each key once, with the last value given for it.

use std::collections::HashMap;

use bytes::Bytes;

use super::key_write::KeyWrite;
use crate::cooperative::yield_periodically;
use crate::error::Error;
use crate::keys::KeyEncoding;

/// The last write of each distinct key, in the order given.
pub(super) async fn dedupe(
    encoding: KeyEncoding,
    entries: impl ExactSizeIterator<Item = (String, Option<Bytes>)>,
) -> Result<Vec<KeyWrite>, Error> {
    let mut writes = Vec::with_capacity(entries.len());
    for (index, (key, value)) in entries.enumerate() {
        yield_periodically(index).await;
        writes.push(KeyWrite::new(encoding, key, value)?);
    }
    let mut last = HashMap::with_capacity(writes.len());
    for (index, write) in writes.iter().enumerate() {
        yield_periodically(index).await;
        last.insert(write.key(), index);
    }
    if last.len() < writes.len() {
        let mut is_last = vec![false; writes.len()];
        for index in last.into_values() {
            is_last[index] = true;
        }
        let mut is_last = is_last.into_iter();
        writes.retain(|_| is_last.next().unwrap_or(false));
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_key_is_written_once_with_the_value_given_last() {
        let entries = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("b", "5")];
        let entries = entries.map(|(key, value)| (key.to_owned(), Some(Bytes::from(value))));
        let writes = dedupe(KeyEncoding::None, entries.into_iter())
            .await
            .unwrap();
        let writes = writes
            .iter()
            .map(|write| (write.key(), write.value().unwrap().as_ref()));
        let expected = [("a", &b"3"[..]), ("c", b"4"), ("b", b"5")];
        assert!(writes.eq(expected));
    }
}
