//! The client side of wRPC's NATS transport, for functions without results.
//!
//! The transport crate's own client does not fit here. It reads messages from one channel, and the
//! registrations of its own new calls from another. So under load it drops messages of calls that
//! are not registered yet. This client subscribes before it calls.

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_nats::{Client, HeaderMap, HeaderName, HeaderValue, Message, StatusCode, Subject};
use wrpc_transport_nats::{invocation_subject, param_subject, result_subject};

/// What the lattice's server adds around headers, in bytes, at most.
const AROUND_HEADERS: usize = 16;

/// Why a call did not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutgoingError {
    /// Nobody serves the function now.
    Unreachable,
    /// The lattice is not there.
    NotConnected,
    /// The call cannot be made, or was answered with something else than wRPC's messages.
    Refused,
}

impl OutgoingError {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "no host runs the component, or it does not export the function",
            Self::NotConnected => "the lattice is not connected",
            Self::Refused => "the call was refused",
        }
    }
}

/// A function of a component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function<'a> {
    /// The prefix of the subjects of the component's invocations.
    pub(crate) prefix: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) name: &'a str,
}

/// Calls a function that has no results, with these encoded parameters, and waits until it has
/// returned. A component that traps returns too, as its host shows it.
///
/// # Errors
///
/// The call did not come back. There is no limit of time.
pub(crate) async fn invoke(
    nats: &Client,
    function: Function<'_>,
    headers: HeaderMap,
    mut params: Bytes,
) -> Result<(), OutgoingError> {
    let not_connected = |_| OutgoingError::NotConnected;
    let inbox = nats.new_inbox();
    let mut accepted = nats.subscribe(inbox.clone()).await.map_err(not_connected)?;
    let results = result_subject(&inbox);
    let mut results = nats.subscribe(results).await.map_err(not_connected)?;

    let max = nats.server_info().max_payload.max(1);
    let first = params.split_to(first_part(max, &headers, &inbox).min(params.len()));
    let Function {
        prefix,
        instance,
        name,
    } = function;
    let subject = Subject::from(invocation_subject(prefix, instance, name));
    nats.publish_with_reply_and_headers(subject, inbox, headers, first)
        .await
        .map_err(|_| OutgoingError::NotConnected)?;

    let accepted = accepted.next().await.ok_or(OutgoingError::NotConnected)?;
    let address = Subject::from(param_subject(&reply_of(accepted)?));
    while !params.is_empty() {
        let part = params.split_to(max.min(params.len()));
        send(nats, &address, part).await?;
    }
    send(nats, &address, Bytes::new()).await?;

    // An empty message is the end.
    while let Some(message) = results.next().await {
        if message.payload.is_empty() {
            return Ok(());
        }
    }
    Err(OutgoingError::NotConnected)
}

async fn send(nats: &Client, to: &Subject, part: Bytes) -> Result<(), OutgoingError> {
    let sent = nats.publish(to.clone(), part).await;
    sent.map_err(|_| OutgoingError::NotConnected)
}

/// How many bytes of parameters fit into the first message.
fn first_part(max: usize, headers: &HeaderMap, inbox: &str) -> usize {
    let line = |(name, values): (&HeaderName, &Vec<HeaderValue>)| {
        let name: &[u8] = name.as_ref();
        let of_value = |value: &HeaderValue| name.len() + value.as_str().len() + 4;
        values.iter().map(of_value).sum::<usize>()
    };
    let headers: usize = headers.iter().map(line).sum();
    max.saturating_sub(headers + inbox.len() + AROUND_HEADERS)
}

/// Where an invocation that was accepted takes the rest of its parameters.
fn reply_of(accepted: Message) -> Result<Subject, OutgoingError> {
    match accepted.status {
        Some(StatusCode::NO_RESPONDERS) => Err(OutgoingError::Unreachable),
        Some(status) if !status.is_success() => Err(OutgoingError::Refused),
        _ => accepted.reply.ok_or(OutgoingError::Refused),
    }
}
