//! The two ways to the same provider, behind one interface.

use wasmcloud_component::wasi::keyvalue::{batch, store};

use bindings::wasi::keyvalue0_1_0::eventual_batch;
use bindings::wasi::keyvalue0_1_0::types::{Bucket, IncomingValue, OutgoingValue};
use bindings::wasi::keyvalue0_1_0::wasi_keyvalue_error::Error;

#[allow(clippy::all, clippy::pedantic)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "component",
        generate_all,
    });
}

pub type Bytes = Vec<u8>;

/// What is timed: all that a user has to do to have the values, or to have them stored.
pub trait Path {
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, String>;
    fn set_many(&self, values: &[(String, Bytes)]) -> Result<(), String>;
}

/// `wasi:keyvalue/eventual-batch@0.1.0`
pub struct Adapter(Bucket);

impl Adapter {
    pub fn open(name: &str) -> Result<Self, String> {
        Bucket::open_bucket(name).map(Self).map_err(trace)
    }
}

impl Path for Adapter {
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, String> {
        let values = eventual_batch::get_many(&self.0, keys).map_err(trace)?;
        let consume = |value: Option<_>| {
            value
                .map(IncomingValue::incoming_value_consume_sync)
                .transpose()
        };
        values
            .into_iter()
            .map(consume)
            .collect::<Result<_, _>>()
            .map_err(trace)
    }

    fn set_many(&self, values: &[(String, Bytes)]) -> Result<(), String> {
        let mut outgoing = Vec::with_capacity(values.len());
        for (_, bytes) in values {
            let value = OutgoingValue::new_outgoing_value();
            value.outgoing_value_write_body_sync(bytes).map_err(trace)?;
            outgoing.push(value);
        }
        let keys = values.iter().map(|(key, _)| key.clone());
        let batch: Vec<_> = keys.zip(&outgoing).collect();
        eventual_batch::set_many(&self.0, &batch).map_err(trace)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn trace(error: Error) -> String {
    error.trace()
}

/// `wasi:keyvalue/batch@0.2.0-draft`
pub struct Draft(store::Bucket);

impl Draft {
    pub fn open(name: &str) -> Result<Self, String> {
        store::open(name).map(Self).map_err(debug)
    }
}

impl Path for Draft {
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, String> {
        let values = batch::get_many(&self.0, keys).map_err(debug)?;
        let bytes = |value: Option<_>| value.map(|(_, bytes)| bytes);
        Ok(values.into_iter().map(bytes).collect())
    }

    fn set_many(&self, values: &[(String, Bytes)]) -> Result<(), String> {
        batch::set_many(&self.0, values).map_err(debug)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn debug(error: store::Error) -> String {
    format!("{error:?}")
}
