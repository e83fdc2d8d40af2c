//! All of `wasi:keyvalue@0.2.0-draft` that a host serves, over HTTP.
//!
//! | request | calls |
//! | --- | --- |
//! | `PUT /?key=k`, the value as body | `store.set` |
//! | `GET /?key=k` | `store.get` |
//! | `DELETE /?key=k` | `store.delete` |
//! | `GET /exists?key=k` | `store.exists` |
//! | `GET /keys` | `store.list-keys`, page by page |
//! | `POST /count?key=k&delta=n` | `atomics.increment` |
//! | `PUT /batch`, text values by their keys as body | `batch.set-many` |
//! | `GET /batch?key=a&key=b` | `batch.get-many` |
//! | `DELETE /batch?key=a&key=b` | `batch.delete-many` |
//!
//! A host answers the errors of most of them by a trap.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde_json::{Value as Json, json};
use wasmcloud_component::http::{self, ErrorCode, IncomingRequest, Method, Response};
use wasmcloud_component::wasi::keyvalue::{atomics, batch, store};

struct Service;

http::export!(Service);

impl http::Server for Service {
    fn handle(request: IncomingRequest) -> http::Result<Response<impl http::OutgoingBody>> {
        let answer = answer(request).map_err(|error| ErrorCode::InternalError(Some(error)))?;
        Ok(Response::new(format!("{answer}\n")))
    }
}

fn answer(request: IncomingRequest) -> Result<Json, String> {
    let (parts, mut body) = request.into_parts();
    let mut keys = Vec::new();
    let mut delta = 1;
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        match &*name {
            "key" => keys.push(value.into_owned()),
            "delta" => delta = value.parse().map_err(text)?,
            _ => {}
        }
    }
    let key = keys.first().map_or("", String::as_str);
    let mut value = Vec::new();
    body.read_to_end(&mut value).map_err(text)?;
    let bucket = store::open("default").map_err(text)?;
    Ok(match (&parts.method, parts.uri.path()) {
        (&Method::PUT, "/") => json!(bucket.set(key, &value).map_err(text)?),
        (&Method::GET, "/") => json!(bucket.get(key).map_err(text)?.map(lossy)),
        (&Method::DELETE, "/") => json!(bucket.delete(key).map_err(text)?),
        (&Method::GET, "/exists") => json!(bucket.exists(key).map_err(text)?),
        (&Method::GET, "/keys") => pages(&bucket)?,
        (&Method::POST, "/count") => json!(atomics::increment(&bucket, key, delta).map_err(text)?),
        (&Method::PUT, "/batch") => {
            let values: BTreeMap<String, String> = serde_json::from_slice(&value).map_err(text)?;
            let bytes = |(key, value): (_, String)| (key, value.into_bytes());
            let values: Vec<_> = values.into_iter().map(bytes).collect();
            json!(batch::set_many(&bucket, &values).map_err(text)?)
        }
        (&Method::GET, "/batch") => {
            let values = batch::get_many(&bucket, &keys).map_err(text)?;
            let values = values
                .into_iter()
                .map(|found| found.map(|(_, value)| lossy(value)));
            values.collect()
        }
        (&Method::DELETE, "/batch") => json!(batch::delete_many(&bucket, &keys).map_err(text)?),
        (method, path) => return Err(format!("there is no {method} {path}")),
    })
}

/// All pages of the keys: `[["a", …], …]`.
fn pages(bucket: &store::Bucket) -> Result<Json, String> {
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor).map_err(text)?;
        pages.push(json!(page.keys));
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(Json::Array(pages));
        }
    }
}

fn lossy(value: Vec<u8>) -> String {
    String::from_utf8_lossy(&value).into_owned()
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}
