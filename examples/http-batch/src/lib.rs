//! An HTTP service that keeps JSON batches in a key-value bucket.
//!
//! | request | what it does | answer |
//! | --- | --- | --- |
//! | `PUT /` with `{"a": "text", "b": {"base64": "/w=="}}` | stores all of them | how many |
//! | `GET /?key=a&key=b` | reads them, in the order asked | `[{"key": "a", "value": "text"}, …]`; `null` for a key without a value |
//! | `DELETE /?key=a&key=b` | deletes them | nothing |
//! | `GET /keys` | lists the bucket | `["a", "b"]` |
//!
//! Each request is one call of the store, however many keys it names. `?bucket=archive` reaches
//! the bucket of the component's link named `archive`; without it, that of its link `default`.

mod store;
mod value;

use std::io::Read as _;

use serde::Serialize;
use serde_json::{Map, json};
use wasmcloud_component::http::{self, IncomingRequest, Method, Response, StatusCode};

use store::Store;
use value::Value;

struct Service;

http::export!(Service);

impl http::Server for Service {
    fn handle(request: IncomingRequest) -> http::Result<Response<impl http::OutgoingBody>> {
        let (status, body) = match answer(request) {
            Ok(body) => (StatusCode::OK, body),
            Err(Failure { status, error }) => (status, json!({ "error": error }).to_string()),
        };
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(body + "\n")
            .map_err(|error| http::ErrorCode::InternalError(Some(error.to_string())))
    }
}

/// Why a request was not done.
struct Failure {
    status: StatusCode,
    error: String,
}

impl Failure {
    fn bad_request(error: impl ToString) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error: error.to_string(),
        }
    }
}

/// Trouble with the store: the request may be in order.
impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            error: error.trace(),
        }
    }
}

fn answer(request: IncomingRequest) -> Result<String, Failure> {
    let (parts, mut body) = request.into_parts();
    let query = Query::of(&parts.uri);
    let store = || Store::open(&query.bucket);
    match (&parts.method, parts.uri.path()) {
        (&Method::PUT, "/") => {
            let mut text = Vec::new();
            body.read_to_end(&mut text).map_err(Failure::bad_request)?;
            let values = batch(&text)?;
            store()?.set_many(&values)?;
            to_json(&json!({ "stored": values.len() }))
        }
        (&Method::GET, "/") => {
            let values = store()?.get_many(&query.keys)?;
            let found = query.keys.iter().zip(values);
            let entries: Vec<_> = found
                .map(|(key, value)| json!({ "key": key, "value": value.map(Value::into_json) }))
                .collect();
            to_json(&entries)
        }
        (&Method::DELETE, "/") => {
            store()?.delete_many(&query.keys)?;
            to_json(&json!({}))
        }
        (&Method::GET, "/keys") => to_json(&store()?.keys()?),
        (method, path) => Err(Failure {
            status: StatusCode::NOT_FOUND,
            error: format!("there is no {method} {path}; try PUT /, GET /, DELETE / or GET /keys"),
        }),
    }
}

/// What the address says: `?bucket=orders&key=a&key=b`.
struct Query {
    bucket: String,
    keys: Vec<String>,
}

impl Query {
    fn of(uri: &http::Uri) -> Self {
        let mut query = Self {
            bucket: "default".to_owned(),
            keys: Vec::new(),
        };
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "bucket" => query.bucket = value.into_owned(),
                "key" => query.keys.push(value.into_owned()),
                _ => {}
            }
        }
        query
    }
}

/// Reads `{"key": value, …}`.
fn batch(text: &[u8]) -> Result<Vec<(String, Value)>, Failure> {
    let entries: Map<String, serde_json::Value> = serde_json::from_slice(text)
        .map_err(|error| Failure::bad_request(format!("the body is not a JSON object: {error}")))?;
    let entry = |(key, json)| match Value::from_json(json) {
        Ok(value) => Ok((key, value)),
        Err(error) => Err(Failure::bad_request(format!("{key:?}: {error}"))),
    };
    entries.into_iter().map(entry).collect()
}

fn to_json(body: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(body).map_err(Failure::bad_request)
}
