//! The store: a thin layer over `wasi:keyvalue/eventual-batch`.

use crate::value::Value;

use wasi::keyvalue::eventual_batch;
use wasi::keyvalue::types::{Bucket, IncomingValue, OutgoingValue};

pub use wasi::keyvalue::wasi_keyvalue_error::Error;

wit_bindgen::generate!({
    world: "http-batch",
    generate_all,
});

/// A bucket that one of the component's links grants.
pub struct Store(Bucket);

impl Store {
    pub fn open(name: &str) -> Result<Self, Error> {
        Bucket::open_bucket(name).map(Self)
    }

    pub fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Value>>, Error> {
        let values = eventual_batch::get_many(&self.0, keys)?;
        let bytes = |value| IncomingValue::incoming_value_consume_sync(value).map(Value);
        values
            .into_iter()
            .map(|value| value.map(bytes).transpose())
            .collect()
    }

    pub fn keys(&self) -> Result<Vec<String>, Error> {
        eventual_batch::keys(&self.0)
    }

    pub fn set_many(&self, values: &[(String, Value)]) -> Result<(), Error> {
        let outgoing = values
            .iter()
            .map(|(key, value)| {
                let outgoing = OutgoingValue::new_outgoing_value();
                outgoing.outgoing_value_write_body_sync(&value.0)?;
                Ok((key.clone(), outgoing))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let batch: Vec<_> = outgoing
            .iter()
            .map(|(key, outgoing)| (key.clone(), outgoing))
            .collect();
        eventual_batch::set_many(&self.0, &batch)
    }

    pub fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        eventual_batch::delete_many(&self.0, keys)
    }
}
