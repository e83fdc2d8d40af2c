//! `examples/http-batch` as it was written before: to `wasi:keyvalue/batch@0.2.0-draft`.
//!
//! The requests and answers are the example's, but for `GET /keys`, which that interface has not.
//! `?bucket=` is the name that the store is opened by. A host answers `open` itself, whatever the
//! name, and turns an error of a batch into a trap: the only errors here are those of the request.

#[path = "../../json_answer.rs"]
mod json_answer;
#[path = "../../../../examples/http-batch/src/value.rs"]
mod value;

use std::io::Read as _;

use json_answer::{Failure, bad_request, respond};
use serde_json::{Map, Value as Json, json};
use value::Value;
use wasmcloud_component::http::{self, IncomingRequest, Method, Response, StatusCode};
use wasmcloud_component::wasi::keyvalue::{batch, store};

struct Service;

http::export!(Service);

impl http::Server for Service {
    fn handle(request: IncomingRequest) -> http::Result<Response<impl http::OutgoingBody>> {
        respond(answer(request))
    }
}

fn answer(request: IncomingRequest) -> Result<Json, Failure> {
    let (parts, mut body) = request.into_parts();
    let mut bucket = "default".to_owned();
    let mut keys = Vec::new();
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        match &*name {
            "bucket" => bucket = value.into_owned(),
            "key" => keys.push(value.into_owned()),
            _ => {}
        }
    }
    let bucket = store::open(&bucket).map_err(bad_gateway)?;
    match (&parts.method, parts.uri.path()) {
        (&Method::PUT, "/") => {
            let mut text = Vec::new();
            body.read_to_end(&mut text).map_err(bad_request)?;
            let values = values(&text)?;
            batch::set_many(&bucket, &values).map_err(bad_gateway)?;
            Ok(json!({ "stored": values.len() }))
        }
        (&Method::GET, "/") => {
            let values = batch::get_many(&bucket, &keys).map_err(bad_gateway)?;
            let entry = |(key, value): (&String, Option<_>)| {
                let value = value.map(|(_, bytes)| Value(bytes).into_json());
                json!({ "key": key, "value": value })
            };
            Ok(keys.iter().zip(values).map(entry).collect())
        }
        (&Method::DELETE, "/") => {
            batch::delete_many(&bucket, &keys).map_err(bad_gateway)?;
            Ok(json!({}))
        }
        (method, path) => Err((
            StatusCode::NOT_FOUND,
            format!("there is no {method} {path}; try PUT /, GET / or DELETE /"),
        )),
    }
}

/// Reads `{"key": value, …}`.
fn values(text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let entries: Map<String, Json> = serde_json::from_slice(text).map_err(bad_request)?;
    let entry = |(key, json)| match Value::from_json(json) {
        Ok(Value(bytes)) => Ok((key, bytes)),
        Err(error) => Err(bad_request(format!("{key:?}: {error}"))),
    };
    entries.into_iter().map(entry).collect()
}

fn bad_gateway(error: store::Error) -> Failure {
    let text = match error {
        store::Error::Other(text) => text,
        error => format!("{error:?}"),
    };
    (StatusCode::BAD_GATEWAY, text)
}
