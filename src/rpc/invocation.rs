//! The server side of wRPC's NATS transport, for functions without streams.
//!
//! An invocation is a message; what of the parameters does not fit into it follows, once the caller
//! knows where to; the results go back on a subject of the caller's. The transport crate's own
//! server keeps its subscriptions to itself, so that they cannot be drained; it has one task hand
//! the messages of all calls around, which may look at one before it knows whose it is; and it
//! copies every buffer. It serves streams, which these interfaces do not have.

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use lattice_nats::{Client, HeaderMap, Message, Subject};
use tokio_util::codec::{Decoder, Encoder};
use wrpc_transport_nats::{param_subject, result_subject};

/// One invocation that has been received, as far as its first message goes.
pub(super) struct Invocation {
    nats: Client,
    message: Message,
}

/// What became of an invocation's parameters.
pub(super) enum Received<P, E> {
    /// They are all there.
    Params(P),
    /// The decoder refused them.
    Refused(E),
    /// They have more bytes than may be read.
    TooLarge,
}

impl Invocation {
    pub(super) fn new(nats: Client, message: Message) -> Self {
        Self { nats, message }
    }

    pub(super) fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    /// Accepts the invocation, and reads its parameters to their end or to `max` bytes.
    ///
    /// # Errors
    ///
    /// The parameters ended too early, or the lattice is not there.
    pub(super) async fn receive<D: Decoder>(
        &mut self,
        mut decoder: D,
        max: u64,
    ) -> anyhow::Result<Received<D::Item, D::Error>> {
        let first = std::mem::take(&mut self.message.payload);
        let mut bytes = u64::try_from(first.len()).unwrap_or(u64::MAX);
        let mut buffer = BytesMut::from(first);
        let inbox = self.nats.new_inbox();
        let mut params = decoder.decode(&mut buffer);
        let mut rest = None;
        if let Ok(None) = params {
            // Before the caller knows of it, so that nothing is missed.
            let subscribed = self.nats.subscribe(param_subject(&inbox)).await;
            rest = Some(subscribed.context("failed to subscribe to the parameters")?);
        }
        let reply = self.caller()?.clone();
        self.nats
            .publish_with_reply(reply, inbox, Bytes::new())
            .await
            .context("failed to accept the invocation")?;
        loop {
            match params {
                Ok(Some(params)) => return Ok(Received::Params(params)),
                Err(refusal) => return Ok(Received::Refused(refusal)),
                Ok(None) if bytes > max => return Ok(Received::TooLarge),
                Ok(None) => {}
            }
            let next = match &mut rest {
                Some(rest) => rest.next().await,
                None => None,
            };
            let Some(part) = next.filter(|part| !part.payload.is_empty()) else {
                bail!("the parameters end too early");
            };
            bytes += u64::try_from(part.payload.len()).unwrap_or(u64::MAX);
            buffer.extend_from_slice(&part.payload);
            params = decoder.decode(&mut buffer);
        }
    }

    /// Sends the results.
    ///
    /// # Errors
    ///
    /// They could not be encoded, or the lattice is not there.
    pub(super) async fn send<R, E>(self, results: R, mut encoder: E) -> anyhow::Result<()>
    where
        E: Encoder<R>,
        E::Error: std::error::Error + Send + Sync + 'static,
    {
        let mut buffer = BytesMut::new();
        encoder
            .encode(results, &mut buffer)
            .context("failed to encode the results")?;
        let subject = Subject::from(result_subject(self.caller()?));
        let max_payload = self.nats.server_info().max_payload.max(1);
        let mut results = buffer.freeze();
        while !results.is_empty() {
            let part = results.split_to(results.len().min(max_payload));
            self.publish(&subject, part).await?;
        }
        // The end of the results.
        self.publish(&subject, Bytes::new()).await
    }

    async fn publish(&self, subject: &Subject, payload: Bytes) -> anyhow::Result<()> {
        let published = self.nats.publish(subject.clone(), payload).await;
        published.context("failed to send the results")
    }

    fn caller(&self) -> anyhow::Result<&Subject> {
        let reply = self.message.reply.as_ref();
        reply.context("the caller did not say where to send the answer")
    }
}
