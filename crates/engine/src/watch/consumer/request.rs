//! A request to JetStream's API, and what its failure means for a watch.

use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::api_request::{ApiResponse, api_request, is_gone};
use crate::connection::Connection;

/// How long an answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why the consumer is not there. The texts name no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::watch) enum AttachError {
    /// There was no answer, or it said that the cluster has trouble. That may end by itself.
    Passing(String),
    /// A person has to do something.
    Trouble(String),
}

/// Sends a request, and waits for its answer.
pub(super) async fn request<T: DeserializeOwned>(
    connection: &Connection,
    subject: &str,
    payload: Bytes,
) -> Result<T, AttachError> {
    match api_request(connection, subject.to_owned(), payload, TIMEOUT).await {
        ApiResponse::Answer(answer) => Ok(answer),
        ApiResponse::Silent => Err(AttachError::Passing(format!(
            "the NATS server has not answered a request to {subject}"
        ))),
        ApiResponse::Denied => Err(AttachError::Trouble(format!(
            "the login may not publish to {subject}"
        ))),
    }
}

/// The server's answer was an error.
pub(super) fn refused(what: &str, error: &jetstream::Error) -> AttachError {
    let text = format!("the NATS server refused {what}: {error}");
    if crate::message::is_transient(error) || is_gone(error) {
        AttachError::Passing(text)
    } else {
        AttachError::Trouble(text)
    }
}
