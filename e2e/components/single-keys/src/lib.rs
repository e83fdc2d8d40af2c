//! `wasi:keyvalue/eventual` and `atomic`, one key at a time, over HTTP.

#[path = "../../json_answer.rs"]
mod json_answer;
mod service;
#[path = "../../../../examples/http-batch/src/value.rs"]
mod value;

use bindings::wasi::keyvalue::types::IncomingValue;
use bindings::wasi::keyvalue::wasi_keyvalue_error::Error;

#[allow(clippy::all, clippy::pedantic)]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit/deps/wasi-io-0.2.0", "../../../wit/deps/wasi-keyvalue-0.1.0"],
        inline: "
            package test:single-keys;

            world single-keys {
                import wasi:keyvalue/eventual@0.1.0;
                import wasi:keyvalue/atomic@0.1.0;
            }
        ",
        world: "test:single-keys/single-keys",
        generate_all,
    });
}

fn consume(value: IncomingValue) -> Result<Vec<u8>, Error> {
    IncomingValue::incoming_value_consume_sync(value)
}
