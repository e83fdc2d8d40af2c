//! The interface `eventual-batch`: one lattice call for each of its calls.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Adapter;
use crate::bindings::exports::wasi::keyvalue0_1_0::eventual_batch::{
    BucketBorrow, Error, Guest, IncomingValue, OutgoingValueBorrow,
};
use crate::bindings::wrpc::keyvalue0_1_0::eventual_batch as lattice;
use crate::error::Trace;
use crate::values::{Incoming, NamedBucket, Outgoing};

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
        let decode = |(key, value): (&String, Option<_>)| {
            let decoded = value.map(Incoming::decode).transpose();
            decoded.map_err(|error| {
                Trace::error(format!(
                    "the value of key {key:?} came as base64 that does not decode: {error}"
                ))
            })
        };
        keys.iter().zip(values).map(decode).collect()
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
            let Some(value) = value.get::<Outgoing>().encoded() else {
                return Err(Trace::error(format!(
                    "the value of key {key:?} was never written, so nothing was set: call \
                     outgoing-value-write-body-sync before set-many"
                )));
            };
            encoded.push((key, value));
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
