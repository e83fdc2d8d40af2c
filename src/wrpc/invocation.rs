//! The server side of wRPC's NATS transport, for functions without streams.
//!
//! The first message of an invocation has as many of the parameters as fit. The caller sends the
//! rest to the address that our acceptance gives. The results go to a subject of the caller's.
//!
//! The transport crate's own server does not fit here. It keeps its subscriptions to itself, so
//! they cannot be drained. Its one dispatch task may see a message before the call is registered,
//! and drops it. It copies every buffer. It serves streams, which these interfaces lack.

use std::sync::Arc;

use bytes::Bytes;
use lattice_nats::{Client, HeaderMap, Message, Subject};
use tokio::sync::OwnedSemaphorePermit;
use wrpc_transport_nats::result_subject;

use super::error::InvocationError;
use super::handshake::{Handshake, SeenAcceptance, UnresponsiveClients};
use super::load_limits::LoadLimits;
use super::memory_budget::Reservation;
use super::parameter_buffer::{ParameterBuffer, ParameterOutcome};
use super::parameters::Parameters;
use super::results::{Parts, Results};

/// The most bytes of one part, if the results need several messages. Parts of other calls are sent
/// between them, so small results do not wait for a large one. A client joins parts of any size.
const MAX_PART: usize = 256 * 1024;

/// From this size on, results count as sent only when the network has taken them.
const FLUSHED_RESULTS: usize = 16 * 1024;

const SEND: &str = "send the results";

/// An invocation of which the first message has come.
pub(super) struct Invocation {
    nats: Client,
    message: Message,
    limits: LoadLimits,
    memory: Reservation,
    /// Whether there is no room for the first message, which has been dropped then.
    shed: bool,
}

/// An invocation whose parameters have been received.
pub(super) struct AcceptedInvocation {
    handshake: Handshake,
    /// The parameters take their room until the call is over.
    _memory: Reservation,
}

impl Invocation {
    /// Reserves room for the message, and drops its payload if there is none.
    pub(super) fn new(nats: Client, mut message: Message, limits: LoadLimits) -> Self {
        let memory = limits.parameters.reservation();
        let shed = !memory.try_grow_to(message.payload.len());
        if shed {
            message.payload = Bytes::new();
        }
        Self {
            nats,
            message,
            limits,
            memory,
            shed,
        }
    }

    pub(super) fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    /// Accepts the invocation, and reads its parameters to their end or to `max_bytes`. If the
    /// parameters are not complete in the first message, the call needs a permit. Without a permit
    /// it is dropped, unaccepted.
    ///
    /// # Errors
    ///
    /// There is no permit, the parameters ended too early, or the connection to the
    /// lattice's NATS is closed or failed.
    pub(super) async fn receive<P: Parameters>(
        self,
        max_keys: usize,
        max_bytes: u64,
    ) -> Result<(AcceptedInvocation, ParameterOutcome<P>), InvocationError> {
        let Self {
            nats,
            message,
            limits,
            memory,
            shed,
        } = self;
        let caller_inbox = message.reply.ok_or(InvocationError::NoReplySubject)?;
        let mut buffer = ParameterBuffer::<P>::new(message.payload, max_keys, max_bytes);
        let decoded = if shed {
            Some(ParameterOutcome::NoMemory)
        } else {
            buffer.decode(&memory)
        };
        let _permit = match decoded {
            None => Some(permit_to_await_params(&limits)?),
            Some(_) => None,
        };
        let acceptance_permits = Arc::clone(&limits.acceptance_permits);
        let awaits_params = decoded.is_none();
        let mut handshake =
            Handshake::begin(nats, caller_inbox, awaits_params, acceptance_permits).await?;
        let outcome = match decoded {
            Some(outcome) => outcome,
            None => receive_rest(&mut handshake, &mut buffer, &memory).await?,
        };
        handshake.unsubscribe_params().await?;
        if !matches!(outcome, ParameterOutcome::Params(_)) {
            memory.release();
        }
        let accepted = AcceptedInvocation {
            handshake,
            _memory: memory,
        };
        Ok((accepted, outcome))
    }
}

/// Receives the parameters that did not fit into the first message.
async fn receive_rest<P: Parameters>(
    handshake: &mut Handshake,
    buffer: &mut ParameterBuffer<P>,
    memory: &Reservation,
) -> Result<ParameterOutcome<P>, InvocationError> {
    loop {
        let part = handshake.next_part().await?;
        if part.is_empty() {
            return Err(InvocationError::ParametersEndEarly);
        }
        if let Some(outcome) = buffer.extend(&part, memory) {
            return Ok(outcome);
        }
    }
}

/// The permit to wait for parameters that did not come whole.
fn permit_to_await_params(limits: &LoadLimits) -> Result<OwnedSemaphorePermit, InvocationError> {
    let permit = Arc::clone(&limits.incomplete_params).try_acquire_owned();
    permit.map_err(|_| InvocationError::TooManyIncomplete)
}

impl AcceptedInvocation {
    /// Sends the results, which have about this encoded size.
    ///
    /// # Errors
    ///
    /// They could not be encoded, or the connection to the lattice's NATS is closed or failed.
    pub(super) async fn send(
        self,
        results: impl Results,
        size: usize,
        unresponsive: &UnresponsiveClients,
    ) -> Result<(), InvocationError> {
        let mut handshake = self.handshake;
        let mut max_part = handshake.nats.server_info().max_payload.max(1);
        if size > max_part {
            max_part = max_part.min(MAX_PART);
        }
        let mut parts = Parts::new(results, size, max_part).map_err(InvocationError::Encoding)?;
        let first = parts.next().map_err(InvocationError::Encoding)?;
        if parts.is_empty() {
            let confirmed_before = handshake.confirmed_so_far();
            publish(&handshake, first.clone()).await?;
            // The results are readable without their end marker, so waiting here delays no caller.
            let seen = handshake.await_confirmation(unresponsive).await?;
            if confirmed_before.is_none() && seen == Some(SeenAcceptance::OnlyRepeated) {
                // The caller may have dropped the results, which came before the acceptance that it saw.
                // Twice does no harm: it reads no further than the results go.
                publish(&handshake, first).await?;
            }
        } else {
            // A caller that misses the first part would take the second for it.
            handshake.await_confirmation(unresponsive).await?;
            publish(&handshake, first).await?;
            while !parts.is_empty() {
                flush(&handshake).await?;
                let part = parts.next().map_err(InvocationError::Encoding)?;
                publish(&handshake, part).await?;
            }
        }
        publish(&handshake, Bytes::new()).await?;
        if size >= FLUSHED_RESULTS {
            // What our own NATS client has not written yet takes memory, so the call still counts.
            flush(&handshake).await?;
        }
        Ok(())
    }
}

async fn flush(to: &Handshake) -> Result<(), InvocationError> {
    let flushed = to.nats.flush().await;
    flushed.map_err(InvocationError::lattice(SEND))
}

/// Publishes a part of the results. An empty one is the end.
async fn publish(to: &Handshake, part: Bytes) -> Result<(), InvocationError> {
    let subject = Subject::from(result_subject(&to.caller_inbox));
    let published = to.nats.publish(subject, part).await;
    published.map_err(InvocationError::lattice(SEND))
}
