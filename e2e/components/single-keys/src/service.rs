//! The service, for either shape of `wasi:keyvalue@0.1.0`.
//!
//! | request | what it does | answer |
//! | --- | --- | --- |
//! | `PUT /` with `{"a": "text", …}` | sets each | how many |
//! | `GET /?key=a&key=b` | reads each | `[{"key": "a", "value": "text"}, …]` |
//! | `DELETE /?key=a&key=b` | deletes each | nothing |
//! | `GET /exists?key=a` | looks | `true` or `false` |
//! | `POST /increment?key=a&delta=2` | adds | the sum |
//! | `POST /swap?key=a&old=1&new=2` | compares and swaps | whether it did |

use std::collections::HashMap;
use std::io::Read as _;

use serde_json::{Map, Value as Json, json};
use wasmcloud_component::http::{self, IncomingRequest, Method, Response, StatusCode};

use crate::bindings::wasi::keyvalue::types::{Bucket, OutgoingValue};
use crate::bindings::wasi::keyvalue::wasi_keyvalue_error::Error;
use crate::bindings::wasi::keyvalue::{atomic, eventual};
use crate::json_answer::{Failure, bad_request, respond};
use crate::value::Value;

struct Service;

http::export!(Service);

impl http::Server for Service {
    fn handle(request: IncomingRequest) -> http::Result<Response<impl http::OutgoingBody>> {
        respond(answer(request))
    }
}

fn answer(request: IncomingRequest) -> Result<Json, Failure> {
    let (parts, mut body) = request.into_parts();
    let mut keys = Vec::new();
    let mut others = HashMap::new();
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        match &*name {
            "key" => keys.push(value.into_owned()),
            _ => drop(others.insert(name.into_owned(), value.into_owned())),
        }
    }
    let number = |name: &str| {
        let number = others.get(name).and_then(|text| text.parse::<u64>().ok());
        number.ok_or_else(|| bad_request(format!("{name} is no number")))
    };
    let key = || keys.first().ok_or_else(|| bad_request("no key"));
    let name = others.get("bucket").map_or("default", String::as_str);
    let bucket = Bucket::open_bucket(name).map_err(bad_gateway)?;
    match (&parts.method, parts.uri.path()) {
        (&Method::PUT, "/") => {
            let mut text = Vec::new();
            body.read_to_end(&mut text).map_err(bad_request)?;
            let entries: Map<String, Json> = serde_json::from_slice(&text).map_err(bad_request)?;
            let stored = entries.len();
            for (key, json) in entries {
                let Value(bytes) = Value::from_json(json).map_err(bad_request)?;
                set(&bucket, &key, &bytes).map_err(bad_gateway)?;
            }
            Ok(json!({ "stored": stored }))
        }
        (&Method::GET, "/") => {
            let entry = |key: &String| {
                let value = get(&bucket, key).map_err(bad_gateway)?;
                let value = value.map(|bytes| Value(bytes).into_json());
                Ok(json!({ "key": key, "value": value }))
            };
            keys.iter().map(entry).collect()
        }
        (&Method::DELETE, "/") => {
            for key in &keys {
                eventual::delete(&bucket, key).map_err(bad_gateway)?;
            }
            Ok(json!({}))
        }
        (&Method::GET, "/exists") => {
            let exists = eventual::exists(&bucket, key()?).map_err(bad_gateway)?;
            Ok(json!(exists))
        }
        (&Method::POST, "/increment") => {
            let sum = atomic::increment(&bucket, key()?, number("delta")?).map_err(bad_gateway)?;
            Ok(json!(sum))
        }
        (&Method::POST, "/swap") => {
            let (old, new) = (number("old")?, number("new")?);
            let swapped = atomic::compare_and_swap(&bucket, key()?, old, new);
            Ok(json!(swapped.map_err(bad_gateway)?))
        }
        (method, path) => Err((
            StatusCode::NOT_FOUND,
            format!("there is no {method} {path}"),
        )),
    }
}

fn set(bucket: &Bucket, key: &str, bytes: &[u8]) -> Result<(), Error> {
    let value = OutgoingValue::new_outgoing_value();
    value.outgoing_value_write_body_sync(bytes)?;
    eventual::set(bucket, key, &value)
}

fn get(bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, Error> {
    eventual::get(bucket, key)?.map(crate::consume).transpose()
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn bad_gateway(error: Error) -> Failure {
    (StatusCode::BAD_GATEWAY, error.trace())
}
