use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An error of `wrpc:keyvalue/eventual-batch@0.1.0`, with the text that a component gets.
pub use crate::bindings::wrpc::keyvalue0_1_0::eventual_batch::Error as EventualBatchError;
/// A value of `wrpc:keyvalue/eventual-batch@0.1.0`.
pub use crate::bindings::wrpc::keyvalue0_1_0::eventual_batch::Value;
/// An error of `batch`, `store` and `atomics` of `wrpc:keyvalue@0.2.0-draft`.
pub use crate::bindings::wrpc::keyvalue0_2_0_draft::store::Error as BatchError;
/// A page of keys of `wrpc:keyvalue/store@0.2.0-draft`.
pub use crate::bindings::wrpc::keyvalue0_2_0_draft::store::KeyResponse;

impl Value {
    /// `Utf8` where the bytes are valid UTF-8, else `Base64`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }

    /// The bytes that the value stands for.
    ///
    /// # Errors
    /// If the base64 does not decode.
    pub fn into_bytes(self) -> Result<Vec<u8>> {
        match self {
            Self::Utf8(text) => Ok(text.into_bytes()),
            Self::Base64(text) => STANDARD.decode(text).context("a value is not base64"),
        }
    }
}

impl EventualBatchError {
    /// The sentence, without the case.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::NoSuchBucket(text)
            | Self::AccessDenied(text)
            | Self::InvalidArgument(text)
            | Self::TooLarge(text)
            | Self::Unavailable(text)
            | Self::Other(text) => text,
        }
    }

    /// The case's name as the interface spells it: `no-such-bucket` and so on.
    #[must_use]
    pub fn case(&self) -> &'static str {
        match self {
            Self::NoSuchBucket(_) => "no-such-bucket",
            Self::AccessDenied(_) => "access-denied",
            Self::InvalidArgument(_) => "invalid-argument",
            Self::TooLarge(_) => "too-large",
            Self::Unavailable(_) => "unavailable",
            Self::Other(_) => "other",
        }
    }
}
