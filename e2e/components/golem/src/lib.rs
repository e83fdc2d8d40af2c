//! Uses `wasi:keyvalue@0.1.0` as the WIT of Golem's SDK for Rust has it (golem-rust 2): the older shape,
//! with the streams of WASI 0.2.3.

use bindings::Guest;
use bindings::wasi::keyvalue::eventual;
use bindings::wasi::keyvalue::eventual_batch::{delete_many, get_many, keys, set_many};
use bindings::wasi::keyvalue::types::{Bucket, OutgoingValue};
use bindings::wasi::keyvalue::wasi_keyvalue_error::Error;

#[allow(clippy::all, clippy::pedantic)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package test:golem;

            world golem {
                import wasi:keyvalue/eventual-batch@0.1.0;
                import wasi:keyvalue/eventual@0.1.0;
                export run: func(key: string, value: string) -> result<list<string>, string>;
            }

            package wasi:io@0.2.3 {
                interface error {
                    resource error { to-debug-string: func() -> string; }
                }

                interface streams {
                    use error.{error};
                    variant stream-error { last-operation-failed(error), closed }
                    resource input-stream {
                        blocking-read: func(len: u64) -> result<list<u8>, stream-error>;
                    }
                    resource output-stream {
                        blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
                    }
                }
            }

            package wasi:keyvalue@0.1.0 {
                interface wasi-keyvalue-error {
                    resource error { trace: func() -> string; }
                }

                interface types {
                    use wasi:io/streams@0.2.3.{input-stream, output-stream};
                    use wasi-keyvalue-error.{error};
                    type key = string;
                    type outgoing-value-body-async = output-stream;
                    type outgoing-value-body-sync = list<u8>;
                    type incoming-value-async-body = input-stream;
                    type incoming-value-sync-body = list<u8>;
                    resource bucket {
                        open-bucket: static func(name: string) -> result<bucket, error>;
                    }
                    resource outgoing-value {
                        new-outgoing-value: static func() -> outgoing-value;
                        outgoing-value-write-body-async: func() -> result<outgoing-value-body-async, error>;
                        outgoing-value-write-body-sync: func(value: outgoing-value-body-sync) -> result<_, error>;
                    }
                    resource incoming-value {
                        incoming-value-consume-sync: func() -> result<incoming-value-sync-body, error>;
                        incoming-value-consume-async: func() -> result<incoming-value-async-body, error>;
                        incoming-value-size: func() -> result<u64, error>;
                    }
                }

                interface eventual {
                    use types.{bucket, error, incoming-value, key, outgoing-value};
                    get: func(bucket: borrow<bucket>, key: key) -> result<option<incoming-value>, error>;
                    exists: func(bucket: borrow<bucket>, key: key) -> result<bool, error>;
                }

                interface eventual-batch {
                    use types.{bucket, error, key, incoming-value, outgoing-value};
                    get-many: func(bucket: borrow<bucket>, keys: list<key>) -> result<list<option<incoming-value>>, error>;
                    keys: func(bucket: borrow<bucket>) -> result<list<key>, error>;
                    set-many: func(bucket: borrow<bucket>, key-values: list<tuple<key, borrow<outgoing-value>>>) -> result<_, error>;
                    delete-many: func(bucket: borrow<bucket>, keys: list<key>) -> result<_, error>;
                }
            }
        ",
        generate_all,
    });
}

struct Golem;

bindings::export!(Golem with_types_in bindings);

impl Guest for Golem {
    fn run(key: String, value: String) -> Result<Vec<String>, String> {
        every_function(&key, &value).map_err(|error| error.trace())
    }
}

/// Sets two keys, one by a stream, and says what then comes back of each function.
fn every_function(key: &str, value: &str) -> Result<Vec<String>, Error> {
    let bucket = Bucket::open_bucket("default")?;
    let whole = OutgoingValue::new_outgoing_value();
    whole.outgoing_value_write_body_sync(value.as_bytes())?;
    let streamed = OutgoingValue::new_outgoing_value();
    let stream = streamed.outgoing_value_write_body_async()?;
    stream.blocking_write_and_flush(value.as_bytes()).unwrap();
    drop(stream);
    let (first, second) = (key.to_owned(), format!("{key}-streamed"));
    set_many(
        &bucket,
        &[(first.clone(), &whole), (second.clone(), &streamed)],
    )?;

    let mut said = Vec::new();
    let asked = [second.clone(), "never".to_owned(), first.clone()];
    for value in get_many(&bucket, &asked)? {
        said.push(match value {
            Some(value) => text(value.incoming_value_consume_sync()?),
            None => "none".to_owned(),
        });
    }
    if let Some(value) = eventual::get(&bucket, &first)? {
        let stream = value.incoming_value_consume_async()?;
        said.push(text(stream.blocking_read(1000).unwrap()));
    }
    delete_many(&bucket, std::slice::from_ref(&first))?;
    said.push(eventual::exists(&bucket, &first)?.to_string());
    said.extend(keys(&bucket)?);
    Ok(said)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
