//! Invocations message by message, for what no wRPC client would send.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use testkit::Stack;
use testkit::async_nats::{Client, HeaderMap, Message, Subscriber};
use tokio::time::{Instant, timeout_at};

const EVENTUAL_BATCH: &str = "wrpc:keyvalue/eventual-batch@0.1.0";
const BATCH: &str = "wrpc:keyvalue/batch@0.2.0-draft";

/// Every function of both interfaces.
pub const FUNCTIONS: [(&str, &str); 8] = [
    (EVENTUAL_BATCH, "get-many"),
    (EVENTUAL_BATCH, "open-bucket"),
    (EVENTUAL_BATCH, "keys"),
    (EVENTUAL_BATCH, "set-many"),
    (EVENTUAL_BATCH, "delete-many"),
    (BATCH, "get-many"),
    (BATCH, "set-many"),
    (BATCH, "delete-many"),
];

/// A connection to the lattice's NATS that sends invocations in parts.
pub struct WireCaller {
    nats: Client,
    prefix: String,
    source: String,
    inbox: String,
    messages: Subscriber,
    opened: usize,
}

/// An invocation, by the subject on which its caller is answered.
pub struct OpenedCall(String);

impl WireCaller {
    /// On a connection of its own, without a login.
    pub async fn new(stack: &Stack, source: &str) -> Result<Self> {
        Self::on(stack.lattice().client().await?, stack, source).await
    }

    pub async fn on(nats: Client, stack: &Stack, source: &str) -> Result<Self> {
        let inbox = nats.new_inbox();
        let messages = nats.subscribe(format!("{inbox}.>")).await?;
        let (lattice, key) = (stack.provider.lattice(), stack.provider.key());
        Ok(Self {
            prefix: format!("{lattice}.{key}.wrpc.0.0.1"),
            source: source.to_owned(),
            nats,
            inbox,
            messages,
            opened: 0,
        })
    }

    /// Sends the first message of an invocation, with these first bytes of the parameters.
    pub async fn open(
        &mut self,
        instance: &str,
        function: &str,
        begun: Vec<u8>,
    ) -> Result<OpenedCall> {
        let mut headers = HeaderMap::new();
        headers.insert("source-id", self.source.as_str());
        self.open_with(instance, function, headers, begun).await
    }

    /// The same with these headers and no others.
    pub async fn open_with(
        &mut self,
        instance: &str,
        function: &str,
        headers: HeaderMap,
        begun: Vec<u8>,
    ) -> Result<OpenedCall> {
        let subject = format!("{}.{instance}.{function}", self.prefix);
        self.opened += 1;
        let reply = format!("{}.{}", self.inbox, self.opened);
        self.nats
            .publish_with_reply_and_headers(subject, reply.clone(), headers, begun.into())
            .await?;
        Ok(OpenedCall(reply))
    }

    /// Where the provider takes further parts; `None` if it has not accepted after 2 s.
    pub async fn accepted(&mut self, opened: &OpenedCall) -> Result<Option<String>> {
        self.accepted_within(opened, Duration::from_secs(2)).await
    }

    /// The same after `time`.
    pub async fn accepted_within(
        &mut self,
        opened: &OpenedCall,
        time: Duration,
    ) -> Result<Option<String>> {
        let deadline = Instant::now() + time;
        while let Some(message) = self.next(deadline).await? {
            if message.subject.as_str() == opened.0 {
                let address = message.reply.context("no address for the parameters")?;
                return Ok(Some(address.to_string()));
            }
        }
        Ok(None)
    }

    /// Sends one more part of the parameters; an empty one is their end.
    pub async fn send_part(&self, address: &str, part: Vec<u8>) -> Result<()> {
        let subject = format!("{address}.params");
        Ok(self.nats.publish(subject, part.into()).await?)
    }

    pub async fn flush(&self) -> Result<()> {
        Ok(self.nats.flush().await?)
    }

    /// Waits for the first part of the results; false if there is none after `time`.
    pub async fn is_answered(&mut self, opened: &OpenedCall, time: Duration) -> Result<bool> {
        let deadline = Instant::now() + time;
        let subject = format!("{}.results", opened.0);
        while let Some(message) = self.next(deadline).await? {
            if message.subject.as_str() == subject {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The results up to their end, in which texts can be looked for; what there is after `time`.
    pub async fn results(&mut self, opened: &OpenedCall, time: Duration) -> Result<String> {
        let deadline = Instant::now() + time;
        let subject = format!("{}.results", opened.0);
        let mut results = Vec::new();
        while let Some(message) = self.next(deadline).await? {
            if message.subject.as_str() == subject {
                if message.payload.is_empty() {
                    break;
                }
                results.extend_from_slice(&message.payload);
            }
        }
        Ok(String::from_utf8_lossy(&results).into_owned())
    }

    async fn next(&mut self, deadline: Instant) -> Result<Option<Message>> {
        match timeout_at(deadline, self.messages.next()).await {
            Ok(message) => message.context("the lattice is gone").map(Some),
            Err(_) => Ok(None),
        }
    }
}

/// A length, as the component model's values are written: unsigned LEB128.
pub fn length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            bytes.push(low & 0x7f);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A string, as they are written.
pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = length(text.len());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}
