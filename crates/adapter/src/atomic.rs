//! The interface `atomic`.

use alloc::string::String;

use crate::Adapter;
use crate::bindings::exports::wasi::keyvalue::atomic::{BucketBorrow, Error, Guest};
use crate::bindings::wrpc::keyvalue::atomic as lattice;
use crate::values::NamedBucket;

impl Guest for Adapter {
    fn increment(bucket: BucketBorrow<'_>, key: String, delta: u64) -> Result<u64, Error> {
        let bucket = bucket.get::<NamedBucket>();
        Ok(lattice::increment(bucket.name(), &key, delta)?)
    }

    fn compare_and_swap(
        bucket: BucketBorrow<'_>,
        key: String,
        old: u64,
        new: u64,
    ) -> Result<bool, Error> {
        let bucket = bucket.get::<NamedBucket>();
        Ok(lattice::compare_and_swap(bucket.name(), &key, old, new)?)
    }
}
