//! The limits of one batch.

use super::error::{BatchLimit, CountedSize, Error};

/// The limits of one batch, and of the key operations in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most key operations in flight, over all calls.
    pub max_concurrency: usize,
    /// The most keys in a batch, or in the answer of `keys`.
    pub max_batch_keys: usize,
    /// The most bytes of keys and values in a batch, or in its answer.
    pub max_batch_bytes: usize,
}

impl Limits {
    /// No limits.
    pub(super) const NONE: Self = Self {
        max_concurrency: usize::MAX,
        max_batch_keys: usize::MAX,
        max_batch_bytes: usize::MAX,
    };

    /// Succeeds if a batch may have this many keys.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the batch is over the limit.
    pub fn check_keys(&self, keys: usize) -> Result<(), Error> {
        if keys > self.max_batch_keys {
            return Err(self.too_many_keys(keys));
        }
        Ok(())
    }

    /// Succeeds if a listing may have this many keys, and maybe more.
    pub(super) fn check_listed(&self, keys: usize) -> Result<(), Error> {
        if keys > self.max_batch_keys {
            return Err(Error::TooLarge {
                limit: BatchLimit::Keys,
                max: self.max_batch_keys,
                counted: CountedSize::AtLeastKeys(keys),
            });
        }
        Ok(())
    }

    /// Succeeds if the keys and values of a batch may have this many bytes.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the batch is over the limit.
    pub fn check_bytes(&self, bytes: usize) -> Result<(), Error> {
        if bytes > self.max_batch_bytes {
            return Err(self.too_many_bytes(CountedSize::Bytes(bytes)));
        }
        Ok(())
    }

    /// Succeeds if a call may have entries of these sizes: the bytes of each key, and of its value
    /// if the call has one.
    pub(super) fn check_entries(
        &self,
        sizes: impl ExactSizeIterator<Item = usize>,
    ) -> Result<(), Error> {
        self.check_keys(sizes.len())?;
        self.check_bytes(sizes.sum())
    }

    /// The error for a batch with this many keys.
    #[must_use]
    pub fn too_many_keys(&self, keys: usize) -> Error {
        Error::TooLarge {
            limit: BatchLimit::Keys,
            max: self.max_batch_keys,
            counted: CountedSize::Keys(keys),
        }
    }

    /// The error for a batch with too many bytes.
    #[must_use]
    pub fn too_many_bytes(&self, counted: CountedSize) -> Error {
        Error::TooLarge {
            limit: BatchLimit::Bytes,
            max: self.max_batch_bytes,
            counted,
        }
    }
}
