//! The interface `eventual-batch`: one lattice call for each of its calls.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Adapter;
use crate::bindings::exports::wasi::keyvalue::eventual_batch::{
    BucketBorrow, Error, Guest, IncomingValue, OutgoingValueBorrow,
};
use crate::bindings::wrpc::keyvalue::eventual_batch as lattice;
use crate::error::Trace;
use crate::values::{NamedBucket, Outgoing, decode};

impl Guest for Adapter {
    fn get_many(
        bucket: BucketBorrow<'_>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<IncomingValue>>, Error> {
        let values = lattice::get_many(bucket.get::<NamedBucket>().name(), &borrowed(&keys))?;
        // A component that pairs keys with values would otherwise pair them wrongly.
        if values.len() != keys.len() {
            return Err(Trace::error(format!(
                "the provider answered {} values for {} keys",
                values.len(),
                keys.len()
            )));
        }
        let decoded = |(key, value): (&String, Option<_>)| {
            let value = value.map(|value| decode(key, value));
            value.transpose()
        };
        keys.iter().zip(values).map(decoded).collect()
    }

    fn keys(bucket: BucketBorrow<'_>) -> Result<Vec<String>, Error> {
        Ok(lattice::keys(bucket.get::<NamedBucket>().name())?)
    }

    fn set_many(
        bucket: BucketBorrow<'_>,
        key_values: Vec<(String, OutgoingValueBorrow<'_>)>,
    ) -> Result<(), Error> {
        let mut encoded = Vec::with_capacity(key_values.len());
        for (key, value) in &key_values {
            encoded.push((key, value.get::<Outgoing>().encoded_for(key)?));
        }
        let params: Vec<_> = encoded
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_param()))
            .collect();
        lattice::set_many(bucket.get::<NamedBucket>().name(), &params)?;
        Ok(())
    }

    fn delete_many(bucket: BucketBorrow<'_>, keys: Vec<String>) -> Result<(), Error> {
        lattice::delete_many(bucket.get::<NamedBucket>().name(), &borrowed(&keys))?;
        Ok(())
    }
}

fn borrowed(keys: &[String]) -> Vec<&str> {
    keys.iter().map(String::as_str).collect()
}
