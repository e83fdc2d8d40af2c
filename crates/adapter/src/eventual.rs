//! The interface `eventual`.
//!
//! It promises that a caller reads what it wrote. So `get` and `exists` are those of the lattice, which
//! the stream's leader answers; a replica may answer a batch.

use alloc::string::String;

use crate::Adapter;
use crate::bindings::exports::wasi::keyvalue::eventual::{
    BucketBorrow, Error, Guest, IncomingValue, OutgoingValueBorrow,
};
use crate::bindings::wrpc::keyvalue::eventual_batch as lattice;
use crate::values::{NamedBucket, Outgoing, decode};

impl Guest for Adapter {
    fn get(bucket: BucketBorrow<'_>, key: String) -> Result<Option<IncomingValue>, Error> {
        let value = lattice::get(bucket.get::<NamedBucket>().name(), &key)?;
        value.map(|value| decode(&key, value)).transpose()
    }

    fn set(
        bucket: BucketBorrow<'_>,
        key: String,
        value: OutgoingValueBorrow<'_>,
    ) -> Result<(), Error> {
        let value = value.get::<Outgoing>().encoded_for(&key)?;
        let entry = [(key.as_str(), value.as_param())];
        lattice::set_many(bucket.get::<NamedBucket>().name(), &entry)?;
        Ok(())
    }

    fn delete(bucket: BucketBorrow<'_>, key: String) -> Result<(), Error> {
        lattice::delete_many(bucket.get::<NamedBucket>().name(), &[key.as_str()])?;
        Ok(())
    }

    fn exists(bucket: BucketBorrow<'_>, key: String) -> Result<bool, Error> {
        Ok(lattice::exists(bucket.get::<NamedBucket>().name(), &key)?)
    }
}
