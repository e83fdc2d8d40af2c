//! One request to JetStream's API, and what can come of it.

use std::time::Duration;

use async_nats::Request;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::connection::Connection;

/// What came of a request.
pub(super) enum ApiResponse<T> {
    Answer(T),
    /// The server does not let this login ask.
    Denied,
    /// There was no answer in time, or none that can be read.
    Silent,
}

/// Sends a request, and waits for its answer.
pub(super) async fn api_request<T: DeserializeOwned>(
    connection: &Connection,
    subject: String,
    payload: Bytes,
    within: Duration,
) -> ApiResponse<T> {
    let begun = Instant::now();
    let client = connection.client();
    let request = Request::new().payload(payload).timeout(Some(within));
    let is_this = |denied: &str| denied == subject;
    tokio::select! {
        answer = client.send_request(subject.clone(), request) => {
            let answer = answer.ok();
            let answer = answer.and_then(|answer| serde_json::from_slice(&answer.payload).ok());
            answer.map_or(ApiResponse::Silent, ApiResponse::Answer)
        }
        // A request that is refused has no answer.
        _ = connection.until_permission_error(begun, is_this) => ApiResponse::Denied,
    }
}

/// Whether the stream or the consumer does not exist.
pub(super) fn is_gone(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND
    )
}
