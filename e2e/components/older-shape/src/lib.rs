//! Sets a value and reads it back by the methods of the older shape of `wasi:keyvalue@0.1.0`.

use bindings::Guest;
use bindings::wasi::keyvalue::eventual_batch::{get_many, set_many};
use bindings::wasi::keyvalue::types::{Bucket, OutgoingValue};
use bindings::wasi::keyvalue::wasi_keyvalue_error::Error;

#[allow(clippy::all, clippy::pedantic)]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit/deps/wasi-io-0.2.0", "../../../wit/older-shape/wasi-keyvalue-0.1.0"],
        inline: "
            package test:older-shape;

            world older-shape {
                import wasi:keyvalue/eventual-batch@0.1.0;
                export run: func(key: string, value: string) -> result<list<string>, string>;
            }
        ",
        world: "test:older-shape/older-shape",
        generate_all,
    });
}

struct OlderShape;

bindings::export!(OlderShape with_types_in bindings);

impl Guest for OlderShape {
    fn run(key: String, value: String) -> Result<Vec<String>, String> {
        both(&key, &value).map_err(|error| error.trace())
    }
}

/// What each way to read the value gives, and what it gives once the value was read.
fn both(key: &str, value: &str) -> Result<Vec<String>, Error> {
    let bucket = Bucket::open_bucket("default")?;
    let outgoing = OutgoingValue::new_outgoing_value();
    outgoing.outgoing_value_write_body_sync(value.as_bytes())?;
    set_many(&bucket, &[(key.to_owned(), &outgoing)])?;
    let mut said = Vec::new();
    for value in get_many(&bucket, &[key.to_owned(), key.to_owned()])?
        .into_iter()
        .flatten()
    {
        said.push(value.incoming_value_size()?.to_string());
        said.push(shown(if said.len() == 1 {
            value.incoming_value_consume_sync()
        } else {
            let stream = value.incoming_value_consume_async();
            stream.map(|stream| stream.blocking_read(1000).unwrap())
        }));
        said.push(shown(value.incoming_value_consume_sync()));
    }
    Ok(said)
}

/// The value, or why there is none.
fn shown(value: Result<Vec<u8>, Error>) -> String {
    match value {
        Ok(bytes) => String::from_utf8(bytes).unwrap(),
        Err(error) => error.trace(),
    }
}
