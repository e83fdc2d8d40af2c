//! How large results become when they are encoded, so that room for them is made at once.

use bytes::Bytes;

use super::bindings::exports::wrpc::keyvalue0_1_0::eventual_batch::Value;
use super::bindings::exports::wrpc::keyvalue0_2_0_draft::store::KeyResponse;

/// A length, or the number of a variant's case, takes at most so many bytes.
const PREFIX: usize = 5;

/// A number of 64 bits takes at most so many.
const NUMBER: usize = 10;

pub(crate) trait EncodedSize {
    /// At most so many bytes.
    fn encoded_size(&self) -> usize;
}

impl<T: EncodedSize> EncodedSize for Vec<T> {
    fn encoded_size(&self) -> usize {
        PREFIX + self.iter().map(T::encoded_size).sum::<usize>()
    }
}

impl<T: EncodedSize> EncodedSize for Option<T> {
    fn encoded_size(&self) -> usize {
        PREFIX + self.as_ref().map_or(0, T::encoded_size)
    }
}

impl EncodedSize for () {
    fn encoded_size(&self) -> usize {
        0
    }
}

impl EncodedSize for String {
    fn encoded_size(&self) -> usize {
        PREFIX + self.len()
    }
}

impl EncodedSize for Bytes {
    fn encoded_size(&self) -> usize {
        PREFIX + self.len()
    }
}

impl EncodedSize for bool {
    fn encoded_size(&self) -> usize {
        1
    }
}

impl EncodedSize for u64 {
    fn encoded_size(&self) -> usize {
        NUMBER
    }
}

impl EncodedSize for (String, Bytes) {
    fn encoded_size(&self) -> usize {
        let (key, value) = self;
        key.encoded_size() + value.encoded_size()
    }
}

impl EncodedSize for KeyResponse {
    fn encoded_size(&self) -> usize {
        self.keys.encoded_size() + self.cursor.encoded_size()
    }
}

impl EncodedSize for Value {
    fn encoded_size(&self) -> usize {
        let (Self::Utf8(text) | Self::Base64(text)) = self;
        PREFIX + text.encoded_size()
    }
}
