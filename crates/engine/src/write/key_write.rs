//! One write of a batch.

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::Error;
use crate::keys::KeyEncoding;

/// One key that is set or deleted.
pub(super) struct KeyWrite {
    key: String,
    /// The key as it stands in the bucket, if the encoding changes it.
    encoded: Option<String>,
    /// `None` deletes the key.
    value: Option<Bytes>,
}

impl KeyWrite {
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

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The key as it stands in the bucket.
    pub(super) fn encoded_key(&self) -> &str {
        self.encoded.as_deref().unwrap_or(&self.key)
    }

    /// The value; `None` if the key is deleted.
    pub(super) fn value(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    /// The size of the value in bytes.
    pub(super) fn size(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len)
    }
}
