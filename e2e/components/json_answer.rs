//! Answers of JSON over HTTP. This file is a module of several packages.

use serde_json::{Value as Json, json};
use wasmcloud_component::http::{self, Response, StatusCode};

/// Why a request was not done.
pub type Failure = (StatusCode, String);

/// A response with the answer, or with `{"error": "…"}`.
pub fn respond(answer: Result<Json, Failure>) -> http::Result<Response<String>> {
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err((status, error)) => (status, json!({ "error": error })),
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(format!("{body}\n"))
        .map_err(|error| http::ErrorCode::InternalError(Some(error.to_string())))
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub fn bad_request(error: impl ToString) -> Failure {
    (StatusCode::BAD_REQUEST, error.to_string())
}
