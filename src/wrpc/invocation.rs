//! The server side of wRPC's NATS transport, for functions without streams.
//!
//! An invocation is a message; what of the parameters does not fit into it follows, once the caller
//! knows where to; the results go back on a subject of the caller's. The transport crate's own
//! server keeps its subscriptions to itself, so that they cannot be drained; it has one task hand
//! the messages of all calls around, which may look at one before it knows whose it is; and it
//! copies every buffer. It serves streams, which these interfaces do not have.

use bytes::{Bytes, BytesMut};
use lattice_nats::{Client, HeaderMap, Message, Subject};
use tokio::sync::Semaphore;
use tokio_util::codec::Decoder;
use wrpc_transport_nats::result_subject;

use super::handshake::{Handshake, Heard, SilentCallers};
use super::memory_budget::Held;
use super::results::{Parts, Results};
use super::unanswered::Unanswered;

/// The largest part of results that do not fit into one message, in bytes. Those of other calls come in
/// between, so that small ones do not wait for all of a large one; a client puts any parts together.
const MAX_PART: usize = 256 * 1024;

const SEND: &str = "send the results";

/// An invocation that has been received, as far as its first message goes.
pub(super) struct Invocation {
    nats: Client,
    message: Message,
}

/// An invocation whose parameters have been received.
pub(super) struct Accepted {
    handshake: Handshake,
    /// They take their room until the call is over.
    _held: Held,
}

/// What became of an invocation's parameters.
pub(super) enum Received<P, E> {
    /// They are all there.
    Params(P),
    /// The decoder refused them.
    Refused(E),
    /// They have more bytes than may be read.
    TooLarge,
    /// With those of other calls they are more than this process takes at once.
    NoRoom,
}

impl Invocation {
    pub(super) fn new(nats: Client, message: Message) -> Self {
        Self { nats, message }
    }

    pub(super) fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    /// Accepts the invocation, and reads its parameters to their end or to `max` bytes. If they did
    /// not come whole it has one of the `places` meanwhile, and is not accepted if there is none:
    /// looking at it has cost next to nothing then.
    ///
    /// # Errors
    ///
    /// There is no place, the parameters ended too early, or the lattice is not there.
    pub(super) async fn receive<D: Decoder>(
        self,
        mut decoder: D,
        max: u64,
        places: &Semaphore,
    ) -> Result<(Accepted, Received<D::Item, D::Error>), Unanswered> {
        let Self { nats, message } = self;
        let caller = message.reply.ok_or(Unanswered::NoReply)?;
        let mut buffer = BytesMut::from(message.payload);
        let mut bytes = buffer.len();
        let mut held = Held::default();
        let mut outcome = decoder.decode(&mut buffer);
        let place = match outcome {
            Ok(None) => Some(places.try_acquire().map_err(|_| Unanswered::NoPlace)?),
            _ => None,
        };
        let mut handshake = Handshake::begin(nats, caller, place.is_some()).await?;
        let received = loop {
            match outcome {
                Ok(Some(params)) => break Received::Params(params),
                Err(refusal) => break Received::Refused(refusal),
                Ok(None) if u64::try_from(bytes).is_ok_and(|bytes| bytes > max) => {
                    break Received::TooLarge;
                }
                Ok(None) => {}
            }
            let part = handshake.params().await?;
            if part.payload.is_empty() {
                return Err(Unanswered::ParametersEndEarly);
            }
            if !held.take(part.payload.len()) {
                break Received::NoRoom;
            }
            bytes += part.payload.len();
            buffer.extend_from_slice(&part.payload);
            outcome = decoder.decode(&mut buffer);
        };
        handshake.end_of_params().await?;
        let accepted = Accepted {
            handshake,
            _held: held,
        };
        Ok((accepted, received))
    }
}

impl Accepted {
    /// Sends the results, which have about this encoded size.
    ///
    /// # Errors
    ///
    /// They could not be encoded, or the lattice is not there.
    pub(super) async fn send(
        self,
        results: impl Results,
        size: usize,
        silent: &SilentCallers,
    ) -> Result<(), Unanswered> {
        let mut handshake = self.handshake;
        let mut max_part = handshake.nats.server_info().max_payload.max(1);
        if size > max_part {
            max_part = max_part.min(MAX_PART);
        }
        let mut parts = Parts::new(results, size, max_part).map_err(Unanswered::Unencoded)?;
        let first = parts.next().map_err(Unanswered::Unencoded)?;
        if parts.is_empty() {
            let heard_before = handshake.heard_so_far();
            publish(&handshake, first.clone()).await?;
            // The end of the results is not needed to read them, so nobody waits for this.
            let heard = handshake.heard(silent).await?;
            if heard_before.is_none() && heard == Heard::Repeated {
                // Twice does no harm: the caller reads no further than the results go.
                publish(&handshake, first).await?;
            }
        } else {
            // A caller that misses the first part would take the second for it.
            handshake.heard(silent).await?;
            publish(&handshake, first).await?;
            while !parts.is_empty() {
                handshake
                    .nats
                    .flush()
                    .await
                    .map_err(Unanswered::lattice(SEND))?;
                let part = parts.next().map_err(Unanswered::Unencoded)?;
                publish(&handshake, part).await?;
            }
        }
        publish(&handshake, Bytes::new()).await
    }
}

/// Publishes a part of the results. An empty one is the end.
async fn publish(to: &Handshake, part: Bytes) -> Result<(), Unanswered> {
    let subject = Subject::from(result_subject(&to.caller));
    to.nats
        .publish(subject, part)
        .await
        .map_err(Unanswered::lattice(SEND))
}
