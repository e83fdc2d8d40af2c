//! What one link may ask for.

use super::error::Error;

/// What one link may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Key operations in flight at once, over all calls of the link.
    pub max_concurrency: usize,
    /// Keys in a batch, or in the answer of `keys`.
    pub max_batch_keys: usize,
    /// Bytes of keys and values in a batch, or in its answer.
    pub max_batch_bytes: usize,
}

impl Limits {
    /// No limits.
    pub(super) const NONE: Self = Self {
        max_concurrency: usize::MAX,
        max_batch_keys: usize::MAX,
        max_batch_bytes: usize::MAX,
    };

    pub(super) fn check_keys(&self, keys: usize) -> Result<(), Error> {
        if keys > self.max_batch_keys {
            return Err(self.too_many_keys(keys));
        }
        Ok(())
    }

    pub(super) fn check_bytes(&self, bytes: usize) -> Result<(), Error> {
        if bytes > self.max_batch_bytes {
            return Err(
                self.too_many_bytes(&format!("its keys and values have {bytes} bytes or more"))
            );
        }
        Ok(())
    }

    /// The error for a batch of so many keys.
    #[must_use]
    pub fn too_many_keys(&self, keys: usize) -> Error {
        Error::TooLarge {
            limit: "max_batch_keys",
            max: self.max_batch_keys,
            what: format!("it has {keys} keys or more"),
        }
    }

    /// The error for a batch that is too large in bytes; `what` says how it shows.
    #[must_use]
    pub fn too_many_bytes(&self, what: &str) -> Error {
        Error::TooLarge {
            limit: "max_batch_bytes",
            max: self.max_batch_bytes,
            what: what.to_owned(),
        }
    }
}
