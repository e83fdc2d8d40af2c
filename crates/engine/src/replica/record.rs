//! One key of a copy: its last message, in one block of memory.
//!
//! A block holds the sequence, the expiry if there is one, the key and the value, one after the
//! other. So a key costs one allocation, and a reader that holds the block keeps nothing else
//! alive.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

/// What every block begins with: the sequence, the flags, and the key's length.
const HEADER: usize = 8 + 1 + 4;

/// The block has the time at which the message expires.
const EXPIRES: u8 = 1;

/// The key has a value.
const VALUE: u8 = 2;

/// A value of at least so many bytes is answered as a part of the block. A smaller one is copied,
/// which is quicker.
const SHARED_VALUE: usize = 2048;

/// The last message of a key. Records are equal if their keys are.
#[derive(Clone, Debug)]
pub(super) struct Record(Arc<[u8]>);

/// What a record is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordParts<'a> {
    /// The key as it stands in the bucket.
    pub(super) key: &'a str,
    /// `None`: the message is a marker.
    pub(super) value: Option<&'a [u8]>,
    pub(super) sequence: u64,
    /// When the message expires by the server's clock, in nanoseconds since 1970. 0: never.
    pub(super) expires: u64,
}

impl Record {
    pub(super) fn new(parts: &RecordParts<'_>) -> Self {
        let RecordParts {
            key,
            value,
            sequence,
            expires,
        } = *parts;
        let mut block = Vec::with_capacity(block_len(parts));
        block.extend_from_slice(&sequence.to_le_bytes());
        let mut flags = 0;
        if expires > 0 {
            flags |= EXPIRES;
        }
        if value.is_some() {
            flags |= VALUE;
        }
        block.push(flags);
        let key_len = u32::try_from(key.len()).unwrap_or(u32::MAX);
        block.extend_from_slice(&key_len.to_le_bytes());
        if expires > 0 {
            block.extend_from_slice(&expires.to_le_bytes());
        }
        block.extend_from_slice(key.as_bytes());
        block.extend_from_slice(value.unwrap_or_default());
        Self(block.into())
    }

    pub(super) fn sequence(&self) -> u64 {
        self.number_at(0)
    }

    /// When the message expires, as in [`RecordParts::expires`].
    pub(super) fn expires(&self) -> u64 {
        if self.has(EXPIRES) {
            self.number_at(HEADER)
        } else {
            0
        }
    }

    /// The key as it stands in the bucket.
    pub(super) fn key(&self) -> &str {
        let (start, end) = self.key_range();
        str::from_utf8(&self.0[start..end]).unwrap_or_default()
    }

    /// The key's value, unless the message is a marker.
    pub(super) fn value(&self) -> Option<Bytes> {
        if !self.has_value() {
            return None;
        }
        let (_, start) = self.key_range();
        Some(if self.0.len() - start < SHARED_VALUE {
            Bytes::copy_from_slice(&self.0[start..])
        } else {
            Bytes::from_owner(self.clone()).slice(start..)
        })
    }

    /// The bytes of the value, unless the message is a marker.
    pub(super) fn raw_value(&self) -> Option<&[u8]> {
        let (_, start) = self.key_range();
        self.has(VALUE).then(|| &self.0[start..])
    }

    /// Whether the message is not a marker.
    pub(super) fn has_value(&self) -> bool {
        self.has(VALUE)
    }

    /// Whether the message may have expired at `now` by the server's clock. Only the leader knows:
    /// the clocks of two nodes differ, and an expired message stays for a while.
    pub(super) fn may_have_expired(&self, now: u64) -> bool {
        let expires = self.expires();
        expires > 0 && now >= expires
    }

    /// About how much memory the block takes: two counts, the bytes, and what an allocator adds.
    pub(super) fn memory(&self) -> usize {
        block_memory(self.0.len())
    }

    fn has(&self, flag: u8) -> bool {
        self.0[8] & flag != 0
    }

    fn key_range(&self) -> (usize, usize) {
        let start = HEADER + if self.has(EXPIRES) { 8 } else { 0 };
        let mut len = [0; 4];
        len.copy_from_slice(&self.0[9..HEADER]);
        (start, start + u32::from_le_bytes(len) as usize)
    }

    fn number_at(&self, place: usize) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.0[place..place + 8]);
        u64::from_le_bytes(number)
    }
}

fn block_len(parts: &RecordParts<'_>) -> usize {
    let expiry = if parts.expires > 0 { 8 } else { 0 };
    HEADER + expiry + parts.key.len() + parts.value.map_or(0, <[u8]>::len)
}

fn block_memory(len: usize) -> usize {
    (16 + len + 8).next_multiple_of(16)
}

impl AsRef<[u8]> for Record {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<str> for Record {
    fn borrow(&self) -> &str {
        self.key()
    }
}

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Record {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_what_it_was_made_of() {
        for value in [None, Some(&b""[..]), Some(b"red"), Some(&[7; 5000])] {
            for expires in [0, 1_000] {
                let record = Record::new(&RecordParts {
                    key: "color",
                    value,
                    sequence: u64::MAX - 1,
                    expires,
                });
                assert_eq!(record.key(), "color");
                assert_eq!(record.sequence(), u64::MAX - 1);
                assert_eq!(record.expires(), expires);
                assert_eq!(record.value().as_deref(), value);
            }
        }
    }

    #[test]
    fn a_value_whose_time_is_over_is_doubtful() {
        let record = Record::new(&RecordParts {
            key: "session",
            value: Some(b"1"),
            sequence: 1,
            expires: 1_000,
        });
        assert!(!record.may_have_expired(999));
        assert!(record.may_have_expired(1_000) && record.has_value());
    }
}
