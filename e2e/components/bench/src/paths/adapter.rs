//! `wasi:keyvalue/eventual-batch@0.1.0`: through the adapter, or on a host that answers it itself.

use super::{Bytes, Path};
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

pub struct Adapter(Bucket);

impl Path for Adapter {
    fn open(name: &str) -> Result<Self, String> {
        Bucket::open_bucket(name).map(Self).map_err(trace)
    }

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
