//! Values, few and many.

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

fn value(bytes: &[u8]) -> Result<OutgoingValue, Error> {
    let value = OutgoingValue::new_outgoing_value();
    value.outgoing_value_write_body_sync(bytes)?;
    Ok(value)
}

fn set(key: &str, text: &str) -> Result<(), Error> {
    let bucket = Bucket::open_bucket("default")?;
    eventual_batch::set_many(&bucket, &[(key.to_owned(), &value(text.as_bytes())?)])
}

/// What the trouble was, for the client.
fn text(result: Result<String, Error>) -> String {
    result.unwrap_or_else(|error| format!("error: {}", error.trace()))
}

pub fn set_and_get() -> String {
    text(set("ok", "well-behaved").and_then(|()| {
        let bucket = Bucket::open_bucket("default")?;
        let values = eventual_batch::get_many(&bucket, &["ok".to_owned()])?;
        let value = values.into_iter().flatten().next().unwrap();
        let bytes = IncomingValue::incoming_value_consume_sync(value)?;
        Ok(String::from_utf8(bytes).unwrap())
    }))
}

pub fn has(key: &str) -> bool {
    let bucket = Bucket::open_bucket("default").unwrap();
    let values = eventual_batch::get_many(&bucket, &[key.to_owned()]).unwrap();
    values.into_iter().any(|value| value.is_some())
}

pub fn after() {
    set("after", "stored").unwrap();
}

pub fn values() -> String {
    let mut held = Vec::new();
    loop {
        held.push(OutgoingValue::new_outgoing_value());
    }
}

pub fn bytes() -> String {
    let megabyte = vec![0; 1024 * 1024];
    let mut held = Vec::new();
    loop {
        match value(&megabyte) {
            Ok(value) => held.push(value),
            Err(error) => return text(Err(error)),
        }
    }
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("key-{number}")).collect()
}

pub fn set_many(count: usize) -> String {
    let set = || {
        let bucket = Bucket::open_bucket("default")?;
        let values: Result<Vec<_>, _> = (0..count).map(|_| value(&[b'x'; 100])).collect();
        let values = values?;
        let batch: Vec<_> = keys(count).into_iter().zip(&values).collect();
        eventual_batch::set_many(&bucket, &batch)?;
        Ok(format!("{count} set"))
    };
    text(set())
}

pub fn get_many(count: usize) -> String {
    let get = || {
        let bucket = Bucket::open_bucket("default")?;
        let values = eventual_batch::get_many(&bucket, &keys(count))?;
        Ok(format!("{} got", values.iter().flatten().count()))
    };
    text(get())
}
