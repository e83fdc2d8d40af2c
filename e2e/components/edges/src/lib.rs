//! Does with `wasi:keyvalue/eventual-batch` what a component rarely does, and answers with what came
//! of it: a JSON object with a text for each case, an error's trace with `error: ` before it.

use bindings::wasi::keyvalue0_1_0::eventual_batch::{delete_many, get_many, keys, set_many};
use bindings::wasi::keyvalue0_1_0::types::{Bucket, IncomingValue, OutgoingValue};
use bindings::wasi::keyvalue0_1_0::wasi_keyvalue_error::Error;
use serde_json::{Value as Json, json};
use wasmcloud_component::http::{self, IncomingRequest, Response};

#[allow(clippy::all, clippy::pedantic)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "component",
        generate_all,
    });
}

struct Service;

http::export!(Service);

impl http::Server for Service {
    fn handle(_: IncomingRequest) -> http::Result<Response<impl http::OutgoingBody>> {
        let answer = cases().unwrap_or_else(|error| json!({ "failed": error.trace() }));
        Ok(Response::new(answer.to_string()))
    }
}

fn cases() -> Result<Json, Error> {
    let bucket = Bucket::open_bucket("default")?;
    let one = written(b"one")?;
    let two = written(b"two")?;
    let never = OutgoingValue::new_outgoing_value();
    let pair = |key: &str| key.to_owned();

    // Each of them is an error that leaves the component alive, so the rest goes on.
    let mut answer = json!({
        "open another bucket": said(Bucket::open_bucket("payroll").map(|_| "opened")),
        "set a value never written": said(
            set_many(&bucket, &[(pair("a"), &one), (pair("b"), &never)]).map(|()| "set"),
        ),
        "write as a stream": said(one.outgoing_value_write_body_async().map(|_| "a stream")),
        "set a key that is none": said(set_many(&bucket, &[(pair("a b"), &one)]).map(|()| "set")),
        "keys after those": keys(&bucket)?.join(" "),
    });

    set_many(
        &bucket,
        &[
            (pair("twice"), &one),
            (pair("once"), &one),
            (pair("twice"), &two),
        ],
    )?;
    answer["one value for two keys, one key with two values"] =
        json!([read(&bucket, "once")?, read(&bucket, "twice")?]);
    one.outgoing_value_write_body_sync(b"written again")?;
    set_many(&bucket, &[(pair("once"), &one)])?;
    answer["a value written again"] = json!(read(&bucket, "once")?);

    let values = get_many(&bucket, &[pair("twice"), pair("never")])?;
    let found = values.into_iter().flatten().next();
    if let Some(value) = found {
        answer["size"] = json!(value.incoming_value_size()?);
        let stream = IncomingValue::incoming_value_consume_async(value).map(|_| "a stream");
        answer["read as a stream"] = said(stream);
    }
    set_many(&bucket, &[])?;
    delete_many(&bucket, &[])?;
    answer["empty lists"] = json!(get_many(&bucket, &[])?.len());
    delete_many(&bucket, &[pair("once"), pair("never"), pair("twice")])?;
    answer["keys at the end"] = json!(keys(&bucket)?.join(" "));
    Ok(answer)
}

fn written(bytes: &[u8]) -> Result<OutgoingValue, Error> {
    let value = OutgoingValue::new_outgoing_value();
    value.outgoing_value_write_body_sync(bytes)?;
    Ok(value)
}

fn read(bucket: &Bucket, key: &str) -> Result<String, Error> {
    match get_many(bucket, &[key.to_owned()])?.pop().flatten() {
        Some(value) => {
            let bytes = IncomingValue::incoming_value_consume_sync(value)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        None => Ok("none".to_owned()),
    }
}

fn said(outcome: Result<&str, Error>) -> Json {
    match outcome {
        Ok(done) => json!(done),
        Err(error) => json!(format!("error: {}", error.trace())),
    }
}
